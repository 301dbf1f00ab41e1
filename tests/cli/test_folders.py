"""Every command that takes a run, on a run that is under way, finished, crashed, or somebody else's."""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cli.program import hidden
from tests.cli.test_runs import program
from tests.ui.folders import make
from tui_trainer.run.commands import Inbox, Pause
from tui_trainer.run.control import Control
from tui_trainer.run.events import RunPaused
from tui_trainer.run.folder import RunFolder
from tui_trainer.run.journal import Journal
from tui_trainer.runs import listing

KINDS = ("live", "finished", "crashed", "foreign")


@pytest.fixture(autouse=True)
def runs() -> Iterator[Inbox]:
    """A run of each kind, and what the live one is told."""
    listing._cache.clear()
    inbox = Inbox()
    make("finished", "finished")
    make("crashed", "finished", share=0.5)
    path = make("foreign", "stopped")
    if os.getuid() == 0:
        os.chown(path, 65534, 65534)
    else:
        path.chmod(0o777)
    live = RunFolder(make("live", "finished", share=0.5))
    with ExitStack() as stack:
        stack.enter_context(live.lock.hold())
        control = Control(live.path, inbox)
        stack.callback(control.close)
        yield inbox


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", ["attach", "replay"])
def test_a_screen_needs_a_terminal_and_says_what_does_not(
    capsys: pytest.CaptureFixture[str], command: str, kind: str
) -> None:
    code, out, err = program(capsys, command, kind)
    assert (code, out) == (2, "") and "There is no terminal for the screens here" in err


@pytest.mark.parametrize(
    ("kind", "code", "said"),
    [
        ("live", 7, "The run live is held by process"),
        ("finished", 0, "finished finished at epoch 6. To go on, give more epochs: --epochs 12."),
        ("crashed", 5, "last.pt"),
        ("foreign", 6, "nothing was trained there"),
    ],
)
def test_resume_answers_by_what_the_folder_is(
    capsys: pytest.CaptureFixture[str], kind: str, code: int, said: str
) -> None:
    before = (Path("runs") / kind / "events.jsonl").read_bytes()
    came, out, err = program(capsys, "resume", kind, "--no-ui")
    assert came == code and said in out + err and "Traceback" not in out + err and not hidden(out + err)
    if code != 5:
        assert (Path("runs") / kind / "events.jsonl").read_bytes() == before


@pytest.mark.parametrize("kind", ["finished", "crashed", "foreign"])
def test_a_run_that_nobody_trains_takes_no_commands(capsys: pytest.CaptureFixture[str], kind: str) -> None:
    code, out, err = program(capsys, "send", kind, "pause")
    assert (code, out) == (2, "")
    assert f"Nobody trains {kind}: it takes no commands. Carry it on with: tui-trainer resume {kind}" in err


@pytest.mark.parametrize("json_", [False, True])
def test_a_live_run_is_told_and_its_event_is_the_answer(
    capsys: pytest.CaptureFixture[str], runs: Inbox, json_: bool
) -> None:
    journal = Journal(Path("runs/live/events.jsonl"))

    def answer() -> None:
        command = runs.wait()
        assert isinstance(command, Pause)
        journal.append(RunPaused(by=command.by))

    run = threading.Thread(target=answer)
    run.start()
    code, out, err = program(capsys, "send", "live", "pause", *(["--json"] if json_ else []))
    run.join()
    journal.close()
    assert (code, err) == (0, "")
    assert json.loads(out)["event"] == "RunPaused" if json_ else out.startswith("live: paused (send")


def test_the_list_and_the_comparison_take_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = program(capsys, "runs", "--json")
    states = {run["name"]: run["state"] for run in map(json.loads, out.splitlines())}
    assert (code, err) == (0, "")
    assert states == {"live": "training", "finished": "finished", "crashed": "lost", "foreign": "stopped"}
    code, out, err = program(capsys, "compare", *KINDS, "--json")
    assert (code, err) == (0, "") and [run["name"] for run in json.loads(out)["runs"]] == list(KINDS)
    code, out, err = program(capsys, "compare", *KINDS, "--no-ui")
    assert (code, err) == (0, "") and not hidden(out)


@pytest.mark.parametrize("words", [("attach",), ("replay",), ("resume",), ("send", "pause"), ("compare", "finished")])
def test_a_wrong_name_gets_the_one_that_may_be_meant(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    command, *rest = words
    code, out, err = program(capsys, command, "finishd", *rest)
    assert (code, out) == (2, "") and "There is no run 'finishd'" in err and "Did you mean finished?" in err
