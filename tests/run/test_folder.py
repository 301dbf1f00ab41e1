"""A run's folder: named, private, locked by the one process that trains in it, and found again."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.scale import many
from tui_trainer.errors import FolderError, LockedError, UsageError
from tui_trainer.run.folder import RunFolder, find, provenance
from tui_trainer.settings.schema import Settings
from tui_trainer.settings.sources import read_toml, resolve
from tui_trainer.settings.writing import to_plain

NOON = time.struct_time((2026, 11, 22, 12, 0, 7, 6, 326, 0))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- making one ----------------------------------------------------------------------------------------------------


def test_a_folder_is_named_by_time_model_and_data_and_numbered_when_the_second_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "gmtime", lambda *_: NOON)
    made = [RunFolder.create(Settings(model="cnn")).path for _ in range(3)]
    name = "2026-11-22T12-00-07-cnn-fashion-mnist"
    assert [path.resolve() for path in made] == [tmp_path / "runs" / (name + end) for end in ("", "-2", "-3")]


def test_a_folder_has_the_name_it_was_given_and_no_other_takes_it(tmp_path: Path) -> None:
    settings = Settings(name="first", output_dir=str(tmp_path / "a" / "b"))
    assert RunFolder.create(settings).path == tmp_path / "a" / "b" / "first"
    with pytest.raises(FolderError, match=r"already\. Choose another --name") as refused:
        RunFolder.create(settings)
    assert refused.value.exit_code == 6


def test_a_folder_is_for_its_owner_alone() -> None:
    old = os.umask(0)
    try:
        folder = RunFolder.create(Settings())
        folder.write_manifest(Settings(), {})
        folder.write_log("a line")
        with folder.lock.hold():
            assert {path.name: mode(path) for path in folder.path.iterdir()} == {
                "checkpoints": 0o700,
                "run.toml": 0o600,
                "log.txt": 0o600,
                "lock": 0o600,
            }
        assert mode(folder.path) == 0o700
    finally:
        os.umask(old)


def test_an_output_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(FolderError, match="output folder runs is a file"):
        RunFolder.create(Settings())


def test_a_folder_that_cannot_be_made_is_refused_with_the_reason() -> None:
    with pytest.raises(FolderError, match=r"cannot be made: .*\. Nothing was trained"):
        RunFolder.create(Settings(output_dir="/proc/nothing"))


def test_the_log_is_appended_to_and_takes_any_text() -> None:
    folder = RunFolder.create(Settings())
    folder.write_log("first\n")
    folder.write_log("sécond \udcff")
    assert folder.log.read_text() == "first\nsécond \\udcff\n"


# --- run.toml ------------------------------------------------------------------------------------------------------

USED = [
    Settings(seed=0),
    Settings(
        dataset="fashion-mnist-mini",
        data_dir='a "quoted" folder/ünd more',
        optimizer="sgd",
        lr=1 / 3,
        momentum=0.9,
        nesterov=True,
        max_time=90.0,
        seed=2**63 - 1,
        name="one",
        dry_run=True,
        device="cpu",
    ),
]


@pytest.mark.parametrize("settings", USED)
def test_run_toml_can_be_passed_back_as_settings(settings: Settings) -> None:
    folder = RunFolder.create(Settings())
    folder.write_manifest(settings, provenance() | {"device": "cpu, 2 threads"})
    assert resolve([read_toml(folder.manifest)]).settings == settings


def test_run_toml_tells_where_the_run_came_from_and_every_setting() -> None:
    folder = RunFolder.create(Settings())
    folder.write_manifest(Settings(seed=1), provenance())
    import tomllib

    table = tomllib.loads(folder.manifest.read_text())
    origin = table.pop("provenance")
    unset = {"name", "after", "notify_url"}
    assert table == to_plain(Settings(seed=1)) and set(table) == set(Settings.model_fields) - unset
    assert (origin["pid"], origin["torch"].split("+")[0].count(".")) == (os.getpid(), 2)
    assert {"tui_trainer", "torchvision", "python", "platform", "host", "argv", "started"} <= set(origin)
    assert "git_commit" not in origin, "this folder is in no repository"


def test_the_commit_is_recorded_with_a_mark_when_files_differ(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()

    git("init", "-q")
    (tmp_path / "train.py").write_text("x = 1\n")
    git("add", "train.py")
    git("commit", "-qm", "first")
    commit = git("rev-parse", "HEAD")
    assert provenance()["git_commit"] == commit
    (tmp_path / "train.py").write_text("x = 2\n")
    assert provenance()["git_commit"] == f"{commit}+"


# --- the lock ------------------------------------------------------------------------------------------------------

HOLD = """
import sys
from pathlib import Path
from tui_trainer.run.folder import RunFolder
with RunFolder(Path(sys.argv[1])).lock.hold():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def hold() -> Iterator[Callable[[RunFolder], "subprocess.Popen[str]"]]:
    """Another process that holds a run's lock until its input ends."""
    holders: list[subprocess.Popen[str]] = []

    def start(folder: RunFolder) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", HOLD, str(folder.path)]
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        holders.append(holder)
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        return holder

    yield start
    for holder in holders:
        holder.kill()
        holder.communicate()


