"""The list of runs in a real terminal: before torch, beside a run that another process trains, and out again."""

import json
import shutil
import signal
import sys
from pathlib import Path

import pytest

from tests.cli.program import ENDLESS, finish, started
from tests.pty.terminal import Program
from tests.replay import JOURNALS

pytestmark = pytest.mark.xdist_group("processes")  # one after another, in one worker

UP, DOWN = "\x1b[A", "\x1b[B"


def test_the_list_follows_a_run_of_another_process_and_leads_to_its_screen_and_back(tmp_path: Path) -> None:
    old = tmp_path / "runs" / "old"
    old.mkdir(parents=True)
    shutil.copy(JOURNALS / "finished.jsonl", old / "events.jsonl")
    with Program(tmp_path) as program:
        program.wait_for("✔ finished", "old", "1 run ")
        if sys.platform == "linux":
            assert not program.has_torch
        with started(tmp_path, [*ENDLESS, "--json"]) as process:
            assert process.stdout
            while "BatchTrained" not in (line := process.stdout.readline()):
                assert line
            program.wait_for("● training", "2 runs · 1 live")
            program.press(UP, "▸  ● training")
            program.press("d", "This run is under way: stop it first.")
            program.press("enter", "1 loss", "● training")
            program.press("escape", "2 runs · 1 live")
            process.send_signal(signal.SIGTERM)
            assert finish(process, tmp_path).code == 143
            program.wait_for("■ interrupted", lambda text: "live" not in text)
        program.press("q")
        assert program.wait() == 0
        assert program.put_the_terminal_back()
    assert json.loads((tmp_path / "runs" / "it" / "events.jsonl").read_text().splitlines()[-1])["event"] == "RunEnded"


def test_a_finished_run_is_carried_on_with_more_epochs_from_the_list(tmp_path: Path) -> None:
    short = ["--no-ui", "--dataset", "fashion-mnist-mini", "--device", "cpu", "--name", "it", "--epochs", "1"]
    with started(tmp_path, [*short, "--limit-train-batches", "4"]) as process:
        assert finish(process, tmp_path).code == 0
    with Program(tmp_path) as program:
        program.wait_for("✔ finished", "1/1")
        program.press("r", "it finished at epoch 1.")
        program.press("e", "Carry on it", "^r Carry on")
        program.press(DOWN, "╭─ epochs ─")
        program.press("backspace", "must be a whole number")
        program.press("2", "tui-trainer resume it --no-ui --epochs 2")
        program.press("ctrl+r", "epochs  1 → 2", "enter  Carry on")
        program.press("enter", "✔ finished")
        program.press("escape", "2/2", "1 run ")
        program.press("q")
        assert program.wait() == 0
