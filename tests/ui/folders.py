"""Run folders made of the recorded journals, for the screens that show many runs."""

import os
import shutil
from pathlib import Path

from tests.replay import JOURNALS
from tui_trainer.run.journal import read

NOW = 1_795_440_000.0
"""A moment some hours after the recorded runs."""
LONG = "2026-11-23T11-31-07-mlp-fashion-mnist"


def make(name: str, journal: str, *, share: float = 1.0, checkpoints: tuple[str, ...] = ("best.pt", "last.pt")) -> Path:
    """A run folder with a recorded journal, or with the first part of one, and files in place of its checkpoints."""
    path = Path("runs") / name
    (path / "checkpoints").mkdir(parents=True)
    data = (JOURNALS / f"{journal}.jsonl").read_bytes()
    (path / "events.jsonl").write_bytes(data[: int(len(data) * share)])
    for file in checkpoints:
        (path / "checkpoints" / file).write_bytes(b"x" * 5_100_000)
    path.chmod(0o700)
    return path


def make_all() -> None:
    """Runs in every state that a folder on the disk can be in."""
    make("2026-11-23T11-24-45-cnn-fashion-mnist", "finished")
    make(LONG, "out_of_patience")
    make("bad-rate", "diverged")
    make("too-large", "failed", checkpoints=())
    make("sgd-momentum", "stopped", checkpoints=("best.pt", "last.pt", "prev.pt", "epoch-2.pt", "epoch-4.pt"))
    make("power-cut", "finished", share=0.5)
    broken = Path("runs/no-journal")
    broken.mkdir()
    (broken / "run.toml").write_text("lr = 1\n")
    os.utime(broken, (NOW - 90, NOW - 90))


def copies(count: int) -> None:
    """So many runs."""
    for i in range(count):
        path = Path("runs") / f"run-{i:04}"
        path.mkdir(parents=True)
        shutil.copy(JOURNALS / f"{('finished', 'failed', 'stopped')[i % 3]}.jsonl", path / "events.jsonl")


def began(path: Path) -> float:
    """When a run began."""
    return next(read(path / "events.jsonl")).at