def test_a_run_held_by_another_process_is_refused_with_its_pid(hold: Callable[[RunFolder], subprocess.Popen]) -> None:
    folder = RunFolder.create(Settings(name="busy"))
    assert not folder.is_held()
    holder = hold(folder)
    assert folder.is_held()
    with pytest.raises(LockedError) as refused, folder.lock.hold():
        pytest.fail("two processes train in one folder")
    message = str(refused.value)
    assert refused.value.exit_code == 7
    assert f"The run busy is held by process {holder.pid} on {os.uname().nodename} since " in message
    assert "tui-trainer attach busy" in message
    assert folder.is_held(), "a refused start leaves the lock alone"

    holder.kill()
    holder.wait()
    assert not folder.is_held(), "the system lets go of what a killed process held"
    with folder.lock.hold():
        assert folder.is_held()
        assert json.loads((folder.path / "lock").read_text())["pid"] == os.getpid()
    assert not folder.is_held()


def test_a_lock_is_not_kept_by_a_worker_of_a_killed_run() -> None:
    folder = RunFolder.create(Settings())
    reads, writes = os.pipe()
    trainer = os.fork()
    if trainer == 0:
        with folder.lock.hold():
            worker = os.fork()  # as a DataLoader does
            if worker == 0:
                os.write(writes, str(os.getpid()).encode())
            time.sleep(60)
        os._exit(0)
    worker = int(os.read(reads, 20))
    assert folder.is_held()
    os.kill(trainer, signal.SIGKILL)
    os.waitpid(trainer, 0)
    try:
        os.kill(worker, 0)
        assert not folder.is_held()
        with folder.lock.hold():
            pass
    finally:
        os.kill(worker, signal.SIGKILL)
    os.close(reads)
    os.close(writes)


def test_one_of_many_that_start_at_once_gets_the_lock() -> None:
    folder = RunFolder.create(Settings())
    for starts in range(2, 2 + many(6, 200)):
        begin, begun = os.pipe()
        answers, answer = os.pipe()
        end, ended = os.pipe()
        children = []
        for _ in range(starts % 12 + 2):
            child = os.fork()
            if child == 0:
                try:
                    os.read(begin, 1)
                    with folder.lock.hold():
                        os.write(answer, b"held")
                        os.read(end, 1)  # until each of the others was refused
                except LockedError:
                    os.write(answer, b"none")
                except BaseException:
                    os.write(answer, b"lost")
                finally:
                    os._exit(0)
            children.append(child)
        os.write(begun, b"x" * len(children))
        told = [os.read(answers, 4) for _ in children]
        os.write(ended, b"x" * len(children))
        for child in children:
            os.waitpid(child, 0)
        assert sorted(told) == [b"held"] + [b"none"] * (len(told) - 1)
        for fd in (begin, begun, answers, answer, end, ended):
            os.close(fd)


def test_a_run_that_another_host_keeps_alive_is_refused_until_its_sign_of_life_is_old() -> None:
    folder = RunFolder.create(Settings())
    lock = folder.path / "lock"
    lock.write_text(json.dumps({"pid": 1, "host": "elsewhere", "since": 0}))
    with pytest.raises(LockedError, match="process 1 on elsewhere"), folder.lock.hold():
        pass
    os.utime(lock, (time.time() - 130, time.time() - 130))
    with folder.lock.hold():
        folder.lock.say_alive()
    assert lock.read_bytes() == b"", "another host need not wait for a run that ended well"


def make_link(path: Path) -> None:
    real = path.with_name("real")
    path.rename(real)
    path.symlink_to(real)


@pytest.mark.parametrize(
    "spoil",
    [make_link, lambda path: path.chmod(0o777), lambda path: path.chmod(0o720)],
    ids=["a link", "writable by all", "writable by a group"],
)
def test_a_foreign_folder_is_not_trained_in(spoil: Callable[[Path], None]) -> None:
    folder = RunFolder.create(Settings())
    spoil(folder.path)
    with pytest.raises(FolderError, match="nothing was trained there"), folder.lock.hold():
        pass


def test_a_run_is_let_go_when_its_training_fails() -> None:
    folder = RunFolder.create(Settings())
    with pytest.raises(ZeroDivisionError), folder.lock.hold():
        _ = 1 / 0
    assert not folder.is_held()


