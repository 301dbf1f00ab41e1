"""The exit code and the sentence for every way in which the program ends."""

import json
import os
import re
import signal
import subprocess
import sys
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cli.program import (
    ENDLESS,
    LIMIT,
    PROGRAM,
    SHORT,
    Cases,
    Ended,
    Started,
    finish,
    hidden,
    in_terminal,
    run,
    signalled,
    started,
)
from tui_trainer import errors
from tui_trainer.cli import main
from tui_trainer.run.folder import RunFolder

pytestmark = pytest.mark.xdist_group("processes")  # one after another, in one worker

UNREACHABLE = """
import sys
from pathlib import Path
from torchvision.datasets import FashionMNIST
from tui_trainer import catalog
from tui_trainer.cli import main as cli
catalog.SYSTEM_FOLDER = Path("nowhere")
FashionMNIST.mirrors = ["http://127.0.0.1:9/"]
cli.main(sys.argv[1:])
"""
NOWHERE = [sys.executable, "-c", UNREACHABLE]
"""The program on a machine that has no FashionMNIST and no network."""

UNNAMED = ["--no-ui", "--device", "cpu", "--name", "it", "--epochs", "1", "--limit-train-batches", "2"]


def put_to_sleep(folder: Path) -> Ended:
    """A run that is stopped in its first epoch and then continued; `err` tells if its folder was held meanwhile."""
    with started(folder, [*ENDLESS, "--json"]) as process:
        assert process.stdout
        while "BatchTrained" not in (line := process.stdout.readline()):
            assert line
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        held = RunFolder(folder / "runs" / "it").is_held()
        process.send_signal(signal.SIGCONT)
        while "EpochEnded" not in (line := process.stdout.readline()):
            assert line
        process.send_signal(signal.SIGTERM)
        return replace(finish(process, folder), err=f"held: {held}")


STUCK = """
import sys, time, types
from tui_trainer.cli import main as cli
from tui_trainer.run.events import Preparing
def fit(*_):
    yield Preparing(what="device")
    while True:
        time.sleep(0.01)  # not signal.pause, which sleeps on when the signal comes just before it
sys.modules["tui_trainer.training.loop"] = types.ModuleType("tui_trainer.training.loop")
sys.modules["tui_trainer.training.loop"].fit = fit
cli.main(sys.argv[1:])
"""
"""The program with a training that never gets to the end of its batch."""


def interrupted_twice(folder: Path) -> Ended:
    """A stuck run, and somebody who presses Ctrl-C, reads the answer, and presses it again."""
    with started(folder, [*ENDLESS, "--json"], [sys.executable, "-c", STUCK]) as process:
        assert process.stdout and process.stderr
        while "device" not in (line := process.stdout.readline()):
            assert line
        process.send_signal(signal.SIGINT)
        while "again ends at once" not in (line := process.stderr.readline()):
            assert line
        process.send_signal(signal.SIGINT)
        return finish(process, folder)


def one_after_another(folder: Path) -> Ended:
    """Two runs, the second behind the first, which is ended once the second waits for it."""
    with started(folder, [*ENDLESS, "--json"]) as first:
        assert first.stdout
        while "BatchTrained" not in (line := first.stdout.readline()):
            assert line
        words = [word if word != "it" else "second" for word in SHORT]
        with started(folder, [*words, "--after", "last"]) as second:
            assert second.stderr
            waits = second.stderr.readline()
            first.send_signal(signal.SIGTERM)
            end = finish(second, folder)
        ended_at = json.loads((folder / "runs" / "it" / "events.jsonl").read_text().splitlines()[-1])["at"]
        lines = (folder / "runs" / "second" / "events.jsonl").read_text().splitlines()
        began_at = next(json.loads(line)["at"] for line in lines if '"torch"' in line)
        return replace(end, err=waits + end.err + f"late: {began_at >= ended_at}")


