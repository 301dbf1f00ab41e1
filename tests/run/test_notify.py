"""Somebody is called when a run ends, asks or goes wrong, and no server can hold the training up."""

import math
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.run.examples import ended, epoch_ended, evaluated, folded, saved, started, trained
from tui_trainer.cli.local_run import local_run
from tui_trainer.run.escape_codes import escape_sequence
from tui_trainer.run.events import Event, LearningRateChanged, RunEnded, RunPaused, RunResumed, Warned
from tui_trainer.run.folder import RunFolder
from tui_trainer.run.local import LocalRun
from tui_trainer.run.notify import Notifier, lost_text, notification_text
from tui_trainer.run.resume import Resume, carry
from tui_trainer.run.state import RunState
from tui_trainer.settings.schema import Settings

HOSTILE = "a\x1b]0;x\x07b\x9cc\u202ed\r\ne;f\x1b\\g"


def said(*events: Event) -> list[str]:
    """What is said of these events, one after the other."""
    state, texts = RunState(), []
    for event in events:
        state.apply(event)
        texts.append(notification_text(event, state))
    return [text for text in texts if text is not None]


BEST = (started(), trained(10), evaluated(10), saved(10, "best"), epoch_ended(1))

# --- what is said ---


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (ended(), "finished after 0:12, best 75.0 % in epoch 1"),
        (
            ended("out_of_patience"),
            "ended early, no improvement within the patience, after 0:12, best 75.0 % in epoch 1",
        ),
        (ended("interrupted", exit_code=143), "interrupted by a signal after 0:12, best 75.0 % in epoch 1"),
        (ended("interrupted", exit_code=129), "interrupted by a signal after 0:12, best 75.0 % in epoch 1"),
        (
            ended("diverged", error="The loss is nan."),
            "stopped, the loss is not finite, after 0:12, best 75.0 % in epoch 1",
        ),
        (ended("failed", error="No data.\nMore."), "failed after 0:12: No data., best 75.0 % in epoch 1"),
        (RunPaused(why="disk", text="No room is left."), "paused and asks what to do: No room is left."),
        (
            LearningRateChanged(lr=1e-4, by="plateau"),
            "no improvement for a while, the learning rate is now 0.0001, best 75.0 % in epoch 1",
        ),
        (evaluated(20, math.nan), "the validation loss is not finite, best 75.0 % in epoch 1"),
    ],
)
def test_what_somebody_is_called_for_is_one_sentence_with_the_best_score(event: Event, text: str) -> None:
    assert said(*BEST, event) == [text]


@pytest.mark.parametrize(
    "event",
    [
        ended("stopped"),
        ended("interrupted", exit_code=130),
        RunPaused(),
        RunResumed(),
        LearningRateChanged(lr=1e-4, by="you"),
        LearningRateChanged(lr=1e-4, by="rollback"),  # a person has chosen it
        Warned(text="the data has changed"),
        evaluated(20, math.nan, split="test"),
        ended("a reason of a newer program"),
    ],
)
def test_nobody_is_called_for_what_was_asked_for_or_does_not_matter(event: Event) -> None:
    assert said(*BEST, event) == []


def test_a_run_that_rolls_back_by_itself_says_so() -> None:
    events = (started(on_nonfinite="rollback"), trained(1), LearningRateChanged(lr=5e-4, by="rollback"))
    assert said(*events) == [
        "the loss was not finite: back at the last checkpoint, the learning rate is now 0.0005",
    ]


