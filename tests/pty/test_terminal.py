"""A terminal that is closed, freezes or is not there, signals, and runs that end badly."""

import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.pty.terminal import PATIENCE, Program, environment, until
from tui_trainer.run.events import CheckpointSaved, RunEnded, RunPaused, RunResumed

pytestmark = pytest.mark.xdist_group("processes")  # one after another, in one worker
MINI = ["--dataset", "fashion-mnist-mini", "--device", "cpu"]
LONG = [*MINI, "--model", "cnn", "--batch-size", "1", "--epochs", "1000"]
JOURNALS = Path(__file__).parents[1] / "journals"


@contextmanager
def training(folders: Sequence[Path], *words: str, script: Path | None = None) -> Iterator[list[Program]]:
    """Programs that train, a folder each. They are started side by side: that takes most of the time."""
    with ExitStack() as stack:
        started = (Program(folder, "--start", *LONG, *words, script=script) for folder in folders)
        programs = [stack.enter_context(program) for program in started]
        for program in programs:
            program.wait_for("● training")
        yield programs


# --- closed ---


@pytest.mark.parametrize("name", ["training", "paused", "frozen"])
def test_a_run_goes_on_when_its_terminal_is_closed_and_its_process_ends_with_it(name: str, tmp_path: Path) -> None:
    with training([tmp_path]) as (program,):
        if name == "paused":
            program.press("space", "❚❚ PAUSED")
            program.journal.wait_for(RunPaused)
        if name == "frozen":
            program.freeze()
        program.close_terminal()
        if name == "paused":
            program.journal.wait_for(RunResumed)  # a pause ends when nobody is left to end it
        program.journal.goes_on(200)
        stop = [sys.executable, "-m", "tui_trainer", "send", "last", "stop"]
        subprocess.run(stop, cwd=tmp_path, env=environment(tmp_path), check=True, timeout=PATIENCE)
        assert program.wait() == 0
        ended = program.journal.events()[-1]
        assert isinstance(ended, RunEnded) and ended.reason == "stopped"
        assert "Traceback" not in (program.journal.run / "log.txt").read_text()


def test_a_half_written_frame_is_no_fault_when_the_terminal_is_closed(tmp_path: Path) -> None:
    code = """if True:
        import os, pty
        from tui_trainer.ui.terminal import driver as terminal
        master, slave = pty.openpty()
        os.dup2(slave, 2)
        os.close(slave)
        with terminal.own_terminal():
            os.write(terminal.terminal(), b"half a frame")
            os.close(master)
        """
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment(tmp_path), check=False)
    assert ended.returncode == 0


@pytest.mark.parametrize("words", [MINI, ["attach", "last"]], ids=["form", "recorded run"])
def test_a_process_that_trains_nothing_ends_with_its_terminal(tmp_path: Path, words: list[str]) -> None:
    recorded(tmp_path)
    with Program(tmp_path, *words) as program:
        program.wait_for("^p Palette")
        program.close_terminal()
        program.wait()


# --- frozen, stopped ---


def test_a_frozen_terminal_holds_no_training_up_and_is_right_again_afterwards(tmp_path: Path) -> None:
    with Program(tmp_path, "--start", *LONG) as program:
        program.wait_for("● training")
        program.freeze()
        program.journal.goes_on(1500)  # one that waits takes no step at all
        program.thaw()
        program.press("space", "❚❚ PAUSED")
        program.tick()  # the last step is drawn
        seen = below(program.tick())
        program.resize(80, 24)
        program.wait_for("1 Loss   2 Accuracy")
        program.resize(120, 40)
        program.wait_for(lambda text: below(text) == seen)


def below(text: str) -> list[str]:
    """The lines of a screen below the one with the clock."""
    return text.splitlines()[1:]


def test_a_process_that_was_stopped_and_continued_works_and_ends_as_always(tmp_path: Path) -> None:
    with Program(tmp_path, *MINI) as program:
        program.wait_for("^p Palette")
        program.signal(signal.SIGSTOP)
        assert os.waitid(os.P_PID, program.pid, os.WSTOPPED | os.WNOWAIT)
        program.signal(signal.SIGCONT)
        until(lambda: program.raw.count(b"\x1b[?1049h") == 2, lambda: "the screen to be taken again")
        program.press("tab", "─ batch size ─")  # a key typed before that is thrown away with the old input
        program.press("ctrl+q")
        assert program.wait() == 0
        assert program.put_the_terminal_back()


# --- signals ---


def test_a_signal_saves_ends_and_gives_the_terminal_back(tmp_path: Path) -> None:
    ends = {signal.SIGTERM: 143, signal.SIGINT: 130}
    with training([tmp_path / number.name for number in ends]) as programs:
        for program, (number, code) in zip(programs, ends.items(), strict=True):
            program.press("c", "last.pt")
            program.journal.goes_on(100)
            program.signal(number)
            assert program.wait() == code
            *_, saved, ended = program.journal.events()
            assert isinstance(ended, RunEnded) and (ended.reason, ended.exit_code) == ("interrupted", code)
            assert isinstance(saved, CheckpointSaved) and saved.step >= program.journal.step
            assert saved.bytes == program.journal.last.stat().st_size
            with zipfile.ZipFile(program.journal.last) as file:
                assert file.testzip() is None
            assert program.put_the_terminal_back()
            assert f"interrupted: runs/{program.journal.run.name}" in program.last_words


