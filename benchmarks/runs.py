"""How long it takes to list the runs in a folder, and to look again.

    uv run benchmarks/runs.py [--runs 1000] [--long 20]

The folders hold real journals, those that the tests were recorded with; `--long` of them go on to 15 MB, as a day of
training writes. Some have not ended, so that their best epoch must be searched for. The disk's cache is warm.
"""

import argparse
import itertools
import tempfile
import time
from pathlib import Path

from figures import Figure
from tui_trainer.runs import listing

JOURNALS = Path(__file__).parent.parent / "tests" / "journals"
LONG = 15_000_000
"""Bytes of a journal after about a day."""


def make_runs(parent: Path, count: int, long: int, *, ended: bool = True) -> None:
    """So many run folders, so many of them with long journals."""
    journals = [path.read_bytes() for path in sorted(JOURNALS.glob("*.jsonl"))]
    for i, data in zip(range(count), itertools.cycle(journals), strict=False):
        folder = parent / f"run-{i:05}"
        folder.mkdir(parents=True)
        if i >= count - long:
            *lines, last = data.splitlines(keepends=True)
            middle = b"".join(line for line in lines if b'"BatchTrained"' in line or b'"Evaluated"' in line)
            data = b"".join([*lines, middle * (LONG // len(middle)), last if ended else b""])
        (folder / "events.jsonl").write_bytes(data)
        (folder / "lock").touch()


def seconds(parent: Path, count: int) -> float:
    """Of one look at all runs."""
    began = time.perf_counter()
    found = listing.list_runs(str(parent))
    taken = time.perf_counter() - began
    assert len(found) == count
    return taken


def looks(count: int, long: int, *, ended: bool = True) -> tuple[float, float]:
    """Seconds of the first look, with nothing known, and of the next one."""
    with tempfile.TemporaryDirectory() as folder:
        make_runs(parent := Path(folder), count, long, ended=ended)
        first = []
        for _ in range(3):
            listing._known.clear()
            first.append(seconds(parent, count))
        return min(first), min(seconds(parent, count) for _ in range(3))


def measure(quick: bool) -> list[Figure]:
    """Figures of a first look and of the next, for short journals and for long ones."""
    count, long = (100, 2) if quick else (1000, 20)
    first, again = looks(count, 0)
    day, _ = looks(long, long)
    lost, _ = looks(long, long, ended=False)
    return [
        Figure(f"{count:,} runs are listed", 1000 * first, "ms", "about 1 s"),
        Figure(f"{count:,} runs are looked at again", 1000 * again, "ms", ""),
        Figure("a run with a journal of 15 MB is listed", 1000 * day / long, "ms", ""),
        Figure("a lost run with a journal of 15 MB is listed", 1000 * lost / long, "ms", ""),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--long", type=int, default=20, help="how many of them have a journal of 15 MB")
    options = parser.parse_args()
    for ended in (True, False):
        first, again = looks(options.runs, options.long, ended=ended)
        what = "ended" if ended else "are lost"
        print(
            f"{options.runs:,} runs, of which {options.long} with 15 MB {what}: first look {1000 * first:.0f} ms, "
            f"the next {1000 * again:.0f} ms"
        )


if __name__ == "__main__":
    main()