@pytest.mark.parametrize("content", [b"", b"no json", b"[]", b'{"pid": "x"}', b'{"pid": 1, "host": "h"}', b"\xff"])
def test_a_lock_whose_holder_cannot_be_read_is_held_by_another_process(content: bytes) -> None:
    folder = RunFolder.create(Settings())
    with folder.lock.hold():
        (folder.path / "lock").write_bytes(content)
        with pytest.raises(LockedError, match="is held by another process"), folder.lock.hold():
            pytest.fail("held twice")


def test_a_lock_file_that_cannot_be_made_is_a_folder_error() -> None:
    folder = RunFolder.create(Settings())
    (folder.path / "lock").mkdir()
    with pytest.raises(FolderError), folder.lock.hold():
        pytest.fail("there is no lock to hold")


def test_looking_whether_a_run_is_held_makes_no_file() -> None:
    folder = RunFolder.create(Settings())
    assert not folder.is_held() and not (folder.path / "lock").exists()


# --- finding one again ---------------------------------------------------------------------------------------------


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Four runs, `beta` trained in last, and a folder that is none."""
    for age, name in enumerate(("beta", "alpha-2", "alpha-1", "2026-11-22T12-00-07-mlp-fashion-mnist")):
        journal = tmp_path / "runs" / name / "events.jsonl"
        journal.parent.mkdir(parents=True)
        journal.touch()
        os.utime(journal, (2e9 - age, 2e9 - age))
    (tmp_path / "runs" / "alpha-notes").mkdir()
    return tmp_path / "runs"


@pytest.mark.parametrize(
    ("run", "name"),
    [
        ("beta", "beta"),
        ("b", "beta"),
        ("alpha-1", "alpha-1"),
        ("2026", "2026-11-22T12-00-07-mlp-fashion-mnist"),
        ("last", "beta"),
        ("runs/alpha-2", "alpha-2"),
        ("runs/alpha-2/", "alpha-2"),
        ("./runs/../runs/beta", "beta"),
    ],
)
def test_a_run_is_found_by_path_name_beginning_or_as_the_last(runs: Path, run: str, name: str) -> None:
    assert find(run, "runs").path.resolve() == runs / name


def test_a_run_is_found_by_its_path_from_anywhere(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert find(str(runs / "beta"), "runs").path == runs / "beta"
    assert find("beta", str(runs)).path == runs / "beta"


def test_a_whole_name_wins_over_being_the_beginning_of_another(runs: Path) -> None:
    (runs / "alpha").mkdir()
    (runs / "alpha" / "events.jsonl").touch()
    assert find("alpha", "runs").path.name == "alpha"


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ("alpha", r"'alpha' could be 2 runs: alpha-1, alpha-2\. Type more of the name"),
        ("alpha-notes", r"There is no run 'alpha-notes' in runs\. Did you mean alpha-\d\?"),
        ("betta", r"There is no run 'betta' in runs\. Did you mean beta\?"),
        ("zzz", r"There is no run 'zzz' in runs\.$"),
        ("runs/zzz", r"There is no run 'runs/zzz' in runs\."),
        ("../runs", r"There is no run"),
        ("a\0b", "There is no run"),
        ("x" * 5000, r"There is no run 'x+…' in runs\."),
    ],
)
@pytest.mark.usefixtures("runs")
def test_a_run_that_is_not_there_is_refused_with_what_may_be_meant(run: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        find(run, "runs")
    assert refused.value.exit_code == 2


def test_where_no_run_ever_was_the_way_to_start_one_is_told() -> None:
    for run in ("last", "alpha"):
        with pytest.raises(UsageError, match=r"runs holds no runs\. Start one with: tui-trainer"):
            find(run, "runs")


def test_a_lock_that_is_handed_over_is_held_all_the_time_and_names_its_holder() -> None:
    folder = RunFolder.create(Settings(name="it"))
    code = """if True:
        import sys
        from pathlib import Path
        from tui_trainer.run.folder import RunFolder
        with RunFolder(Path(sys.argv[1])).lock.hold(int(sys.argv[2])):
            print("mine", flush=True)
            sys.stdin.readline()
    """
    with folder.lock.hold() as held:
        words = [sys.executable, "-c", code, str(folder.path), str(held.fd)]
        other = subprocess.Popen(words, pass_fds=[held.fd], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        held.handed_over = True
        assert other.stdout is not None and other.stdout.readline() == b"mine\n"
    with other:
        assert folder.is_held() and folder.lock.pid() == other.pid
        with pytest.raises(LockedError, match=f"process {other.pid}"), folder.lock.hold():
            pass
        assert other.stdin is not None
        other.stdin.write(b"\n")
    assert not folder.is_held() and folder.lock.pid() is None
