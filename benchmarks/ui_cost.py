"""What the screen costs: steps per second of the same run headless and on the run screen, in turn, and their ratio.

    uv run benchmarks/ui_cost.py [--pairs 5] [--seconds 20] [SETTINGS ...]

Each side is the whole program in a process of its own in a real terminal (a pty of 120 x 40 that reads all that is
written to it). The rate is read from the run's journal: batches between the first report after 3 s and the last one,
by the clock of the events. Validation is within it on both sides.
"""

import argparse
import fcntl
import json
import os
import pty
import select
import signal
import statistics
import struct
import sys
import tempfile
import termios
import time
from pathlib import Path

WARM_UP = 3.0
"""Seconds of training left out: the first steps load code."""


def run(words: list[str], folder: Path, seconds: float) -> tuple[float, int]:
    """Steps per second and bytes written to the terminal, of one run that is ended after `seconds` of training."""
    name = f"run-{time.monotonic_ns()}"
    command = [sys.executable, "-m", "tui_trainer", *words, "--output-dir", str(folder), "--name", name]
    command += ["--max-time", f"{WARM_UP + seconds:.0f}"]
    environment = os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, command, environment)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    journal, written, over = folder / name / "events.jsonl", 0, False
    deadline = time.monotonic() + seconds * 3 + 60
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                chunk = os.read(terminal, 65536)
            except OSError:
                break
            if not chunk:
                break
            written += len(chunk)
        if not over and journal.exists() and b'"RunEnded"' in journal.read_bytes()[-2000:]:
            over = True
            if "--start" in words:
                os.write(terminal, b"q")
    else:
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(terminal)
    events = [json.loads(line) for line in journal.read_text().splitlines()]
    start = next(event["at"] for event in events if event["event"] == "RunStarted")
    reports = [e for e in events if e["event"] == "BatchTrained" and e["at"] >= start + WARM_UP]
    first, last = reports[0], reports[-1]
    return (last["step"] - first["step"]) / (last["at"] - first["at"]), written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20)
    options, words = parser.parse_known_args()
    words = words or ["--preset", "tutorial", "--dataset", "fashion-mnist"]
    words += ["--epochs", "100000", "--log-interval", "0"]
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for pair in range(1, options.pairs + 1):
            headless, _ = run(["--no-ui", *words], Path(folder), options.seconds)
            screen, written = run(["--start", *words], Path(folder), options.seconds)
            ratios.append(screen / headless)
            print(
                f"pair {pair}: headless {headless:,.0f} steps/s, screen {screen:,.0f} steps/s, "
                f"ratio {ratios[-1]:.3f}, {written / (options.seconds + WARM_UP) / 1000:.1f} kB/s to the terminal",
                flush=True,
            )
    print(f"ratio: median {statistics.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}")


if __name__ == "__main__":
    main()
