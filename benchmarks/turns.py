"""Two programs that train in turn, an epoch each: what slows the machine down for a while slows down both."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from peers.fashion import ASKS, IN_TURN

PATIENCE = 1800
"""Seconds of its own turns after which a side is given up."""


class SideFailed(Exception):
    """A side did not get to its end; the message is what it said last."""


class Side:
    """A program in a folder of its own, away from anybody's settings. It goes on only while it has its turn."""

    def __init__(self, words: list[str], marker: str, folder: Path, *, waits: bool) -> None:
        """A turn ends with a line of output that holds `marker`.

        One that `waits` then reads a line before it goes on; any other is stopped and continued by signals.
        """
        kept = {k: v for k, v in os.environ.items() if not k.startswith("TUI_TRAINER_")}
        kept.pop("PYTHONDONTWRITEBYTECODE", None)  # a start without bytecode takes three times as long
        kept |= {"XDG_CONFIG_HOME": str(folder)} | ({IN_TURN: "1"} if waits else {})
        self._words, self._marker, self._folder, self._environment, self._waits = words, marker, folder, kept, waits
        self._process: subprocess.Popen[str] | None = None
        self._stderr = folder / "stderr.txt"
        self.lines: list[str] = []
        """What it has said so far."""
        self.seconds = 0.0
        """How long it had its turn."""

    def turn(self) -> bool:
        """Let it go on to the end of an epoch; the first one includes its start. False when it has ended.

        Raises:
            SideFailed: with an exit code, or it takes too long.
        """
        began = time.perf_counter()
        if self._process is None:
            with self._stderr.open("w") as stderr:
                self._process = subprocess.Popen(
                    [sys.executable, *self._words],
                    cwd=self._folder,
                    env=self._environment,
                    stdin=subprocess.PIPE if self._waits else subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    text=True,
                )
        elif self._waits:
            assert self._process.stdin is not None
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        else:
            self._process.send_signal(signal.SIGCONT)
        watchdog = threading.Timer(PATIENCE - self.seconds, self._process.kill)
        watchdog.start()
        try:
            goes_on = self._reads_on()
        finally:
            watchdog.cancel()
            self.seconds += time.perf_counter() - began
        if not goes_on and self._process.wait():
            said = self._stderr.read_text().strip().splitlines() or self.lines or [""]
            raise SideFailed(f"ended with {self._process.returncode} after {self.seconds:.0f} s: {said[-1]}")
        return goes_on

    def _reads_on(self) -> bool:
        """True when it has come to the end of a turn, False when it has ended."""
        assert self._process is not None and self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line)
            if self._marker in line:
                if not self._waits:
                    self._process.send_signal(signal.SIGSTOP)
                return True
        return False

    def close(self) -> None:
        """End it if it has not ended."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def ours(words: list[str], folder: Path) -> Side:
    """The real program, which tells of each epoch that has ended."""
    return Side(["-m", "tui_trainer", "--no-ui", "--json", *words], '"event": "EpochEnded"', folder, waits=False)


def peer(words: list[str], folder: Path) -> Side:
    """A program of `peers/`, which asks before each epoch."""
    return Side(words, ASKS, folder, waits=True)


def in_turn(*sides: Side) -> list[dict[str, Any]]:
    """Run them to their ends; of each what it took.

    `process_seconds` are those of its turns, while processes that are none of the sides kept `others_cores` cores busy.
    """
    began, busy, own = time.perf_counter(), _busy(), _own()
    going = list(sides)
    try:
        while going:
            going = [side for side in going if side.turn()]
    finally:
        for side in sides:
            side.close()
    others = max(0.0, (_busy() - busy) - (_own() - own)) / (time.perf_counter() - began)
    return [{"process_seconds": round(side.seconds, 3), "others_cores": round(others, 2)} for side in sides]


def _busy() -> float:
    """CPU seconds that all processes of the machine have used."""
    times = psutil.cpu_times()
    return times.user + times.system + getattr(times, "steal", 0.0)


def _own() -> float:
    """CPU seconds that this process and the programs it has waited for have used."""
    return sum(os.times()[:4])
