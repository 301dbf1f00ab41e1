"""The control socket: for its owner alone, and nothing that comes through it holds the run up."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.scale import many
from tui_trainer.errors import UsageError
from tui_trainer.run import commands, connection, control
from tui_trainer.run.commands import Command, Inbox, from_json, from_words, to_json
from tui_trainer.run.connection import Connection, Refused
from tui_trainer.run.control import CLIENTS, LINE, Control, socket_path

ALL = [
    commands.Pause(),
    commands.Continue(),
    commands.Stop(),
    commands.Stop(save=False),
    commands.SaveCheckpoint(),
    commands.Evaluate(),
    commands.EndEpoch(),
    commands.SetLearningRate(1e-3),
    commands.HandOver(),
    commands.SkipBatch(),
    commands.RollBack(halve=True),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir(mode=0o700)
    return tmp_path / "run"


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def served(folder: Path, inbox: Inbox) -> Iterator[Control]:
    served = Control(folder, inbox)
    assert served.problem == ""
    yield served
    served.close()


class Raw:
    """A client that sends whatever it likes."""

    def __init__(self, folder: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(20)
        self.socket.connect(os.fspath(socket_path(folder)))
        self.lines = self.socket.makefile("rb")

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *_: object) -> None:
        self.lines.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> dict[str, Any]:
        line = self.lines.readline()
        return dict(json.loads(line)) if line else {}


def taken(inbox: Inbox) -> list[Command]:
    return list(iter(inbox.take, None))


# --- what may be said ---


@pytest.mark.parametrize("command", ALL, ids=lambda command: repr(command)[:40])
def test_a_command_comes_out_as_it_went_in_and_says_who_gave_it(command: Command) -> None:
    came = from_json(json.loads(json.dumps(to_json(command))), "viewer on pts/3")
    assert came.by == "viewer on pts/3" and to_json(came) == to_json(command)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "there is no command None"),
        ({"command": "Wake"}, "there is no command Wake"),
        ({"command": "\x1b[2J"}, r"there is no command \\x1b\[2J"),
        ({"command": ["Stop"]}, "there is no command"),
        ({"command": "Stop", "signal": 9}, "Stop takes no 'signal'"),
        ({"command": "Stop", "by": "root"}, "Stop takes no 'by'"),
        ({"command": "Stop", "save": "yes"}, "save must be true or false"),
        ({"command": "SaveCheckpoint", "path": "/etc/passwd"}, "SaveCheckpoint takes no 'path'"),
        ({"command": "SetLearningRate"}, "lr must be a number above 0"),
        ({"command": "SetLearningRate", "lr": True}, "lr must be a number above 0"),
        ({"command": "SetLearningRate", "lr": 0}, "lr must be above 0 and finite"),
        ({"command": "SetLearningRate", "lr": float("nan")}, "lr must be above 0 and finite"),
        ({"command": "SetLearningRate", "lr": 10**400}, "lr must be"),
    ],
)
def test_what_is_no_command_gets_a_sentence(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        from_json(values, "somebody")


def test_what_one_types_becomes_a_command() -> None:
    assert from_words("lr", "3e-4") == commands.SetLearningRate(3e-4)
    assert [type(from_words(word, None)) for word in commands.WORDS if word != "lr"] == [
        kind for word, kind in commands.WORDS.items() if word != "lr"
    ]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("puase", None), "Did you mean pause?"),
        (("pause", "now"), "pause takes no value"),
        (("lr", None), "lr takes a number above 0, found 'nothing'"),
        (("lr", "nan"), "lr takes a number above 0"),
        (("lr", "-1"), "lr takes a number above 0"),
    ],
)
def test_what_one_mistypes_gets_a_sentence(words: tuple[str, str | None], sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        from_words(*words)
    assert sentence in str(refused.value)


# --- the socket ---


@pytest.mark.usefixtures("served")
def test_commands_arrive_in_their_order_and_each_is_answered_by_its_number(folder: Path, inbox: Inbox) -> None:
    connection = Connection(folder, "viewer on pts/3", watches=False)
    numbers = [connection.send(command) for command in ALL]
    assert [connection.answer() for _ in ALL] == [{"id": number, "taken": True} for number in numbers]
    came = taken(inbox)
    assert list(map(to_json, came)) == list(map(to_json, ALL)) and {c.by for c in came} == {"viewer on pts/3"}
    connection.close()


def test_the_socket_is_for_its_owner_alone_and_goes_with_the_run(folder: Path, inbox: Inbox) -> None:
    served = Control(folder, inbox)
    assert stat.S_IMODE(served.path.stat().st_mode) == 0o600 and served.path == folder.resolve() / "control.sock"
    assert [path.name for path in folder.iterdir()] == ["control.sock"]
    served.close()
    assert list(folder.iterdir()) == []
    with pytest.raises(Refused, match="cannot be reached"):
        Connection(folder, "late", watches=False)


@pytest.mark.usefixtures("served")
def test_a_run_is_watched_while_somebody_who_watches_is_connected(folder: Path, inbox: Inbox) -> None:
    script = Connection(folder, "send", watches=False)
    script.send(commands.Pause())
    script.answer()
    assert not inbox.watched
    viewer = Connection(folder, "viewer", watches=True)
    viewer.send(commands.Pause())
    viewer.answer()
    assert inbox.watched
    viewer.close()
    wait_until(lambda: not inbox.watched)
    script.close()


def wait_until(true: Any) -> None:
    until = time.monotonic() + 120
    while not true():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path is short enough for a socket in it, and whose parents anybody may pass."""
    with tempfile.TemporaryDirectory(prefix="t") as path:
        yield Path(path)


