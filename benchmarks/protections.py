"""What the protections cost: an epoch of the tutorial with them, against one without those that take time.

    uv run benchmarks/protections.py [--pairs 25]

Both sides take turns from epoch to epoch of one run, on the real data, with checkpoints written. Taken out are the
looks at gradients, weights and losses, the check that a checkpoint holds plain numbers only, and the waits until it is
on the disk.
"""

import argparse
import contextlib
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from figures import Figure
from tui_trainer import disk
from tui_trainer.run.commands import Inbox
from tui_trainer.run.events import EpochEnded, RunStarted
from tui_trainer.settings.schema import PRESETS, Settings
from tui_trainer.training.loop import fit
from tui_trainer.training.saving import safe_load, state
from tui_trainer.training.step import finite, meter

SETTINGS = Settings(**PRESETS["tutorial"] | {"dataset": "fashion-mnist", "device": "cpu", "seed": 0})


@contextlib.contextmanager
def without_protections() -> Iterator[None]:
    """Nothing is looked at, and nothing is waited for."""
    with contextlib.ExitStack() as stack:
        for owner, name in (
            (finite.AtOnce, "gradients"),
            (state, "first_not_finite"),
            (safe_load, "not_plain"),
            (disk.Disk, "sync"),
            (meter.Spikes, "leap"),
        ):
            stack.enter_context(mock.patch.object(owner, name, lambda *_: None))
        yield


def ratios(pairs: int, *, tell: bool = False) -> list[float]:
    """Seconds of an epoch with all protections as a share of one without, a value for each pair of one run's epochs.

    Which of two comes first changes from pair to pair: a machine that grows slower favours neither side.
    """
    bare_first = [pair % 2 == 0 for pair in range(pairs)]
    plan = [True, *(bare for first in bare_first for bare in (first, not first))]  # the first epoch warms up
    seconds = []
    settings = SETTINGS.model_copy(update={"epochs": len(plan)})
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as side:
        for event in fit(settings, Inbox(), Path(folder)):
            if isinstance(event, EpochEnded):
                seconds.append(event.seconds)
                side.close()
            if isinstance(event, RunStarted | EpochEnded) and len(seconds) < len(plan) and plan[len(seconds)]:
                side.enter_context(without_protections())
    found = []
    for pair, first in enumerate(bare_first):
        one, other = seconds[2 * pair + 1 : 2 * pair + 3]
        bare, whole = (one, other) if first else (other, one)
        found.append(whole / bare)
        if tell:
            print(f"{pair + 1}: {whole:.3f} s with them, {bare:.3f} s without: {found[-1]:.4f}", flush=True)
    return found


def measure(quick: bool) -> list[Figure]:
    """25 pairs, or one."""
    values = ratios(1 if quick else 25)
    note = "an epoch of the tutorial on the CPU, all protections against none"
    middle = statistics.median(values)
    return [Figure("cost of the protections", middle, "", "1.02 or less", note, min(values), max(values))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=25)
    values = ratios(parser.parse_args().pairs, tell=True)
    print(f"cost of the protections: {statistics.median(values):.4f} ({min(values):.4f} to {max(values):.4f})")


if __name__ == "__main__":
    main()
