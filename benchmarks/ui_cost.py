"""What the screen costs: steps per second of the same run headless, on the run screen, and on one that nobody reads.

    uv run benchmarks/ui_cost.py [--pairs 5] [--seconds 20] [SETTINGS ...]

Each side is the whole program in a process of its own in a real terminal (a pty of 120 x 40 that reads all that is
written to it, or nothing from the moment that counts on). The sides take turns, and each screen is compared with the
headless run just before it. The rate is read from the run's journal: batches between the first report after 3 s and
the last one, by the clock of the events. Validation is within it on all sides.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from figures import Figure
from program import Program

WARM_UP = 3.0
"""Seconds of training left out: the first steps load code."""
SETTINGS = ["--preset", "tutorial", "--dataset", "fashion-mnist"]
SIDES = {"headless": "--no-ui", "screen": "--start", "frozen": "--start"}


def run(side: str, words: list[str], folder: Path, seconds: float) -> tuple[float, float]:
    """Steps per second and kB written to the terminal per second, of one run of `seconds` after its warm-up."""
    limit = WARM_UP + seconds + 30  # in case this process is ended: then nobody else ends the run
    words = [SIDES[side], *words, "--epochs", "100000", "--log-interval", "0", "--max-time", f"{limit:.0f}"]
    program = Program(words, folder / f"{side}-{time.monotonic_ns()}")
    try:
        if not program.wait_for_event("RunStarted"):
            raise SystemExit(f"The {side} run did not begin.")
        program.watch(WARM_UP)
        start, before = time.time(), program.written
        if side == "frozen":
            time.sleep(seconds)
        else:
            program.watch(seconds)
        written = program.written - before
        reports = [e for e in program.events() if e["event"] == "BatchTrained" and e["at"] >= start]
    finally:
        program.end()
    first, last = reports[0], reports[-1]
    return (last["step"] - first["step"]) / (last["at"] - first["at"]), written / seconds / 1000


def ratios(pairs: int, seconds: float, words: list[str], *, tell: bool = False) -> dict[str, list[float]]:
    """The rate of each kind of screen as a share of the headless rate, a value for each round."""
    found: dict[str, list[float]] = {"screen": [], "frozen": []}
    with tempfile.TemporaryDirectory() as folder:
        for pair in range(1, pairs + 1):
            headless, _ = run("headless", words, Path(folder), seconds)
            said = [f"headless {headless:,.0f} steps/s"]
            for side, values in found.items():
                rate, written = run(side, words, Path(folder), seconds)
                values.append(rate / headless)
                said.append(f"{side} {rate:,.0f} steps/s, {values[-1]:.3f}, {written:.1f} kB/s")
            if tell:
                print(f"{pair}: {' · '.join(said)}", flush=True)
    return found


def figures(found: dict[str, list[float]]) -> list[Figure]:
    """Their medians."""
    names = {
        "screen": ("screen on against headless", "0.97 or better"),
        "frozen": ("frozen terminal against headless", "0.98 or better"),
    }
    note = "steps/s, 120 x 40, charts and confusion on"
    return [
        Figure(*names[side][:1], statistics.median(values), "", names[side][1], note, min(values), max(values))
        for side, values in found.items()
    ]


def measure(quick: bool) -> list[Figure]:
    """Five rounds of 10 s, or one of 8 s."""
    return figures(ratios(1 if quick else 5, 8 if quick else 10, SETTINGS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20)
    options, words = parser.parse_known_args()
    for figure in figures(ratios(options.pairs, options.seconds, words or SETTINGS, tell=True)):
        print(figure)


if __name__ == "__main__":
    main()
