"""The real program in a real terminal: keys go in one by one, and what a person would see is read off a screen."""

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import pyte

from tests.faults.scale import PATIENCE
from tui_trainer.run.events import BatchTrained, Event
from tui_trainer.run.journal import read

E = TypeVar("E", bound=Event)
Seen = str | re.Pattern[str] | Callable[[str], object]
"""A text that is on the screen, a pattern that is found there, or something that is true of it."""

KEYS = {"enter": "\r", "escape": "\x1b", "space": " ", "tab": "\t", "backspace": "\x7f"} | {
    f"ctrl+{letter}": chr(ord(letter) - 96) for letter in "cpqr"
}
_LAUNCHER = """
import fcntl, os, signal, sys, termios
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""Becomes the program as a shell starts it: no signal ignored, and controlled by its terminal."""
_UNKNOWN = re.compile(rb"\x1b\[(?:[<>=][\d;]*[a-z]|\?[\d;]*\$p)")
"""Keyboard modes and questions, which pyte would print."""
_SWITCHED = [(b"\x1b[?25l", b"\x1b[?25h"), (b"\x1b[>", b"\x1b[<u")] + [
    (b"\x1b[?%dh" % mode, b"\x1b[?%dl" % mode) for mode in (1000, 1003, 1004, 1006, 1049, 2004)
]
"""How Textual switches on what a shell does not want, and off."""
_TORN = re.compile(rb"\x1b(?:\[[<>=?\d;$]*)?\Z")


def environment(home: Path) -> dict[str, str]:
    """A terminal with colours, an empty home, and one core to train on: the other one is the test's."""
    unwanted = ("NO_COLOR", "COLUMNS", "LINES", "PYTHONDONTWRITEBYTECODE")
    kept = {k: v for k, v in os.environ.items() if k not in unwanted and not k.startswith(("TUI_TRAINER_", "TEXTUAL"))}
    own = {"HOME": str(home), "XDG_CONFIG_HOME": str(home / "config"), "OMP_NUM_THREADS": "1"}
    return kept | own | {"TERM": "xterm-256color", "COLORTERM": "truecolor"}


def is_on(text: str, seen: Seen) -> bool:
    """True when the screen `text` has what is to be seen."""
    if isinstance(seen, str):
        return seen in text
    return bool(seen.search(text) if isinstance(seen, re.Pattern) else seen(text))


def until(true: Callable[[], object], what: Callable[[], str]) -> None:
    """Wait for something to become true; `what` says it in words when it does not."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, f"waited in vain for {what()}"
        time.sleep(0.03)


def _begun(run: Path) -> float:
    """When a run said its first word, in seconds since 1970; 0 while it has said none."""
    try:
        return next((event.at for event in read(run / "events.jsonl")), 0.0)
    except (OSError, ValueError):
        return 0.0


class Journal:
    """The newest run that was started in `folder`, as it is on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def run(self) -> Path:
        """The run's folder."""
        return max((self.folder / "runs").iterdir(), key=_begun)

    @property
    def last(self) -> Path:
        """Its checkpoint for going on."""
        return self.run / "checkpoints" / "last.pt"

    def events(self) -> list[Event]:
        """All that it has said until now."""
        try:
            return list(read(self.run / "events.jsonl"))
        except (OSError, ValueError):
            return []

    def of(self, kind: type[E]) -> list[E]:
        """All events of one kind."""
        return [event for event in self.events() if isinstance(event, kind)]

    @property
    def step(self) -> int:
        """The step of the newest report."""
        return max((report.step for report in self.of(BatchTrained)), default=0)

    def wait_for(self, kind: type[E], number: int = 1) -> E:
        """The event of a kind with that number, from 1, once it is there."""
        until(lambda: len(self.of(kind)) >= number, lambda: f"{kind.__name__} {number} after {self.events()[-5:]}")
        return self.of(kind)[number - 1]

    def goes_on(self, steps: int = 1) -> None:
        """Wait until so many more steps are reported."""
        wanted = self.step + steps
        until(lambda: self.step >= wanted, lambda: f"step {wanted} after {self.events()[-5:]}")


class Screen(pyte.Screen):
    """A screen that keeps what it would answer, and the name of its window."""

    def __init__(self, columns: int, lines: int) -> None:
        super().__init__(columns, lines)
        self.answers: list[str] = []

    def write_process_input(self, data: str) -> None:
        self.answers.append(data)


@dataclass(frozen=True)
class Line:
    """The line between the program and the terminal. Whatever is written fits onto it, as with ssh."""

    delay: float = 0.0
    """Seconds that an answer takes back."""
    speed: float = float("inf")
    """Bytes a second that arrive."""
    answers: bool = True
    """False for a terminal that knows no status report."""