def stopped_in_the_queue(folder: Path) -> Ended:
    """A run that waits, and somebody who presses Ctrl-C."""
    ahead = RunFolder(folder / "runs" / "ahead")
    ahead.path.mkdir(parents=True, mode=0o700)
    ahead.journal.touch()
    with ahead.lock.hold(), started(folder, [*ENDLESS, "--after", "ahead"]) as process:
        assert process.stderr
        assert process.stderr.readline() == "waiting for ahead to end: it is being prepared\n"
        process.send_signal(signal.SIGINT)
        return finish(process, folder)


CASES: Cases = {
    "one after another": one_after_another,
    "stopped in the queue": stopped_in_the_queue,
    "SIGINT": lambda folder: signalled(folder, ("BatchTrained", signal.SIGINT)),
    "SIGTERM": lambda folder: signalled(folder, ("BatchTrained", signal.SIGTERM)),
    "SIGHUP": lambda folder: signalled(folder, ("BatchTrained", signal.SIGHUP)),
    "SIGINT twice": interrupted_twice,
    "terminal closed": lambda folder: in_terminal(folder, *ENDLESS, closed_after=" 1/1000 "),
    "nohup": lambda folder: signalled(
        folder, ("BatchTrained", signal.SIGHUP), ("EpochEnded", signal.SIGTERM), command=["nohup", *PROGRAM]
    ),
    "put to sleep": put_to_sleep,
    "SIGUSR1": lambda folder: signalled(
        folder,
        ("BatchTrained", signal.SIGUSR1),
        ("CheckpointSaved", signal.SIGCONT),  # does nothing
        ("BatchTrained", signal.SIGTERM),
        words=[*ENDLESS, "--log-interval", "1"],
    ),
    "no data": lambda folder: run(folder, *UNNAMED, "--dataset", "fashion-mnist", command=NOWHERE),
    "no data, none named": lambda folder: run(folder, *UNNAMED, command=NOWHERE),
    "diverged": lambda folder: run(folder, *SHORT, "--optimizer", "sgd", "--lr", "1e6"),
    "no device": lambda folder: run(folder, *UNNAMED[:1], *UNNAMED[3:], "--device", "cuda:999"),
    "no terminal": lambda folder: run(folder),
    "start without terminal": lambda folder: run(folder, "--start"),
    "dumb terminal": lambda folder: in_terminal(folder, env={"TERM": "dumb"}),
}


def last_event(ended: Ended) -> dict[str, Any]:
    event = json.loads(ended.journal.splitlines()[-1])
    assert event["event"] == "RunEnded"
    return dict(event)


# --- signals ---


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_saves_and_ends_with_its_own_code(ended: Started, name: str, code: int) -> None:
    end = ended[name]
    last = last_event(end)
    assert (end.code, last["reason"], last["exit_code"], last["error"]) == (code, "interrupted", code, None)
    kinds = [json.loads(line)["event"] for line in end.journal.splitlines()]
    assert kinds[-2:] == ["CheckpointSaved", "RunEnded"]
    assert (end.run / "checkpoints" / "last.pt").stat().st_size > 1_000_000
    assert end.err == "\nsaving, then ending (Ctrl-C again ends at once)\n"


def test_a_second_ctrl_c_ends_at_once_and_leaves_the_run_without_a_goodbye(ended: Started) -> None:
    end = ended["SIGINT twice"]
    assert end.code == 130
    assert "RunEnded" not in end.journal
    assert "Traceback" not in end.err


def test_a_run_behind_another_begins_when_that_has_ended(ended: Started) -> None:
    end = ended["one after another"]
    assert end.code == 0
    assert re.match(r"waiting for it to end: epoch \d+ of 1000\n", end.err) and end.err.endswith("late: True")


def test_ctrl_c_ends_a_run_that_waits_for_its_turn(ended: Started) -> None:
    end = ended["stopped in the queue"]
    assert (end.code, last_event(end)["reason"]) == (130, "interrupted")
    assert "torch" not in end.journal and "Traceback" not in end.err


