"""A signal is answered in time, whatever the disk does, and time in which a process is stopped counts for nothing."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.cli.program import ENDLESS, LIMIT, started
from tests.pty.terminal import Journal
from tui_trainer.run.events import BatchTrained, CheckpointSaved, EpochEnded
from tui_trainer.training.saving import safe_load
from tui_trainer.training.step.meter import Watch

pytestmark = pytest.mark.xdist_group("processes")  # one after another, in one worker
SLOW_DISK = """
import os, sys, time
from tui_trainer.cli import main as cli
from tui_trainer.run import signals
from tui_trainer import disk
signals.GRACE = 2.0
class Slow(disk.Disk):
    def sync(self, fd):
        time.sleep(600 if os.path.exists("slow") else 0)
disk.DISK = Slow()
sys.exit(cli.main(sys.argv[1:]))
"""


def test_a_save_that_takes_longer_than_the_grace_is_given_up_and_the_one_before_is_whole(tmp_path: Path) -> None:
    words = [*ENDLESS, "--limit-train-batches", "3", "--batch-size", "8"]
    with started(tmp_path, words, [sys.executable, "-c", SLOW_DISK]) as process:
        journal = Journal(tmp_path)
        journal.wait_for(CheckpointSaved, 4)
        (tmp_path / "slow").touch()
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT) == 143
    assert safe_load.load(journal.last)["step"] >= journal.of(CheckpointSaved)[-1].step


def test_time_in_which_the_process_was_stopped_is_left_out(tmp_path: Path) -> None:
    with started(tmp_path, [*ENDLESS, "--model", "cnn", "--limit-train-batches", "8"]) as process:
        journal = Journal(tmp_path)
        journal.wait_for(EpochEnded, 2)
        os.kill(process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        stopped, seen = time.time(), len(journal.events())
        time.sleep(3)  # nothing can happen for which to wait
        assert len(journal.events()) == seen
        left_out = time.time() - stopped
        os.kill(process.pid, signal.SIGCONT)
        after = len(journal.of(EpochEnded)) + 1
        journal.wait_for(EpochEnded, after)
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT) == 143
    before, ended = journal.of(EpochEnded)[after - 2 : after]
    assert before.at < stopped and ended.at > stopped + left_out
    assert ended.seconds < ended.at - before.at - left_out / 2
    reports = [report for report in journal.of(BatchTrained) if before.at < report.at <= ended.at]
    assert min(report.examples_per_second for report in reports) > 0


def test_a_stop_counts_towards_neither_epoch_nor_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("tui_trainer.training.step.meter.time.monotonic", lambda: now)
    watch = Watch()
    for seconds in (1, 1, 60):  # the process is stopped during the third batch
        now += seconds
        watch.tick()
    watch.leave_out_stop()
    assert (watch.epoch_seconds(), now - watch.mark, watch.elapsed()) == (2, 2, 62)


def test_no_clock_that_is_set_changes_a_duration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from tui_trainer.run.commands import Inbox
    from tui_trainer.run.events import RunEnded
    from tui_trainer.run.state import RunState
    from tui_trainer.settings.schema import Settings
    from tui_trainer.training.loop import fit

    real, calls = time.time, 0

    def jumping() -> float:
        nonlocal calls
        calls += 1
        return real() + (-86_400.0 if calls % 2 else 86_400.0)

    monkeypatch.setattr(time, "time", jumping)
    state = RunState()
    tiny = Settings(dataset="fashion-mnist-mini", epochs=2, limit_train_batches=8, log_interval=1, seed=0, device="cpu")
    for event in fit(tiny, Inbox(), tmp_path):
        state.apply(event)
        left = state.seconds_left()
        assert all(value is None or 0 <= value < 3600 for value in left)
        if isinstance(event, EpochEnded | RunEnded | CheckpointSaved):
            assert 0 <= event.seconds < 60
        if isinstance(event, BatchTrained):
            assert 0 <= event.elapsed < 60 and event.examples_per_second > 0
    assert state.status == "finished"