class Program:
    """tui-trainer in a terminal of its own, with its reader, its keys and its window."""

    def __init__(
        self,
        folder: Path,
        *words: str,
        size: tuple[int, int] = (120, 40),
        script: Path | None = None,
        line: Line | None = None,
        more: Mapping[str, str] | None = None,
    ) -> None:
        """`size` is columns by rows; `script` stands in place of the module, to change it before it runs.

        `more` is added to the environment.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.journal = Journal(folder)
        self.raw = b""
        """Everything the program has written."""
        self.underway = b""
        """What of it has not arrived at the terminal."""
        self.most_underway = 0
        """The most that was underway at any time, bytes."""
        self._line, self._arrived = line or Line(), time.monotonic()
        self._answers: list[tuple[float, bytes]] = []
        self._master, self._slave = os.openpty()
        self.screen = Screen(*size)
        self._stream, self._torn = pyte.ByteStream(self.screen), b""
        self._closed = False
        self._reads = threading.Event()
        self._reads.set()
        self._painted = threading.Condition()
        self.resize(*size)
        self.modes_before = self.modes
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCHER, *([str(script)] if script else ["-m", "tui_trainer"]), *words],
            cwd=folder,
            env=environment(folder) | dict(more or {}),
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        if not self._closed:
            self.close_terminal()

    # --- what is seen ---

    def _read(self) -> None:
        while not self._closed:
            self._reads.wait()
            if select.select([self._master], [], [], 0.01 if self.underway or self._answers else 0.05)[0]:
                data = os.read(self._master, 65536)
                self.raw += data
                self.underway += data
                self.most_underway = max(self.most_underway, len(self.underway))
            now = time.monotonic()
            arrives = int(min(len(self.underway), self._line.speed * (now - self._arrived)))
            if arrives or not self.underway:
                self._arrived = now
            if arrives:
                self._paint(arrives)
            while self._answers and self._answers[0][0] <= now:
                os.write(self._master, self._answers.pop(0)[1])

    def _paint(self, arrives: int) -> None:
        """Put the next so many bytes onto the screen."""
        with self._painted:
            data, self.underway = self._torn + self.underway[:arrives], self.underway[arrives:]
            torn = _TORN.search(data)
            self._torn = torn[0] if torn else b""
            self._stream.feed(_UNKNOWN.sub(b"", data[: torn.start()] if torn else data))
            if self._line.answers:
                at = time.monotonic() + self._line.delay
                self._answers += [(at, answer.encode()) for answer in self.screen.answers]
            self.screen.answers.clear()
            self._painted.notify_all()

    @property
    def text(self) -> str:
        """What is on the screen."""
        with self._painted:
            return "\n".join(line.rstrip() for line in self.screen.display)

    def wait_for(self, *seen: Seen) -> str:
        """The screen, once it shows all of these texts and all of these are true of it."""
        with self._painted:
            good = self._painted.wait_for(lambda: all(is_on(self.text, one) for one in seen), PATIENCE)
        text = self.text
        assert good, f"waited in vain for {[one for one in seen if not is_on(text, one)]} on\n{text}"
        return text

    def tick(self) -> str:
        """The run screen, once the clock at the end of its first line has moved."""
        clock = self.text.splitlines()[0].split()[-1]
        return self.wait_for(lambda text: text.splitlines()[0].split()[-1] != clock)

    # --- what a person does ---

    def press(self, key: str, *shows: Seen) -> str:
        """Press one key and wait for what it brings onto the screen: keys that come in a burst overtake each other."""
        os.write(self._master, KEYS.get(key, key).encode())
        return self.wait_for(*shows)

    def type(self, text: str, where: str) -> None:
        """Type over what a field holds. `where` is a pattern for its line, with {} where the text comes to stand."""
        for end in range(1, len(text) + 1):
            line = re.compile(where.format(re.escape(text[:end])))
            self.press(text[end - 1], line)

    def resize(self, columns: int, rows: int) -> None:
        """Give the window another size, of which the system tells the program."""
        with self._painted:
            self.screen.resize(rows, columns)
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def freeze(self) -> None:
        """Read nothing any more, as a terminal does after ^S or at the end of a dead line, and let it fill up."""
        self._reads.clear()
        size = self.screen.columns, self.screen.lines
        for other in [(100, 30), (200, 60)] * 5:  # a system keeps some 64 kB for a terminal, the program 24 frames
            self.resize(*other)
            self.journal.goes_on()
        self.resize(*size)

    def thaw(self) -> None:
        """Read again."""
        self._reads.set()

    def close_terminal(self) -> None:
        """Close the window: the program is sent SIGHUP and has no terminal any more."""
        self._closed = True
        self._reads.set()
        self._reader.join()
        os.close(self._master)
        os.close(self._slave)

    # --- the process ---

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    @property
    def has_torch(self) -> bool:
        """True once the process has loaded torch's libraries."""
        return "libtorch" in Path(f"/proc/{self.pid}/maps").read_text()

    def wait(self) -> int:
        """The exit code, once the process has ended and what it wrote is read, unless the terminal is frozen."""
        until(lambda: self._process.poll() is not None, lambda: f"the end of the process; it shows\n{self.text}")
        if not self._closed and self._reads.is_set():
            until(lambda: not select.select([self._master], [], [], 0)[0], lambda: "the last words")
        return self._process.returncode

    @property
    def modes(self) -> list[object]:
        """What `stty -g` tells: echo, line editing, signals from keys."""
        return termios.tcgetattr(self._slave)

    @property
    def last_words(self) -> str:
        """What it wrote on the shell after its screens."""
        with self._painted:
            return self.raw.rpartition(b"\x1b[?1049l")[2].decode()

    def put_the_terminal_back(self) -> bool:
        """True when the shell finds its terminal as it was: line modes, screen, cursor, mouse, paste and keyboard."""
        with self._painted:
            ends = [self.raw.rfind(on) < self.raw.rfind(off) for on, off in _SWITCHED]
        return self.modes == self.modes_before and all(ends)
