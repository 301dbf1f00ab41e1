"""What a real terminal is sent: the call when a run ends, and the title of its window, which is given back."""

import re
import shutil
from pathlib import Path

import pytest

from tests.pty.terminal import Program, until
from tests.pty.test_terminal import JOURNALS, MINI, recorded
from tui_trainer.run.events import RunEnded, RunPaused
from tui_trainer.run.journal import Journal

pytestmark = pytest.mark.xdist_group("processes")  # one after another, in one worker
QUICK = ["--start", *MINI, "--epochs", "1", "--limit-train-batches", "20", "--name", "it"]
TITLE = re.compile(rb"\x1b\]2;([^\a]*)\a")
CALL = re.compile(rb"\x1b\]9;([^\a]*)\a")
PUSHED, POPPED = b"\x1b[22;0t", b"\x1b[23;0t"


def test_a_run_that_ends_calls_and_the_window_tells_its_state_until_it_is_left(tmp_path: Path) -> None:
    with Program(tmp_path, *QUICK) as program:
        program.wait_for("✔ finished")
        until(lambda: b"finished" in program.raw.rpartition(b"\x1b]2;")[2], lambda: "the title")
        assert program.screen.title.startswith("finished · best ") and program.screen.title.endswith(" · it")
        (call,) = CALL.findall(program.raw)
        assert re.fullmatch(r"it: finished after 0:\d\d, best \d\d?\.\d % in epoch 1", call.decode())
        assert b"\a\a" in program.raw  # the bell, after the end of the call
        program.press("q")
        assert program.wait() == 0
        assert program.put_the_terminal_back()
        assert program.raw.count(PUSHED) == program.raw.count(POPPED) == 1
        assert program.raw.rfind(POPPED) > program.raw.rfind(b"\x1b]2;")


def test_inside_tmux_a_call_is_wrapped_for_the_terminal_outside(tmp_path: Path) -> None:
    with Program(tmp_path, *QUICK, more={"TMUX": "/tmp/tmux/default,1,0", "TERM": "tmux-256color"}) as program:
        program.wait_for("✔ finished")
        until(lambda: b"\x1bPtmux;" in program.raw, lambda: "the call")
        assert re.search(rb"\x1bPtmux;\x1b\x1b\]9;it: finished after [^\x1b\a]*\a\x1b\\\a", program.raw)


def test_where_it_is_off_nothing_calls_and_the_window_keeps_its_title(tmp_path: Path) -> None:
    with Program(tmp_path, *QUICK, "--notify", "off") as program:
        program.wait_for("✔ finished")
        program.press("q")
        assert program.wait() == 0
        assert not TITLE.search(program.raw) and PUSHED not in program.raw
        assert not CALL.search(program.raw)
        assert b"\a" not in re.sub(rb"\x1b\][^\a]*\a", b"", program.raw)


def test_a_run_that_was_stopped_by_a_key_calls_nobody(tmp_path: Path) -> None:
    with Program(tmp_path, "--start", *MINI, "--epochs", "1000", "--name", "it") as program:
        program.wait_for("● training")
        program.press("s", "Stop the run")
        program.press("s", "■ stopped")
        assert not CALL.search(program.raw)
        until(lambda: program.screen.title.startswith("stopped"), lambda: program.screen.title)


def test_a_viewer_is_called_for_what_happens_while_it_looks_and_not_for_history(tmp_path: Path) -> None:
    recorded(tmp_path)
    with Program(tmp_path, "attach", "last") as program:
        program.wait_for("✔ finished")
        until(lambda: program.screen.title, lambda: "the title")
        program.press("q")
        assert program.wait() == 0
        assert not CALL.search(program.raw)
    folder = tmp_path / "runs" / "a;[red]\x1b]0;x\a"
    folder.mkdir()
    shutil.copy(JOURNALS / "stopped.jsonl", folder / "events.jsonl")
    lines = (folder / "events.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "events.jsonl").write_bytes(b"".join(lines[:-1]))
    with held(folder), Program(tmp_path, "attach", str(folder)) as program:
        program.wait_for("■ stopping")
        journal = Journal(folder / "events.jsonl")
        journal.append(RunPaused(why="disk", text="No room \x1b[31m is left."))
        journal.append(
            RunEnded(reason="finished", error=None, exit_code=0, best_epoch=None, best_loss=None, best_accuracy=None,
                     seconds=3.0)
        )  # fmt: skip
        journal.close()
        program.wait_for("✔ finished")
        name = r"a,[red]\x1b]0,x\x07"
        assert [call.decode() for call in CALL.findall(program.raw)] == [
            rf"{name}: paused and asks what to do: No room \x1b[31m is left.",
            f"{name}: finished after 0:03",
        ]
        assert program.screen.title.endswith(r" · a;[red]\x1b]0;x\x07")


def held(folder: Path):  # type: ignore[no-untyped-def]
    """The lock of a run, as the process that trains there has it."""
    from tui_trainer.run.folder import RunFolder

    folder.chmod(0o700)
    return RunFolder(folder).lock.hold()
