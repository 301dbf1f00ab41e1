"""What the protections cost: an epoch of the tutorial with them, against one without those that take time.

    uv run benchmarks/protections.py [--pairs 5]

Both sides take turns in one process, on the real data, with checkpoints written. Taken out are the looks at gradients,
weights and losses, the check that a checkpoint holds plain numbers only, and the waits until it is on the disk.
"""

import argparse
import contextlib
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from figures import Figure
from tui_trainer.run import disk
from tui_trainer.run.commands import Inbox
from tui_trainer.run.events import EpochEnded
from tui_trainer.settings import PRESETS, Settings
from tui_trainer.training import meter, optim, reading, snapshot
from tui_trainer.training.loop import fit

SETTINGS = Settings(**PRESETS["tutorial"] | {"dataset": "fashion-mnist", "epochs": 3, "device": "cpu", "seed": 0})


@contextlib.contextmanager
def without_protections() -> Iterator[None]:
    """Nothing is looked at, and nothing is waited for."""
    with contextlib.ExitStack() as stack:
        for owner, name in (
            (optim.Step, "_look_at_gradients"),
            (snapshot, "first_not_finite"),
            (reading, "not_plain"),
            (disk.Disk, "sync"),
            (meter.Spikes, "leap"),
        ):
            stack.enter_context(mock.patch.object(owner, name, lambda *_: None))
        yield


def epoch() -> float:
    """Seconds of an epoch with its validation and checkpoints: the median of those after the first."""
    with tempfile.TemporaryDirectory() as folder:
        ended = [event for event in fit(SETTINGS, Inbox(), Path(folder)) if isinstance(event, EpochEnded)]
    return statistics.median(event.seconds for event in ended[1:])


def ratios(pairs: int, *, tell: bool = False) -> list[float]:
    """Seconds with all protections as a share of those without, a value for each pair."""
    epoch()  # warms up
    found = []
    for pair in range(pairs):
        with without_protections():
            bare = epoch()
        whole = epoch()
        found.append(whole / bare)
        if tell:
            print(f"{pair + 1}: {whole:.3f} s with them, {bare:.3f} s without: {found[-1]:.4f}", flush=True)
    return found


def measure(quick: bool) -> list[Figure]:
    """Nine pairs, or one."""
    values = ratios(1 if quick else 9)
    note = "an epoch of the tutorial on the CPU, all protections against none"
    middle = statistics.median(values)
    return [Figure("cost of the protections", middle, "", "1.02 or less", note, min(values), max(values))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    values = ratios(parser.parse_args().pairs, tell=True)
    print(f"cost of the protections: {statistics.median(values):.4f} ({min(values):.4f} to {max(values):.4f})")


if __name__ == "__main__":
    main()
