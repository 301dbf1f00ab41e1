"""A recorded run played in a real terminal."""

import shutil
import sys
from pathlib import Path

import pytest

from tests.pty.terminal import Program

pytestmark = pytest.mark.xdist_group("processes")  # one after another, in one worker
JOURNALS = Path(__file__).parents[1] / "journals"


def test_a_recorded_run_plays_to_its_end_and_again_without_torch(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "finished"
    run.mkdir(parents=True)
    shutil.copy(JOURNALS / "finished.jsonl", run / "events.jsonl")
    with Program(tmp_path, "replay", "--speed", "10") as program:
        program.wait_for("▶", "x10", "epoch 3 ended, the best")
        program.wait_for("■", "end · finished", "✔ finished", "test 91.4 %", "space Again")
        program.press("b", "❚❚", "tested: 91.4 %")
        program.press("space", "end · finished")
        program.press("space", "space Pause")
        program.press("space", "space Play")
        program.press("-", "x5")
        if sys.platform == "linux":
            assert not program.has_torch
        program.press("q")
        assert program.wait() == 0
        assert program.put_the_terminal_back()
    assert [path.name for path in run.iterdir()] == ["events.jsonl"], "nothing was written"