def said_to_nobody(path: Path) -> str:
    """What the socket says to another user, or why that one cannot connect."""
    ours, theirs = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            line = socket.socket(socket.AF_UNIX)
            line.settimeout(20)
            line.connect(os.fspath(path))
            os.write(theirs, line.recv(1000))
        except BaseException as error:
            os.write(theirs, type(error).__name__.encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(theirs)
    with os.fdopen(ours) as answer:
        return answer.read()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_another_user_is_refused_by_the_rights_and_again_at_the_socket(short: Path, inbox: Inbox) -> None:
    served = Control(short, inbox)
    for _ in range(many(2, 100)):
        assert said_to_nobody(served.path) == "PermissionError"
    short.chmod(0o755)
    assert said_to_nobody(served.path) == "PermissionError"
    served.path.chmod(0o666)
    for _ in range(many(2, 100)):
        assert "this run belongs to user 0, not to user 65534" in said_to_nobody(served.path)
    served.close()


def test_a_socket_that_a_killed_run_has_left_is_replaced(folder: Path, inbox: Inbox) -> None:
    code = """if True:
        import sys, time
        from pathlib import Path
        from tui_trainer.run.commands import Inbox
        from tui_trainer.run.control import Control
        Control(Path(sys.argv[1]), Inbox())
        print("ready", flush=True)
        time.sleep(60)
    """
    words = [sys.executable, "-c", code, os.fspath(folder)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"ready\n"
        other.send_signal(signal.SIGKILL)
    assert (folder / "control.sock").is_socket()
    with pytest.raises(Refused, match="cannot be reached"):
        Connection(folder, "viewer", watches=False)
    served = Control(folder, inbox)
    assert served.problem == ""
    Connection(folder, "viewer", watches=False).close()
    served.close()


def test_a_socket_that_somebody_has_deleted_is_made_again(
    folder: Path, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "CHECK_EVERY", 0.0)
    served = Control(folder, inbox)
    served.path.unlink()
    wait_until(served.path.exists)
    Connection(folder, "viewer", watches=False).close()
    served.close()
    assert not served.path.exists()


def test_a_run_in_a_long_path_has_its_socket_under_a_short_name(
    tmp_path: Path, short: Path, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(short))
    folder = tmp_path / ("x" * 100)
    folder.mkdir(mode=0o700)
    served = Control(folder, inbox)
    assert (
        served.problem == "" and len(os.fsencode(served.path)) < 104 and served.path.parent.stat().st_mode & 0o77 == 0
    )
    Connection(folder, "viewer", watches=False).close()
    served.close()
    assert list(served.path.parent.iterdir()) == []


def _link(place: Path) -> None:
    place.rename(place.with_name("elsewhere"))
    place.symlink_to(place.with_name("elsewhere"))


def _file(place: Path) -> None:
    place.rmdir()
    place.write_text("")


@pytest.mark.parametrize(
    ("plant", "reason"),
    [
        (_link, "it is a link"),
        (_file, "File exists"),
        (lambda place: place.chmod(0o750), "others may look into it"),
        (lambda place: place.chmod(0o707), "others may look into it"),
        (lambda place: os.chown(place, 65534, 65534), "it is another user's"),
    ],
    ids=["a link", "a file", "open to the group", "open to all", "another user's"],
)
def test_no_socket_is_made_where_others_could_reach_it_and_the_run_says_so(
    tmp_path: Path, short: Path, inbox: Inbox, monkeypatch: pytest.MonkeyPatch, plant: Any, reason: str
) -> None:
    if plant.__name__ == "<lambda>" and "another" in reason and os.getuid() != 0:
        pytest.skip("only root can give a folder away")
    monkeypatch.setenv("XDG_STATE_HOME", str(short))
    place = short / "tui-trainer" / "sockets"
    place.mkdir(mode=0o700, parents=True)
    plant(place)
    folder = tmp_path / ("x" * 100)
    folder.mkdir(mode=0o700)
    served = Control(folder, inbox)
    assert "cannot be steered from other terminals" in served.problem and reason in served.problem
    served.close()


def test_what_is_in_the_way_of_the_socket_and_is_none_stays(folder: Path, inbox: Inbox) -> None:
    (folder / "control.sock").write_text("mine")
    served = Control(folder, inbox)
    assert "is there and is no socket" in served.problem
    served.close()
    assert (folder / "control.sock").read_text() == "mine"


def test_a_forked_worker_keeps_no_socket_of_a_killed_run(folder: Path) -> None:
    code = """if True:
        import os, sys, time
        from pathlib import Path
        from tui_trainer.run.commands import Inbox
        from tui_trainer.run.control import Control
        Control(Path(sys.argv[1]), Inbox())
        pid = os.fork()
        if pid:
            print(pid, flush=True)
        time.sleep(60)
    """
    words = [sys.executable, "-W", "ignore", "-c", code, os.fspath(folder)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        worker = int(other.stdout.readline())
        try:
            Connection(folder, "viewer", watches=False).close()
            other.send_signal(signal.SIGKILL)
            other.wait()
            with pytest.raises(Refused, match=r"Connection (refused|reset)"):
                Connection(folder, "viewer", watches=False)
        finally:
            os.kill(worker, signal.SIGKILL)


# --- clients that mean no good ---


def greeted(folder: Path) -> Raw:
    raw = Raw(folder)
    assert raw.answer()["protocol"] == 1
    return raw


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(
    "line",
    [
        b"rubbish\n",
        b"\xff\xfe\n",
        b"[1]\n",
        b'"Stop"\n',
        b"9" * 5000 + b"\n",
        b"[" * 50_000 + b"\n",
        b'{"command":1}\n',
    ],
    ids=["rubbish", "not UTF-8", "a list", "a string", "5,000 digits", "50,000 deep", "a number"],
)
def test_a_line_that_is_no_command_is_answered_by_a_sentence(folder: Path, inbox: Inbox, line: bytes) -> None:
    with greeted(folder) as raw:
        raw.send(line + b'{"id": 7, "command": "Pause"}\n')
        first, second = raw.answer(), raw.answer()
    assert set(first) == {"id", "error"} and "\x1b" not in first["error"] and second == {"id": 7, "taken": True}
    assert [type(command) for command in taken(inbox)] == [commands.Pause]


@pytest.mark.usefixtures("served")
def test_rubbish_is_listened_to_for_ten_lines_and_then_left(folder: Path, inbox: Inbox) -> None:
    frames = 0
    wanted = many(500, 100_000)
    while frames < wanted:
        with greeted(folder) as raw:
            answers = 0
            try:
                for _ in range(100):
                    raw.send(os.urandom(32).replace(b"\n", b"x") + b"\n")
                    frames += 1
                while raw.answer():
                    answers += 1
            except OSError:
                pass
            assert answers <= 10
    connection = Connection(folder, "viewer", watches=False)
    connection.send(commands.Pause())
    assert connection.answer()["taken"]
    connection.close()
    assert [type(command) for command in taken(inbox)] == [commands.Pause]


@pytest.mark.usefixtures("served")
def test_a_line_without_end_is_left_at_its_limit(folder: Path, inbox: Inbox) -> None:
    with greeted(folder) as raw:
        try:
            raw.send(b"x" * (4 * LINE))
            assert raw.answer() == {}
        except OSError:
            pass
    assert taken(inbox) == []


@pytest.mark.usefixtures("served")
def test_half_a_line_is_waited_for_only_so_long(folder: Path, inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "PATIENCE", 0.2)
    with greeted(folder) as raw:
        raw.send(b'{"command": "Stop"')
        assert raw.answer() == {}, "the connection is closed"
    assert taken(inbox) == []


@pytest.mark.usefixtures("served")
def test_a_line_that_comes_byte_by_byte_is_a_line(folder: Path, inbox: Inbox) -> None:
    with greeted(folder) as raw:
        for byte in b'{"id":1,"command":"Pause"}\n':
            raw.send(bytes([byte]))
        assert raw.answer() == {"id": 1, "taken": True}
    assert [type(command) for command in taken(inbox)] == [commands.Pause]


@pytest.mark.usefixtures("served")
def test_who_never_reads_is_left_and_the_others_are_served(folder: Path, inbox: Inbox) -> None:
    with greeted(folder) as deaf, greeted(folder) as other:
        deaf.socket.settimeout(0.2)
        try:
            for _ in range(20_000):
                deaf.send(b'{"id": 1, "command": "Pause"}\n' * 20)
        except OSError:
            pass  # neither its lines are read any more, nor is it connected
        other.send(b'{"id": 2, "command": "Continue"}\n')
        assert other.answer()["id"] == 2
    assert len(taken(inbox)) <= control.BACKLOG + 1, "what waits for the run is bounded"


def test_one_client_too_many_is_told(served: Control, folder: Path) -> None:
    clients = [greeted(folder) for _ in range(CLIENTS)]
    with pytest.raises(Refused, match="16 viewers are connected already"):
        Connection(folder, "viewer", watches=False)
    clients[0].__exit__()
    wait_until(lambda: len(served._clients) < CLIENTS)
    Connection(folder, "viewer", watches=False).close()
    for client in clients[1:]:
        client.__exit__()


def test_another_version_is_refused_by_its_name(served: Control, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PROTOCOL", 2)
    served._reply = lambda client, values: Control._reply(served, client, values | {"protocol": 1})  # type: ignore[method-assign]
    with pytest.raises(Refused, match=r"trains with tui-trainer 0\.1\.0, which 0\.1\.0 cannot steer"):
        Connection(folder, "viewer", watches=False)


@pytest.mark.usefixtures("served")
def test_commands_beyond_the_backlog_are_refused(folder: Path) -> None:
    with greeted(folder) as raw:
        for number in range(control.BACKLOG + 5):
            raw.send(b'{"id": %d, "command": "Evaluate"}\n' % number)
        answers = [raw.answer() for _ in range(control.BACKLOG + 5)]
    assert sum("taken" in answer for answer in answers) == control.BACKLOG
    assert answers[-1]["error"] == "too many commands wait already"