def test_a_validation_loss_that_stays_not_finite_is_said_once() -> None:
    events = [event for n in (10, 20, 30) for event in (trained(n), evaluated(n, math.inf), epoch_ended(n // 10))]
    assert len(said(started(), *events)) == 1


def test_a_process_that_is_gone_is_said_with_its_place() -> None:
    assert lost_text(folded(*BEST)) == "the process that trained is gone, in epoch 1, best 75.0 % in epoch 1"


# --- what a terminal is sent ---

TMUX = {"TMUX": "/tmp/tmux-1000/default,1,0", "TERM": "tmux-256color"}


@pytest.mark.parametrize(
    ("how", "environ", "code"),
    [
        ("auto", {"TERM": "xterm-256color"}, "\x1b]9;it: finished\a\a"),
        ("auto", {"TERM": "foot"}, "\x1b]777;notify;it;finished\a\a"),
        ("auto", {"TERM": "rxvt-unicode-256color"}, "\x1b]777;notify;it;finished\a\a"),
        ("auto", TMUX, "\x1bPtmux;\x1b\x1b]9;it: finished\a\x1b\\\a"),
        ("osc777", TMUX, "\x1bPtmux;\x1b\x1b]777;notify;it;finished\a\x1b\\"),
        ("osc9", {}, "\x1b]9;it: finished\a"),
        ("bell", TMUX, "\a"),
        ("off", {}, ""),
        ("\x1b[31m", {}, ""),
    ],
)
def test_each_way_of_calling_is_its_escape_code(how: str, environ: dict[str, str], code: str) -> None:
    assert escape_sequence(how, "it", "finished", environ) == code


@pytest.mark.parametrize("how", ["osc9", "osc777"])
@pytest.mark.parametrize("environ", [{}, TMUX])
def test_no_text_can_leave_its_escape_code(how: str, environ: dict[str, str]) -> None:
    tame, hostile = escape_sequence(how, "x", "y", environ), escape_sequence(how, HOSTILE, HOSTILE, environ)
    for control in ("\x1b", "\a", "\x9c", "\r", "\n", "\u202e"):
        assert hostile.count(control) == tame.count(control)
    assert hostile.count(";") == tame.count(";")


def test_a_name_that_is_a_number_is_no_command_to_a_terminal() -> None:
    assert escape_sequence("osc9", "4;1;50", "x", {}) == "\x1b]9;4,1,50: x\a"  # 9;4;1;50 would draw a progress bar


# --- what a server is sent ---


class Server(HTTPServer):
    """Keeps what it is sent. Answers with `status`, once `opened`."""

    def __init__(self, status: int = 200) -> None:
        super().__init__(("127.0.0.1", 0), _Kept)
        self.status = status
        self.opened = threading.Event()
        self.got: list[tuple[str, dict[str, str], str]] = []
        """Path, headers, body."""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class _Kept(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.got.append((self.path, dict(self.headers), body))
        self.server.opened.wait()
        self.send_response(self.server.status, "x\x1b[31m")
        if self.server.status == 302:
            self.send_header("Location", f"http://{self.server.address}/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def serving(status: int = 200, *, opened: bool = True) -> Iterator[Server]:
    server = Server(status)
    if opened:
        server.opened.set()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.opened.set()
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_sentence_is_posted_as_plain_text_with_the_runs_name_as_title() -> None:
    with serving() as server:
        post = Notifier(f"http://{server.address}/topic?x=1#part", "it")
        post.send("finished, best 75.0 % · ✔")
        assert post.close() == ""
        ((path, headers, body),) = server.got
    assert (path, body) == ("/topic?x=1", "finished, best 75.0 % · ✔")
    assert headers["Title"] == "it" and headers["Content-Type"] == "text/plain; charset=utf-8"
    assert "Authorization" not in headers


def test_name_and_password_of_an_address_are_basic_authentication() -> None:
    with serving() as server:
        post = Notifier(f"http://me:p%40ss@{server.address}", "it")
        post.send("x")
        assert post.close() == ""
        ((path, headers, _),) = server.got
    assert (path, headers["Authorization"], headers["Host"]) == ("/", "Basic bWU6cEBzcw==", server.address)


@pytest.mark.parametrize("name", [HOSTILE, "näme ✔", "x" * 500])
def test_no_name_can_add_a_header_or_break_one(name: str) -> None:
    with serving() as server:
        post = Notifier(f"http://{server.address}/", name)
        post.send(HOSTILE)
        assert post.close() == ""
        ((_, headers, body),) = server.got
    assert body == HOSTILE  # a body is plain text and as long as it says
    assert headers["Title"].isascii() and headers["Title"].isprintable()
    assert set(headers) == {
        "Accept-Encoding", "Content-Length", "Host", "User-Agent", "Content-Type", "Title", "Connection"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (302, "the answer was 302 x\\x1b[31m, a redirect, which is not followed"),
        (404, "the answer was 404 x\\x1b[31m"),
        (500, "the answer was 500 x\\x1b[31m"),
    ],
)
def test_an_answer_that_is_no_success_is_said_once_without_the_secrets_of_the_address(status: int, why: str) -> None:
    with serving(status) as server:
        post = Notifier(f"http://me:secret@{server.address}/secret?secret", "it")
        post.send("one")
        post.send("two")
        assert post.close() == f"a notification did not reach http://{server.address}/…: {why}"
        assert post.trouble() == ""
        assert [body for _, _, body in server.got] == ["one", "two"]


def test_what_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Notifier, "TIMEOUT", 0.2)
    with serving(opened=False) as server:
        post = Notifier(f"http://{server.address}/", "it")
        for number in range(100):
            post.send(f"{number}")
        assert post.close() in ("", f"a notification did not reach http://{server.address}/…: no answer")


# --- a run that calls ---


def run_of(events: list[Event], monkeypatch: pytest.MonkeyPatch, url: str) -> LocalRun:
    """A run that says these events and trains nothing."""

    def guarded(run: LocalRun, *_: object) -> Iterator[Event]:
        for event in events:
            run._state.apply(event)
            yield event

    monkeypatch.setattr(LocalRun, "_guarded", guarded)
    return local_run(Settings(notify_url=url, name="it"))


PLATEAU = LearningRateChanged(lr=1e-4, by="plateau")


def test_a_run_posts_what_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as server:
        run = run_of([*BEST, PLATEAU, ended()], monkeypatch, f"http://{server.address}/t")
        assert not [event for event in run.events() if isinstance(event, Warned)]
        bodies = [body for _, _, body in server.got]
        assert [headers["Title"] for _, headers, _ in server.got] == ["it", "it"]
    assert bodies == said(*BEST, PLATEAU, ended())


def test_a_server_that_hangs_delays_no_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Notifier, "TIMEOUT", 5.0)
    with serving(opened=False) as server:
        run = run_of([*BEST, *([PLATEAU] * 50), ended()], monkeypatch, f"http://{server.address}/t")
        events = run.events()
        while not isinstance(next(events), RunEnded):
            pass
        assert not server.opened.is_set()  # it has answered nothing until now
        server.opened.set()
        assert list(events) == []


def test_a_server_that_is_not_there_is_one_warning_and_its_password_is_nowhere_on_disk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = socket.socket()  # so that no other test's server gets the number
    taken.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{taken.getsockname()[1]}"
    failed = threading.Event()
    fail = Notifier._fail

    def fail_and_tell(post: Notifier, why: str) -> None:
        fail(post, why)
        if address in post._url:  # and not one that an earlier test has left waiting
            failed.set()

    monkeypatch.setattr(Notifier, "_fail", fail_and_tell)
    monkeypatch.setattr("sys.argv", ["tui-trainer", "--notify-url", f"http://me:secret@{address}/t?secret=1"])
    run = run_of([*BEST, PLATEAU, trained(11), PLATEAU, trained(12), ended()], monkeypatch, "http://x")
    run.settings = run.settings.model_copy(update={"notify_url": f"http://me:secret@{address}/t?secret=1"})
    seen = []
    for event in run.events():
        seen.append(event)
        if isinstance(event, LearningRateChanged):
            failed.wait(120)
    taken.close()
    (warning,) = [event for event in seen if isinstance(event, Warned)]
    assert warning.text == f"a notification did not reach http://{address}/…: Connection refused"
    assert isinstance(seen[-1], RunEnded)
    assert run.folder is not None
    files = [path for path in run.folder.path.rglob("*") if path.is_file()]
    assert len(files) >= 4 and not [path for path in files if b"secret" in path.read_bytes()]
    assert f"http://{address}/…" in run.folder.manifest.read_text()  # the words it was started with


def test_a_failure_of_the_last_message_is_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(404) as server:
        run = run_of([*BEST, ended()], monkeypatch, f"http://{server.address}/t")
        events = list(run.events())
    assert isinstance(events[-1], RunEnded)
    assert run.folder is not None and "did not reach" in run.folder.log.read_text()


# --- a run that is carried on ---


def test_a_run_that_is_carried_on_calls_where_it_did_and_a_password_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = RunFolder.create(Settings(name="it"))
    folder.write_manifest(Settings(notify_url="https://me:secret@ntfy.sh/topic"), {})
    folder.journal.touch()
    (folder.checkpoints / "last.pt").touch()
    carried = carry(folder, {}, Resume())
    assert (carried.settings.notify_url, carried.changed) == ("https://ntfy.sh/topic", ())
    monkeypatch.setenv("TUI_TRAINER_NOTIFY_URL", "https://me:secret@ntfy.sh/topic")
    carried = carry(folder, {}, Resume())
    assert (carried.settings.notify_url, carried.changed) == ("https://me:secret@ntfy.sh/topic", ())  # nothing to agree
    assert carry(folder, {"notify_url": ""}, Resume()).settings.notify_url is None
