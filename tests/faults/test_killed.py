"""Runs killed at any moment, again and again, and carried on: each ends bit for bit as one that never stopped."""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.killer import Killer
from tests.faults.scale import many
from tests.training.saving.test_resume import KINDS, differences
from tui_trainer.run.events import BatchTrained, EpochEnded, Evaluated, RunEnded
from tui_trainer.run.journal import read
from tui_trainer.settings.schema import Settings
from tui_trainer.training.saving import safe_load

pytestmark = pytest.mark.xdist_group("killed")
RUNS = ["two workers", *KINDS]
KILLS = 5


def settings_of(kind: str, seed: int, folder: Path, name: str) -> dict[str, Any]:
    workers = {"data_path": "loader", "workers": 2, "mp_context": "fork", "augment": "flip_crop"}
    return Settings(
        **{
            "dataset": "fashion-mnist-mini",
            "model_arg": "hidden=128,128",
            "limit_train_batches": 30,
            "epochs": 4,
            "log_interval": 1,
            "device": "cpu",
            "threads": 1,
            "save_interval": 0.1,
            **{"valid_fraction": 0.02, **(KINDS.get(kind) or workers)},
            **({} if "random" in kind else {"limit_train_batches": 60, "epochs": 8}),
            "seed": seed,
            "output_dir": str(folder),
            "name": name,
        }
    ).model_dump()


def outcome(folder: Path) -> dict[str, Any]:
    """What a run has left behind, but for what its clocks say: the last checkpoint, and every number it reported."""
    saved = dict(safe_load.load(folder / "checkpoints" / "last.pt"))
    for clock in ("watch", "settings"):
        saved.pop(clock)
    losses: dict[tuple[int, int, int], float] = {}
    epochs: dict[int, float] = {}
    tests: list[tuple[float, float]] = []
    ended: RunEnded | None = None
    for event in read(folder / "events.jsonl"):
        if isinstance(event, BatchTrained):
            place = (event.epoch, event.batch, event.step)
            assert losses.setdefault(place, event.loss) == event.loss, "a step taken again has another loss"
        elif isinstance(event, EpochEnded):
            assert epochs.setdefault(event.epoch, event.train_loss) == event.train_loss
        elif isinstance(event, Evaluated) and event.split == "test":
            tests = [(event.loss, event.accuracy)]
        elif isinstance(event, RunEnded):
            ended = event
    assert ended is not None
    best = (ended.reason, ended.best_epoch, ended.best_loss, ended.best_accuracy)
    files = sorted(path.name for path in (folder / "checkpoints").glob("*.pt") if path.name != "prev.pt")
    return saved | {"losses": losses, "epochs": epochs, "test": tests, "ended": best, "files": files}


@pytest.fixture(scope="module")
def killer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killer]:
    killer = Killer(tmp_path_factory.mktemp("killer") / "log.txt")
    yield killer
    killer.close()


@pytest.mark.parametrize("number", range(many(11, 100)))
def test_a_run_killed_five_times_ends_as_one_that_never_was(number: int, killer: Killer, tmp_path: Path) -> None:
    kind = RUNS[number % len(RUNS)]
    whole = settings_of(kind, number, tmp_path, "whole")
    began = time.monotonic()
    assert killer.run(whole) == 0
    lasted = time.monotonic() - began
    unbroken = outcome(tmp_path / "whole")
    moments, kills = random.Random(number), 0
    broken, folder = settings_of(kind, number, tmp_path, "broken"), tmp_path / "broken"

    def go(kill_after: float = 0) -> int:
        begun = (folder / "checkpoints" / "last.pt").exists()
        if not begun and folder.exists():
            folder.rename(tmp_path / f"killed {kills} times, nothing saved")
        return killer.run(broken, resume="broken" if begun else "", kill_after=kill_after)

    longest = 0.12 + 0.2 * lasted
    while kills < KILLS:
        if code := go(moments.uniform(0.1, longest)):
            assert code == -9
            kills += 1
        elif kills:
            break
        else:  # the first run in a process loads what the second one finds: this one was over too soon
            folder.rename(tmp_path / f"not killed in {longest:.2f} s")
            longest = max(0.11, longest / 2)
    assert go() == 0
    assert differences(unbroken, outcome(folder)) == []
    counted.append(kills)


counted: list[int] = []


def test_the_runs_were_killed_often_enough() -> None:
    assert sum(counted) >= 3 * len(counted)