def test_a_closed_terminal_saves_and_ends_129(ended: Started) -> None:
    end = ended["terminal closed"]
    assert (end.code, last_event(end)["reason"]) == (129, "interrupted")
    assert (end.run / "checkpoints" / "last.pt").is_file()


def test_nohup_is_respected(ended: Started) -> None:
    end = ended["nohup"]
    assert end.code == 143
    assert "EpochEnded" in end.journal


def test_a_run_that_was_put_to_sleep_keeps_its_lock_and_goes_on(ended: Started) -> None:
    end = ended["put to sleep"]
    assert (end.code, end.err) == (143, "held: True")
    assert '"EpochEnded"' in end.journal


def test_sigusr1_saves_and_training_goes_on(ended: Started) -> None:
    end = ended["SIGUSR1"]
    assert end.code == 143
    saved = [json.loads(line)["step"] for line in end.journal.splitlines() if '"CheckpointSaved"' in line]
    assert len(saved) == 2
    assert saved[0] < saved[1]


# --- data, numbers, device ---


def test_3_a_named_data_set_that_cannot_be_had_is_an_error_that_names_the_way_out(ended: Started) -> None:
    end = ended["no data"]
    assert (end.code, last_event(end)["reason"]) == (3, "failed")
    assert "cannot be downloaded (http://127.0.0.1:9/: Connection refused" in end.err
    assert "--dataset fashion-mnist-mini" in end.err
    assert "Traceback" not in end.err
    assert "Traceback" in (end.run / "log.txt").read_text()


def test_a_data_set_that_nobody_named_is_replaced_by_the_small_one_loudly(ended: Started) -> None:
    end = ended["no data, none named"]
    assert (end.code, last_event(end)["reason"]) == (0, "finished")
    assert re.search(r"^warning: .*Training on fashion-mnist-mini instead", end.err, re.MULTILINE)
    assert 'dataset = "fashion-mnist-mini"' in (end.run / "run.toml").read_text()
    kinds = [json.loads(line) for line in end.journal.splitlines()]
    assert [event["text"] for event in kinds if event["event"] == "Warned"]
    assert next(e["settings"]["dataset"] for e in kinds if e["event"] == "RunStarted") == "fashion-mnist-mini"


def test_8_a_loss_that_is_not_finite_ends_the_run_before_the_step(ended: Started) -> None:
    end = ended["diverged"]
    last = last_event(end)
    assert (end.code, last["reason"], last["exit_code"]) == (8, "diverged", 8)
    assert re.search(r"^The loss is not finite \((nan|inf)\) at epoch \d+, batch \d+ of 12", end.err, re.MULTILINE)
    assert "Try a lower --lr" in end.err


def test_9_a_device_that_is_not_there_is_named_with_those_that_are(ended: Started) -> None:
    end = ended["no device"]
    assert (end.code, last_event(end)["reason"]) == (9, "failed")
    assert "There is no device cuda:999 here" in end.err
    assert re.search(r"This machine has: .*cpu\.", end.err)
    assert not list((end.run / "checkpoints").iterdir())


# --- without torch: usage, folders, bugs ---


@pytest.fixture
def end(capfd: pytest.CaptureFixture[str]) -> Iterator[Any]:
    """`main` in this process: its exit code, and what it printed."""

    def call(*words: str) -> Ended:
        with pytest.raises(SystemExit) as ending:
            main.main(list(words))
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        assert hidden(err) == set()
        return Ended(int(str(ending.value.code)), out, err, Path())

    yield call


