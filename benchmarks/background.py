"""What viewers cost a run in the background: its steps per second alone, watched, with viewers killed, and flooded.

    uv run benchmarks/background.py [--rounds 5] [--seconds 8] [SETTINGS ...]

One run trains in the background, on one thread, so that a core is left for those who watch it. Stretches of time in
which nobody looks take turns with stretches in which one viewer is attached, in which viewers are attached and killed
with SIGKILL over and over, and in which rubbish is sent to the control socket as fast as it is taken. Each is compared
with the stretch just before it. The rate is read from the run's journal, by the clock of its events.
"""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from figures import Figure
from program import Program

SETTINGS = ["--preset", "tutorial", "--dataset", "fashion-mnist", "--device", "cpu"]
NAMES = {
    "watched": "one viewer against none",
    "killed": "viewers killed and attached anew against none",
    "flooded": "rubbish sent to the control socket against none",
}
WARM_UP = 3.0


class Background:
    """A run in the background of a folder of its own."""

    def __init__(self, folder: Path, words: list[str]) -> None:
        self.folder = folder
        self.run = folder / "runs" / "it"
        started = time.monotonic()
        words = [sys.executable, "-m", "tui_trainer", "--detach", *words, "--name", "it", "--epochs", "100000"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        subprocess.run(words, cwd=folder, env=environment, check=True, capture_output=True, stdin=subprocess.DEVNULL)
        self.given_back = time.monotonic() - started
        """Seconds until the shell was given back."""
        while not self.steps(0.0):
            time.sleep(0.2)
        time.sleep(WARM_UP)

    def steps(self, since: float) -> list[tuple[float, int]]:
        """The time and the step of each report since a moment of Unix time."""
        lines = (self.run / "events.jsonl").read_bytes().split(b"\n")[:-1]
        reports = (json.loads(line) for line in lines if b'"BatchTrained"' in line[:40])
        return [(report["at"], report["step"]) for report in reports if report["at"] >= since]

    def rate(self, since: float) -> float:
        """Steps per second since then."""
        reports = self.steps(since)
        (first, a), (last, b) = reports[0], reports[-1]
        return (b - a) / (last - first)

    def attach(self) -> Program:
        return Program(["attach", str(self.run)], self.folder / "viewer")

    def end(self) -> None:
        os.kill(json.loads((self.run / "lock").read_text())["pid"], signal.SIGKILL)


def watched(run: Background, seconds: float) -> int:
    """One viewer looks; how many did."""
    viewer = run.attach()
    viewer.watch(seconds)
    viewer.end()
    return 1


def killed(run: Background, seconds: float) -> int:
    """One viewer after another is killed once it has painted; how many were."""
    count, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        viewer = run.attach()
        if not viewer.wait_for("training", 10):
            raise SystemExit("The viewer showed nothing.")
        viewer.end()
        count += 1
    return count


def flooded(run: Background, seconds: float) -> int:
    """Lines that are no commands, as fast as they are taken; how many frames."""
    count, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(1)
            try:
                line.connect(str(run.run / "control.sock"))
                while time.monotonic() < end:
                    line.sendall(b"rubbish\n" * 20)
                    count += 20
            except OSError:
                continue  # it has heard enough
    return count


def ratios(
    rounds: int, seconds: float, words: list[str], *, tell: bool = False
) -> tuple[dict[str, list[float]], float, dict[str, int]]:
    """The rate with each disturbance as a share of that without, seconds to the shell, and how often each was done."""
    kinds: dict[str, Callable[[Background, float], int]] = {"watched": watched, "killed": killed, "flooded": flooded}
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    counts = dict.fromkeys(kinds, 0)
    with tempfile.TemporaryDirectory() as folder:
        run = Background(Path(folder), words)
        try:
            for number in range(1, rounds + 1):
                for kind, disturb in kinds.items():
                    began = time.time()
                    time.sleep(seconds)
                    alone = run.rate(began)
                    began = time.time()
                    counts[kind] += disturb(run, seconds)
                    found[kind].append(run.rate(began) / alone)
                    if tell:
                        print(f"{number}: alone {alone:,.0f} steps/s, {kind} {found[kind][-1]:.3f}", flush=True)
        finally:
            run.end()
    return found, run.given_back, counts


def figures(found: dict[str, list[float]], given_back: float, counts: dict[str, int]) -> list[Figure]:
    """Their medians."""
    rows = []
    for kind, values in found.items():
        what = "lines" if kind == "flooded" else "viewers"
        note = f"steps/s, one training thread; {counts[kind]:,} {what}"
        middle = statistics.median(values)
        rows.append(Figure(NAMES[kind], middle, "", "0.98 or better", note, min(values), max(values)))
    return [*rows, Figure("--detach, until the shell is back", given_back, "s", "1 s", "once", given_back, given_back)]


def measure(quick: bool) -> list[Figure]:
    """Five rounds of 8 s, or one of 5 s."""
    return figures(*ratios(1 if quick else 5, 5 if quick else 8, SETTINGS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8)
    options, words = parser.parse_known_args()
    for figure in figures(*ratios(options.rounds, options.seconds, words or SETTINGS, tell=True)):
        print(figure)


if __name__ == "__main__":
    main()