def test_a_signal_ends_a_program_whose_terminal_is_frozen(tmp_path: Path) -> None:
    with training([tmp_path / "stays frozen", tmp_path / "reads again"]) as programs:
        for program in programs:
            program.freeze()
            program.signal(signal.SIGTERM)
            program.journal.wait_for(RunEnded)
            if program is programs[1]:
                program.thaw()
            assert program.wait() == 143
            assert isinstance(program.journal.events()[-2], CheckpointSaved)
        assert programs[0].modes == programs[0].modes_before
        assert programs[1].put_the_terminal_back()


# --- bad ends ---


@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="there is a GPU here")
def test_a_run_that_cannot_begin_says_why_and_its_screen_stays(tmp_path: Path) -> None:
    with Program(tmp_path, "--start", "--dataset", "fashion-mnist-mini", "--device", "cuda") as program:
        program.wait_for("✖ FAILED", "The details are in ", "n New run", lambda text: text.count("cuda") > 1)
        program.press("c", "there is nothing to steer any more.")
        program.press("q")
        assert program.wait() == 9
        assert program.put_the_terminal_back()


def test_a_run_whose_loss_explodes_says_so_and_what_to_try(tmp_path: Path) -> None:
    with Program(tmp_path, "--start", *MINI, "--optimizer", "sgd", "--lr", "1e6") as program:
        program.wait_for("✖ DIVERGED", "The step was not taken.", "Try a lower --lr")
        program.press("q")
        assert program.wait() == 8
        assert "Try a lower --lr" in program.last_words
        assert program.put_the_terminal_back()


FAULTY = """
import os, time

from tui_trainer.cli import main as cli
from tui_trainer.run.events import BatchTrained
from tui_trainer.run.local import LocalRun
from tui_trainer.ui.screens.run.screen import RunScreen

train = LocalRun.events

def fail(screen):
    raise ZeroDivisionError("a fault of the screen")

def events(run):
    for event in train(run):
        yield event
        while isinstance(event, BatchTrained) and not os.path.exists("go on"):
            time.sleep(0.02)

if __name__ == "__main__":
    RunScreen.action_model = fail
    LocalRun.events = events
    cli.main()
"""
"""The program, with a key that its screen does not survive, and a run that waits for a file behind its first report."""


@pytest.mark.parametrize(
    ("words", "reason", "code"),
    [(["--max-steps", "500"], "finished", 1), ([], "interrupted", 130)],
    ids=["goes on to its end", "is stopped"],
)
def test_a_fault_of_the_screen_ends_the_screen_and_not_the_run(
    words: list[str], reason: str, code: int, tmp_path: Path
) -> None:
    script = tmp_path / "faulty.py"
    script.write_text(FAULTY)
    with training([tmp_path], *words, script=script) as (program,):
        program.press("i", "Training goes on without the screen; Ctrl-C saves and ends.")
        assert program.put_the_terminal_back()
        (tmp_path / "go on").touch()
        if reason == "interrupted":
            program.journal.goes_on(50)
            program.signal(signal.SIGINT)
        assert program.wait() == code
        ended = program.journal.events()[-1]
        assert isinstance(ended, RunEnded) and ended.reason == reason
        assert "Traceback" not in program.last_words
        assert "ZeroDivisionError: a fault of the screen" in (program.journal.run / "log.txt").read_text()


def test_a_fault_of_the_screen_is_no_success_though_nothing_trains(tmp_path: Path) -> None:
    recorded(tmp_path)
    script = tmp_path / "faulty.py"
    script.write_text(FAULTY)
    with Program(tmp_path, "attach", "last", script=script) as program:
        program.wait_for("✔ finished")
        program.press("i", "The screen failed; this is a bug in tui-trainer.")
        assert program.wait() == 1
        assert program.put_the_terminal_back()


# --- no terminal ---


@pytest.mark.parametrize("words", [[], ["--start"], ["attach"]])
def test_without_a_terminal_nothing_is_shown_and_nothing_hangs(tmp_path: Path, words: list[str]) -> None:
    recorded(tmp_path)
    command = [sys.executable, "-m", "tui_trainer", *words]
    ended = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment(tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "--no-ui" in ended.stderr and "\x1b" not in ended.stderr


# --- a recorded run ---


def recorded(folder: Path) -> None:
    """Put the journal of a finished run into `folder`."""
    run = folder / "runs" / "finished"
    run.mkdir(parents=True)
    shutil.copy(JOURNALS / "finished.jsonl", run / "events.jsonl")


def test_a_finished_run_is_shown_again_without_torch(tmp_path: Path) -> None:
    recorded(tmp_path)
    with Program(tmp_path, "attach", "last") as program:
        ended = program.journal.of(RunEnded)[0]
        assert ended.best_accuracy is not None
        program.wait_for("✔ finished", f"best epoch {ended.best_epoch}: {100 * ended.best_accuracy:.1f} %")
        program.wait_for("3 confusion · test", "most confused", "Ankle boot")
        for key in "scelx":
            program.press(key, "there is nothing to steer any more.")
        if sys.platform == "linux":
            assert not program.has_torch
        program.press("q")
        assert program.wait() == 0
        assert program.put_the_terminal_back()


def test_the_form_is_left_without_training(tmp_path: Path) -> None:
    with Program(tmp_path, *MINI) as program:
        program.wait_for("^q Quit")
        program.press("ctrl+q")
        assert program.wait() == 0
        assert program.put_the_terminal_back()
    assert not (tmp_path / "runs").exists()
