"""How long a key press waits for its answer while the program trains as fast as it can.

    uv run benchmarks/keys.py [--presses 60] [SETTINGS ...]

The program runs in a real terminal of 120 x 40 that reads all that is written to it. Keys go in at random moments; the
clock runs from there until the bytes have arrived that show the answer. The other side of the terminal reads only.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from figures import Figure
from program import Program

TRAINS = ["--preset", "tutorial", "--dataset", "fashion-mnist", "--epochs", "100000", "--max-time", "240"]
ANSWERS = [
    ("space", " ", "paus|PAUS"),
    ("space again", " ", "● training|◐ validating"),
    ("m", "m", "Percent"),
    ("m again", "m", "Counts"),
    ("z", "z", "All panels"),
    ("z again", "z", "Zoom"),
    ("?", "?", "escape closes"),
    ("escape", "\x1b", "space Pause"),
    ("2", "2", "2 accuracy"),
    ("1", "1", "1 loss"),
]
"""Keys in the order in which they are pressed, over and over, and the words that answer them."""
PATIENCE = 10.0
"""Seconds after which a key counts as not answered."""


def answers(presses: int, words: list[str]) -> dict[str, list[float]]:
    """Seconds that each key waited for its answer, by key."""
    waited: dict[str, list[float]] = {name: [] for name, _, _ in ANSWERS}
    moments = random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        program = Program(["--start", *words], Path(folder))
        try:
            if not program.wait_for_event("BatchTrained"):
                raise SystemExit("The run did not begin.")
            program.watch(3.0)
            for number in range(presses):
                name, key, answer = ANSWERS[number % len(ANSWERS)]
                program.watch(moments.uniform(0.2, 1.0))
                began = time.monotonic()
                program.press(key)
                if not program.wait_for(answer, PATIENCE):
                    print(f"{name} was not answered within {PATIENCE:.0f} s", file=sys.stderr)
                waited[name].append(time.monotonic() - began)
        finally:
            program.end()
    return waited


def percentile(values: list[float], percent: float) -> float:
    """The value that `percent` of `values` do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def measure(quick: bool) -> list[Figure]:
    """The median and the 95th percentile of all keys together."""
    everything = [seconds for one in answers(30 if quick else 100, TRAINS).values() for seconds in one]
    return [
        Figure(
            "a key press is answered, median",
            1000 * statistics.median(everything),
            "ms",
            "",
            low=1000 * min(everything),
            high=1000 * max(everything),
        ),
        Figure("a key press is answered, 95th percentile", 1000 * percentile(everything, 95), "ms", "100 ms or less"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presses", type=int, default=60)
    options, words = parser.parse_known_args()
    waited = answers(options.presses, TRAINS + words)
    everything = [seconds for one in waited.values() for seconds in one]
    for name, seconds in [*waited.items(), ("all keys", everything)]:
        if seconds:
            shown = [1000 * value for value in (statistics.median(seconds), percentile(seconds, 95), max(seconds))]
            print(
                f"{name:<12} {len(seconds):>3} times: median {shown[0]:4.0f} ms, 95 % {shown[1]:4.0f} ms, "
                f"longest {shown[2]:4.0f} ms"
            )


if __name__ == "__main__":
    main()
