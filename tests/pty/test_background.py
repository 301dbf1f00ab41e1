"""Leaving and coming back: runs that go on without the terminal they were started in, and are steered from others."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.faults.scale import many
from tests.pty.terminal import PATIENCE, Journal, Program, environment, until
from tests.pty.test_terminal import LONG, MINI
from tests.training.saving.test_resume import same
from tui_trainer.run.events import (
    BatchTrained,
    CheckpointSaved,
    LearningRateChanged,
    RunEnded,
    RunHandedOver,
    RunPaused,
    RunResumed,
    RunStarted,
)
from tui_trainer.run.folder import RunFolder
from tui_trainer.training.saving import safe_load

pytestmark = pytest.mark.xdist_group("processes")  # one after another, in one worker
STEADY = [*LONG, "--seed", "5", "--log-interval", "1"]


def ran(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """The program run to its end, without a terminal."""
    command = [sys.executable, "-m", "tui_trainer", *words]
    used = environment(folder)
    return subprocess.run(
        command, cwd=folder, env=used, capture_output=True, text=True, timeout=2 * PATIENCE, check=False, stdin=-3
    )


def in_background(folder: Path, *words: str) -> Journal:
    """A run that trains in the background of `folder`."""
    assert ran(folder, "--detach", *STEADY, *words).returncode == 0
    return Journal(folder)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Path]:
    """A folder whose runs are ended when the test is over."""
    yield tmp_path
    for lock in tmp_path.glob("runs/*/lock"):
        folder = RunFolder(lock.parent)
        if folder.is_held():
            os.kill(json.loads(lock.read_text())["pid"], signal.SIGKILL)
            until(lambda folder=folder: not folder.is_held(), lambda: "the run in the background to end")


def test_a_run_is_left_and_come_back_to_and_ends_as_if_nobody_had_ever_left(here: Path) -> None:
    journal = Journal(here)
    with Program(here, "--start", *STEADY, "--name", "it") as first:
        first.wait_for("● training")
        journal.goes_on(20)
        first.press("d")
        assert first.wait() == 0 and first.put_the_terminal_back()
        assert "it goes on in the background. Come back with: tui-trainer attach it" in first.text
        first.close_terminal()
    journal.wait_for(RunHandedOver)
    journal.wait_for(RunStarted, 2)
    journal.goes_on(50)
    with Program(here, "attach") as second, Program(here, "attach", "it") as third:
        second.wait_for("● training")
        third.wait_for("● training")
        second.press("space", "❚❚ PAUSED")
        third.wait_for("❚❚ PAUSED")
        third.wait_for(re.compile(r"paused \(viewer on pts/\d+\)"))
        third.press("space", "● training")
        second.wait_for("● training")
        second.press("s", "Stop the run")
        second.press("s", "■ stopped")
        third.wait_for("■ stopped")
        for viewer in (second, third):
            viewer.press("q")
            assert viewer.wait() == 0
    ended = journal.events()[-1]
    assert isinstance(ended, RunEnded) and ended.reason == "stopped"
    steps = [report.step for report in journal.of(BatchTrained)]
    assert steps == list(range(1, len(steps) + 1)), "no step is lost and none repeated"

    left = safe_load.load(journal.last)
    assert ran(here, "--no-ui", *STEADY, "--name", "stayed", "--max-steps", str(left["step"])).returncode == 0
    stayed = safe_load.load(here / "runs" / "stayed" / "checkpoints" / "last.pt")
    for part in ("model_state_dict", "optimizer_state_dict", "rng", "step", "batch"):
        assert same(left[part], stayed[part]), part


def test_a_paused_run_stays_paused_when_it_is_handed_over(here: Path) -> None:
    with Program(here, "--start", *STEADY) as program:
        program.wait_for("● training")
        program.press("space", "❚❚ PAUSED")
        program.press("q", "Leave it to train in the background")
        program.press("enter")
        assert program.wait() == 0
    journal = Journal(here)
    journal.wait_for(RunPaused, 2)
    assert ran(here, "send", "last", "continue").returncode == 0
    journal.goes_on()
    assert ran(here, "send", "last", "stop").returncode == 0


def test_a_run_is_started_in_the_background_and_steered_by_a_script(here: Path) -> None:
    started = ran(here, "--detach", *STEADY, "--name", "it")
    assert started.stdout == f"{Path('runs/it')}\n" and "tui-trainer attach it" in started.stderr
    journal = Journal(here)
    journal.goes_on()
    assert ran(here, "send", "it", "lr", "0.002").stdout.startswith("it: learning rate 0.001 → 0.002 (send) at step")
    assert journal.of(LearningRateChanged)[-1].lr == 0.002
    paused = ran(here, "send", "it", "pause", "--json")
    assert paused.returncode == 0 and json.loads(paused.stdout)["event"] == "RunPaused"
    assert ran(here, "send", "it", "pause").stderr == "it is paused already.\n"
    assert ran(here, "send", "it", "continue").returncode == 0 and journal.of(RunResumed)
    assert "saved last checkpoint" in ran(here, "send", "it", "checkpoint").stdout and journal.of(CheckpointSaved)
    assert ran(here, "send", "it", "stop").stdout.startswith("it: stopped, as asked")
    ended = ran(here, "send", "it", "stop")
    assert ended.returncode == 2 and "Nobody trains it" in ended.stderr and "tui-trainer resume it" in ended.stderr
    assert not (here / "runs" / "it" / "control.sock").exists()


def test_a_run_that_ended_goes_on_in_the_background(here: Path) -> None:
    assert ran(here, "--no-ui", *STEADY, "--name", "it", "--max-steps", "3").returncode == 0
    carried = ran(here, "resume", "it", "--detach", "--max-steps", "6")
    assert carried.returncode == 0 and "tui-trainer attach it" in carried.stderr
    journal = Journal(here)
    journal.wait_for(RunEnded, 2)
    assert [report.step for report in journal.of(BatchTrained)] == [1, 2, 3, 4, 5, 6]


def test_what_cannot_start_in_the_background_is_told_at_once_or_in_the_run(here: Path) -> None:
    assert ran(here, "--detach", "--lr", "0").returncode == 2 and not (here / "runs").exists()
    assert ran(here, "--detach", *MINI[:2], "--name", "it", "--device", "cuda:9").returncode == 0
    ended = Journal(here).wait_for(RunEnded)
    assert ended.exit_code == 9 and ended.error and "cuda:9" in ended.error


def test_two_opposite_commands_at_once_end_in_one_state_on_both_screens(here: Path) -> None:
    journal = in_background(here)
    journal.goes_on()
    with Program(here, "attach", size=(80, 24)) as one, Program(here, "attach", size=(80, 24)) as other:
        one.wait_for("● training")
        other.wait_for("● training")
        for _ in range(many(2, 10)):
            for viewer in (one, other):
                viewer.press("space")
            for word, seen in (("pause", "PAUSED"), ("continue", "● training")):
                # again and again: a key may be answered only after a command that was sent later
                until(
                    lambda word=word, seen=seen: (
                        ran(here, "send", "last", word).returncode == 0
                        and all(seen in viewer.text for viewer in (one, other))
                    ),
                    lambda seen=seen: f"{seen} on both screens",
                )


def test_viewers_that_are_killed_cost_the_run_nothing_and_new_ones_can_come(here: Path) -> None:
    journal = in_background(here)
    journal.goes_on()
    for _ in range(many(2, 50)):
        with Program(here, "attach", size=(80, 24)) as one, Program(here, "attach", size=(80, 24)) as other:
            for viewer in (one, other):
                viewer.wait_for("● training")
            for viewer in (one, other):
                os.kill(viewer.pid, signal.SIGKILL)
        journal.goes_on()
    with Program(here, "attach", size=(80, 24)) as last:
        last.wait_for("● training")
        last.press("space", "PAUSED")
        last.press("space", "● training")


def test_a_viewer_that_only_watches_steers_nothing(here: Path) -> None:
    in_background(here).goes_on()
    with Program(here, "attach", "--read-only") as viewer:
        viewer.wait_for("● training")
        viewer.press("space", "Nobody takes commands")
        viewer.press("q")
        assert viewer.wait() == 0
    assert not Journal(here).of(RunPaused)


def test_a_signal_to_a_viewer_is_none_to_the_run(here: Path) -> None:
    journal = in_background(here)
    journal.goes_on()
    with Program(here, "attach") as viewer:
        viewer.wait_for("● training")
        viewer.signal(signal.SIGTERM)
        assert viewer.wait() == 143
    journal.goes_on()


def test_a_run_whose_terminal_was_closed_can_be_attached_to_and_steered(here: Path) -> None:
    journal = Journal(here)
    with Program(here, "--start", *STEADY) as program:
        program.wait_for("● training")
        program.close_terminal()
        journal.goes_on()
        with Program(here, "attach") as viewer:
            viewer.wait_for("● training")
            viewer.press("s", "Stop the run")
            viewer.press("s", "■ stopped")
        assert program.wait() == 0


def test_attaching_needs_no_torch(here: Path) -> None:
    assert ran(here, "--no-ui", *STEADY, "--max-steps", "3", "--name", "it").returncode == 0
    script = here / "attach.py"
    script.write_text(
        "import sys\nfrom tui_trainer.cli.main import main\ntry:\n    main(['attach', 'it'])\n"
        "finally:\n    print('torch' in sys.modules, file=open('loaded.txt', 'w'))\n"
    )
    with Program(here, script=script) as viewer:
        viewer.wait_for("✔ finished")
        viewer.press("q")
        assert viewer.wait() == 0
    assert (here / "loaded.txt").read_text() == "False\n"


def test_a_command_to_a_run_that_is_killed_meanwhile_is_told_to_have_failed(here: Path) -> None:
    journal = in_background(here)
    journal.goes_on()
    pid = json.loads((journal.run / "lock").read_text())["pid"]
    os.kill(pid, signal.SIGSTOP)
    words = [sys.executable, "-m", "tui_trainer", "send", "last", "pause"]
    streams = {"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, cwd=here, env=environment(here), text=True, **streams) as script:
        sockets = psutil.Process(script.pid).net_connections
        until(lambda: sockets("unix") or script.poll() is not None, lambda: "the command to call the run")
        os.kill(pid, signal.SIGKILL)
        assert script.wait(PATIENCE) == 2
        assert script.stderr is not None and "cannot be reached" in script.stderr.read()
