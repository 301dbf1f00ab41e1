"""The whole program in a terminal of its own, as somebody at a shell has it: what it writes, and when it arrives."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from pathlib import Path
from typing import Any

_ESCAPES = re.compile(rb"\x1b\[[0-9;?<>=]*[a-zA-Z]")
_KEPT = 200_000
"""Bytes that are looked through for an answer."""


class Program:
    """`python -m tui_trainer WORDS` in a terminal of 120 x 40. Whoever waits for something also reads the terminal."""

    def __init__(self, words: list[str], folder: Path, **environment: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.written = 0
        """Bytes that the program has written."""
        self._recent = b""
        kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "NO_COLOR")}
        kept |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"} | environment
        self.began = time.monotonic()
        """When it was started."""
        self.began_at = time.time()
        """The same in the journal's time."""
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execve(sys.executable, [sys.executable, "-m", "tui_trainer", *words], kept)
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.ended = False

    def read(self, seconds: float) -> bool:
        """Take in what the program writes within `seconds`, up to one piece of it; True when there was any."""
        if self.ended or not select.select([self._terminal], [], [], seconds)[0]:
            return False
        try:
            piece = os.read(self._terminal, 65536)
        except OSError:
            piece = b""
        self.ended = not piece
        self.written += len(piece)
        self._recent = (self._recent + piece)[-_KEPT:]
        return bool(piece)

    def watch(self, seconds: float) -> None:
        """Read for so long."""
        end = time.monotonic() + seconds
        while not self.ended and (left := end - time.monotonic()) > 0:
            self.read(left)

    def press(self, key: str) -> None:
        """Press a key; what was written before does not count as its answer."""
        while self.read(0):
            pass
        self._recent = b""
        os.write(self._terminal, key.encode())

    def wait_for(self, answer: str, patience: float = 30.0) -> bool:
        """True once the words of `answer`, a pattern, have arrived; escape codes between them do not count."""
        pattern, end = re.compile(answer), time.monotonic() + patience
        while not pattern.search(_ESCAPES.sub(b"", self._recent).decode("utf-8", "replace")):
            left = end - time.monotonic()
            if left <= 0 or self.ended:
                return False
            self.read(left)
        return True

    def wait_for_code(self, code: bytes, patience: float = 30.0) -> bool:
        """The same for bytes with their escape codes: a colour tells what words do not."""
        end = time.monotonic() + patience
        while code not in self._recent:
            left = end - time.monotonic()
            if left <= 0 or self.ended:
                return False
            self.read(left)
        return True

    def events(self) -> list[dict[str, Any]]:
        """What the newest run has written into its journal."""
        journals = sorted(self.folder.glob("runs/*/events.jsonl"), key=lambda path: path.stat().st_mtime)
        if not journals:
            return []
        lines = journals[-1].read_bytes().split(b"\n")[:-1]  # the last one may be torn
        return [json.loads(line) for line in lines]

    def has(self, event: str) -> bool:
        """True when the newest run has said such an event."""
        return any(seen["event"] == event for seen in self.events())

    def wait_for_event(self, event: str, patience: float = 60.0) -> bool:
        """Read the terminal until the journal has such an event."""
        end = time.monotonic() + patience
        while not self.has(event):
            if self.ended or time.monotonic() > end:
                return False
            self.read(0.2)
        return True

    def end(self) -> None:
        """End it at once, and wait until it is gone."""
        if not self.ended:
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._terminal)
