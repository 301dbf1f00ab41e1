"""Terminals closed, or frozen and then closed, and signals, over and over: training goes on, or ends in order."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.faults.scale import many
from tests.pty.terminal import Program, until
from tests.pty.test_terminal import training
from tui_trainer.run.events import BatchTrained, CheckpointSaved, RunEnded
from tui_trainer.training.saving import safe_load

pytestmark = pytest.mark.xdist_group("processes")  # one after another, in one worker
AT_ONCE = many(1, 5)
ROUNDS = range(many(1, 20))
BRIEF = ["--limit-train-batches", "200"]


def busy(pid: int, thread: int) -> float:
    """Seconds of processor time that a thread has used."""
    fields = Path(f"/proc/{pid}/task/{thread}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rest_of(programs: list[Program]) -> list[float]:
    """The share of a core that each thread of a screen, which has nothing to show any more, takes over two seconds."""
    before, began = [busy(program.pid, program.pid) for program in programs], time.monotonic()
    time.sleep(2)
    used = [busy(program.pid, program.pid) - spent for program, spent in zip(programs, before, strict=True)]
    return [seconds / (time.monotonic() - began) for seconds in used]


@pytest.mark.parametrize("round_", ROUNDS)
@pytest.mark.parametrize("frozen", [False, True], ids=["closed", "frozen, then closed"])
def test_training_goes_on_without_its_terminal_and_the_rest_is_idle(frozen: bool, round_: int, tmp_path: Path) -> None:
    chance = random.Random(round_)
    with training([tmp_path / str(number) for number in range(AT_ONCE)], *BRIEF) as programs:
        for program in programs:
            if frozen:
                program.freeze()
            time.sleep(chance.uniform(0, 0.5))
            program.close_terminal()
        for program in programs:
            program.journal.goes_on(50)
        until(lambda: max(rest_of(programs)) < 0.05, lambda: "the screens to have nothing to do any more")


@pytest.mark.parametrize("round_", ROUNDS)
def test_sigterm_ends_143_with_a_whole_new_checkpoint_and_the_terminal_put_back(round_: int, tmp_path: Path) -> None:
    chance = random.Random(round_)
    with training([tmp_path / str(number) for number in range(AT_ONCE)], *BRIEF) as programs:
        for number, program in enumerate(programs):
            frozen = number == AT_ONCE - 1
            if frozen:
                program.freeze()
            time.sleep(chance.uniform(0, 0.5))
            step = program.journal.step
            program.signal(signal.SIGTERM)
            assert program.wait() == 143
            *_, saved, ended = program.journal.events()
            assert isinstance(ended, RunEnded) and isinstance(saved, CheckpointSaved)
            assert safe_load.load(program.journal.last)["step"] == saved.step >= step
            assert saved.step == program.journal.of(BatchTrained)[-1].step
            assert program.modes == program.modes_before
            assert frozen or program.put_the_terminal_back()
