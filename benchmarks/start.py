"""How long the program takes to be there: the help, the form, the run screen, and the first step.

    uv run benchmarks/start.py [--times 5]

Every start is a new process with its bytecode at hand. A screen counts as painted when its words have arrived at the
other side of a real terminal of 120 x 40. What torch takes is told apart from what we take by the run's journal:
`Preparing(what="torch")` is written before its import, the event after it when that is done.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from figures import Figure
from program import Program

SETTINGS = ["--preset", "tutorial", "--dataset", "fashion-mnist", "--epochs", "100000", "--max-time", "60"]


def help_is_there() -> float:
    """Seconds until `--help` has ended."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "tui_trainer", "--help"], env=kept, stdout=subprocess.DEVNULL, check=True, timeout=60
    )
    return time.monotonic() - began


def form_is_painted(folder: Path) -> float:
    """Seconds until a label and the keys of the form have arrived."""
    program = Program([], folder)
    try:
        if not (program.wait_for("Batch size") and program.wait_for("Run ")):
            raise SystemExit("The form did not come.")
        return time.monotonic() - program.began
    finally:
        program.end()


def run_begins(folder: Path) -> dict[str, float]:
    """Seconds to the stations of `--start`."""
    program = Program(["--start", *SETTINGS], folder)
    try:
        if not program.wait_for("preparing"):
            raise SystemExit("The run screen did not come.")
        painted = time.time()
        program.press("2")  # while torch is being imported
        pressed = time.monotonic()
        program.wait_for("2 accuracy")
        answered = time.monotonic() - pressed
        if not program.wait_for_event("BatchTrained"):
            raise SystemExit("The run did not begin.")
        events = program.events()
    finally:
        program.end()
    torch = next(i for i, event in enumerate(events) if event.get("what") == "torch")
    imported = events[torch + 1]["at"]
    first = next(event["at"] for event in events if event["event"] == "BatchTrained")
    return {
        "run screen painted": painted - program.began_at,
        "run screen painted before the import of torch begins": events[torch]["at"] - painted,
        "a key pressed during the import": answered,
        "torch imported": imported - events[torch]["at"],
        "first batch after torch was imported": first - imported,
        "first batch": first - program.began_at,
    }


TARGETS = {
    "--help": "0.7 s or less",
    "form painted": "1.2 s or less",
    "first batch after torch was imported": "1 s or less",
}


def stations(times: int) -> dict[str, list[float]]:
    """The seconds of each station, a value for each of so many starts. One start before them writes the bytecode."""
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for time_ in range(times + 1):
            seconds = {"--help": help_is_there(), "form painted": form_is_painted(Path(folder) / "form")}
            seconds |= run_begins(Path(folder) / f"start-{time_}")
            if time_:
                for name, value in seconds.items():
                    found.setdefault(name, []).append(value)
    return found


def figures(found: dict[str, list[float]]) -> list[Figure]:
    """Their medians."""
    return [
        Figure(name, statistics.median(values), "s", TARGETS.get(name, ""), "with bytecode", min(values), max(values))
        for name, values in found.items()
    ]


def measure(quick: bool) -> list[Figure]:
    """Five starts of each kind, or two."""
    return figures(stations(2 if quick else 5))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=5)
    for figure in figures(stations(parser.parse_args().times)):
        print(figure)


if __name__ == "__main__":
    main()