@pytest.mark.parametrize("case", ["no terminal", "start without terminal", "dumb terminal"])
def test_2_without_a_terminal_the_message_names_no_ui(ended: Started, case: str) -> None:
    said = ended[case].err or ended[case].out
    assert ended[case].code == 2
    assert said.strip().endswith("tui-trainer --no-ui")
    assert not list(ended[case].folder.iterdir())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--lr", "0"], "lr: must be above 0, found '0' (--lr)\n"),
        (
            ["--device", "cpu:3"],
            "device: must be auto, cpu, cuda, cuda:N, mps, xpu or xpu:N; found 'cpu:3' (--device)\n",
        ),
        (["--lerning-rate", "1"], "--lerning-rate: there is no such option. Did you mean --lr?\n"),
        (["--epochs"], "Parameter --epochs requires an argument.\n"),
        (["--epochs=1", "--epochs=2"], "Parameter --epochs specified multiple times.\n"),
        (
            ["--after", "it"],
            "after: there is no run 'it': runs holds no runs. Start one with: tui-trainer\n",
        ),
        (
            ["--start", "--after", "it"],
            "after: there is no run 'it': runs holds no runs. Start one with: tui-trainer\n",
        ),
        (["--when-free", "10"], "when_free: must be a size such as 10GiB or 800MB, or 0; found '10' (--when-free)\n"),
        (["--json"], "--json belongs to --no-ui. Type: tui-trainer --no-ui --json\n"),
        (
            ["--preset", "tutoral"],
            "--preset: must be one of tutorial, quick; found 'tutoral'. Did you mean tutorial?\n",
        ),
        (["--config", "none.toml"], "settings file none.toml: there is no such file\n"),
        (["atach"], "atach: there is no such command. Did you mean attach?\n"),
        (["attach", "a", "b"], "b: one word too many.\n"),
        (["attach"], "There is no run 'last': runs holds no runs. Start one with: tui-trainer\n"),
        (["attach", "--output-dir", "x"], "There is no run 'last': x holds no runs. Start one with: tui-trainer\n"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_2_what_cannot_be_done_as_typed_is_a_sentence_and_leaves_nothing_behind(
    end: Any, own_folder: Path, words: list[str], sentence: str
) -> None:
    done = end(*words) if words[0] in ("attach", "--json", "--start") else end("--no-ui", *words)
    assert (done.code, done.out, done.err) == (2, "", sentence)
    assert not list(own_folder.iterdir())


@pytest.mark.parametrize("words", [["--no-ui", "--output-dir"], ["--no-ui", "--data-dir"], ["attach"]], ids=" ".join)
def test_2_a_home_folder_of_nobody_is_a_sentence(end: Any, own_folder: Path, words: list[str]) -> None:
    done = end(*words, "~nobody-here/x")
    assert (done.code, done.out) == (2, "")
    assert "~nobody-here/x" in done.err
    assert not list(own_folder.iterdir())


def test_2_a_name_that_no_run_has_gets_the_nearest_one_and_a_beginning_of_two_gets_both(
    end: Any, own_folder: Path
) -> None:
    for name in ("first-mlp", "first-cnn"):
        (own_folder / "runs" / name).mkdir(parents=True)
        (own_folder / "runs" / name / "events.jsonl").touch()
    assert end("attach", "frist-mlp").err == "There is no run 'frist-mlp' in runs. Did you mean first-mlp?\n"
    both = end("attach", "first")
    assert (both.code, both.err) == (2, "'first' could be 2 runs: first-cnn, first-mlp. Type more of the name.\n")


def test_a_settings_folder_that_cannot_be_reached_is_no_reason_to_fail(
    end: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/" + "x" * 5000)
    assert end("--print-config").code == 0


@pytest.mark.parametrize("output_dir", ["file", "file/below", "/dev/null/x", "x" * 300])
def test_6_an_output_folder_that_cannot_be_made_is_named(end: Any, own_folder: Path, output_dir: str) -> None:
    (own_folder / "file").touch()
    done = end("--no-ui", "--output-dir", output_dir)
    assert done.code == 6
    assert output_dir[:100] in done.err
    assert "--output-dir" in done.err
    assert [path.name for path in own_folder.iterdir()] == ["file"]


def test_6_a_name_that_is_taken_is_not_written_over(end: Any, own_folder: Path) -> None:
    (own_folder / "runs" / "first").mkdir(parents=True)
    done = end("--no-ui", "--name", "first")
    assert (done.code, list((own_folder / "runs" / "first").iterdir())) == (6, [])
    assert done.err == "There is a run named first in runs already. Choose another --name.\n"


def pretend(monkeypatch: pytest.MonkeyPatch, fault: BaseException) -> None:
    """Put a training in place that fails, so that no torch is needed."""

    def fit(*_: object) -> Iterator[object]:
        yield from ()
        raise fault

    module = types.ModuleType("tui_trainer.training.loop")
    module.fit = fit  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)


FAULTS = [(kind, kind.exit_code) for kind in errors.TrainerError.__subclasses__() if kind is not errors.SettingsError]


@pytest.mark.parametrize(("kind", "code"), FAULTS, ids=lambda value: getattr(value, "__name__", str(value)))
def test_every_known_fault_has_its_exit_code_and_its_words_and_no_traceback(
    end: Any, own_folder: Path, monkeypatch: pytest.MonkeyPatch, kind: type[errors.TrainerError], code: int
) -> None:
    pretend(monkeypatch, kind("The fuse has blown.\nReplace it."))
    done = end("--no-ui", "--name", "it")
    assert done.code == code
    assert "The fuse has blown.\nReplace it.\nThe details are in runs/it/log.txt." in done.err
    run = RunFolder(own_folder / "runs" / "it")
    assert json.loads(run.journal.read_text().splitlines()[-1])["exit_code"] == code
    assert "Traceback" in run.log.read_text()


@pytest.mark.parametrize("fault", [ZeroDivisionError("1/0"), SystemExit(0), MemoryError(), RecursionError()])
def test_1_a_bug_ends_the_run_with_a_word_and_leaves_its_traceback_in_the_log(
    end: Any, own_folder: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    pretend(monkeypatch, fault)
    done = end("--no-ui", "--name", "it")
    assert done.code == 1
    assert f"{type(fault).__name__}: " in done.err
    assert "This is a bug in tui-trainer." in done.err
    assert "Traceback" in (own_folder / "runs" / "it" / "log.txt").read_text()


def test_a_settings_file_whose_name_is_not_text_is_no_reason_to_fail(
    end: Any, own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The words typed are kept in run.toml, and on Unix a word can be any bytes."""
    pretend(monkeypatch, errors.DataError("enough"))
    config = os.fsdecode(b"c\xff.toml")
    (own_folder / config).write_text("epochs = 1")
    words = ["--no-ui", "--name", "it", "--config", config]
    monkeypatch.setattr(sys, "argv", ["tui-trainer", *words])
    assert end(*words).code == 3


# --- light on its feet ---


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["--print-config"], ["--lr", "0"], ["attach"]], ids=" ".join
)
def test_what_does_not_train_imports_neither_torch_nor_the_screens(words: list[str]) -> None:
    script = (
        "import sys\nfrom tui_trainer.cli import main as cli\n"
        f"try: cli.main({words})\n"
        "except SystemExit as end: print(end.code)\n"
        "print(sorted({'torch', 'torchvision', 'numpy', 'textual', 'plotext'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=LIMIT)
    assert done.stdout.splitlines()[-1] == "[]"
    assert done.stdout.splitlines()[-2] == ("0" if words[0] in ("--help", "--version", "--print-config") else "2")


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["--print-config"]], ids=" ".join)
def test_a_reader_that_has_gone_is_no_fault(tmp_path: Path, words: list[str]) -> None:
    """As in `tui-trainer --help | true`."""
    with started(tmp_path, words) as process:
        assert process.stdout
        process.stdout.close()
        process.stdout = None
        end = finish(process, tmp_path)
    assert (end.code, end.err) == (0, "")


def test_help_and_version_are_for_people(end: Any) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", end("--version").out)
    done = end("--help")
    assert done.code == 0
    assert hidden(done.out) == set()
    for word in ("--no-ui", "--preset", "attach", "Optimisation"):
        assert word in done.out
