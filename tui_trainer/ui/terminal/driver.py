"""A terminal that may freeze, close or be taken away, while the program behind it must not.

Textual dies with its terminal, spins when it is gone, and blocks when it does not read (see `Driver` for each answer).
Private names of Textual 8.2 are used: `_file`, `_writer_thread._queue`, `_auto_restart` and the parser of keys; the
tests of closed and frozen terminals tell when a new version moves them.
"""

import codecs
import ctypes
import io
import os
import queue
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from textual import constants
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver

from tui_trainer.run.commands import Wake
from tui_trainer.ui.terminal.link import ASK, Answers, Link

FULL = 24
"""Writes that may wait for a terminal that does not read; Textual blocks at 30."""
FEW = 2
"""Writes that wait for a moment on every terminal: more of them say that it does not keep up."""
ESCAPE = min(constants.ESCAPE_DELAY, 0.04)
"""Seconds after which an escape code that did not go on is the escape key."""
GRACE = 2.0
"""Seconds that a terminal has at the end to read what is left."""
LAST = 0.2
"""Seconds that the last answer of a terminal is waited for at the end: later it would be typed into the shell."""
PIECES = 0.5
"""Seconds from one piece of an answer to the next at most; no key begins like it, save escape."""
STALL = 0.15
"""Seconds by which the input thread may wake late; more is this program's own doing, such as importing torch."""
PUSH_TITLE, POP_TITLE = "\x1b[22;0t", "\x1b[23;0t"
"""Keep the name of the window, and give it back."""


class TerminalFile:
    """The terminal to write to, without a buffer. After the first error nothing is written and no error is raised."""

    def __init__(self, fd: int, lost: Callable[[], None]) -> None:
        self._fd, self._lost, self._dead = fd, lost, False

    def write(self, text: str) -> int:
        data = text.encode("utf-8", "replace")
        try:
            while data and not self._dead:
                data = data[os.write(self._fd, data) :]
        except OSError:
            self._dead = True
            self._lost()
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return True


class Driver(LinuxDriver):
    """Textual's driver, with answers for a terminal that is closed or does not read.

    Closed: the input thread is ended (it would spin), SIGCONT does not start it again (it comes with SIGHUP), and the
    app is told, once. Not reading: frames are dropped, and everything is painted again when there is room. Slow: it is
    asked to answer after a frame, and until then `reads` is False.
    """

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(app, **options)
        self._screen = TerminalFile(terminal(), self.terminal_lost)
        self._file = self._screen  # type: ignore[assignment]
        self._suspended = self._leaving = False
        self.lost = False
        self.behind = False
        """Frames were dropped: what the terminal shows is not what it should."""
        self.stuck = False
        """The terminal did not read what was written to it at the end."""
        self.link = Link()
        self._listens = False
        """Answers are heard."""
        self._title = ""
        """The name that the window should have from here; empty for its own."""
        self._renamed = False
        """It does not have its own."""

    def terminal_lost(self) -> None:
        """May be called from any thread and from a signal handler: only flags are set."""
        if not self.lost:
            self.lost = True
            self._auto_restart = False
            self.exit_event.set()
            self._app.terminal_is_gone()  # type: ignore[attr-defined]

    def start_application_mode(self) -> None:
        if not self.lost:
            self._leaving = False
            super().start_application_mode()  # type: ignore[no-untyped-call]
            self._listens = True
            if self._title:
                self._rename(self._title)

    def stop_application_mode(self) -> None:
        """Give the terminal back. Frames that still wait are of no use: what puts it back comes first."""
        self._hear_last_answer()
        self._leaving = True
        if self._writer_thread is not None:
            with suppress(queue.Empty):
                while True:
                    self._writer_thread._queue.get_nowait()
        self._rename("")
        super().stop_application_mode()

    def disable_input(self) -> None:
        self._hear_last_answer()
        super().disable_input()

    def _hear_last_answer(self) -> None:
        """Wait for an answer that is out, though not long: nobody takes it out of what is typed any more."""
        end = time.monotonic() + min(GRACE, max(LAST, 2 * self.link.round_trip))
        while self._listens and self.link.is_out and not self.lost and time.monotonic() < end:
            time.sleep(0.005)
        self._listens = False
        self.link.forget()

    def close(self) -> None:
        """End the writer. One that is stuck in a terminal that does not read is left behind."""
        writer = self._writer_thread
        if writer is not None:
            with suppress(queue.Full):
                writer._queue.put(None, timeout=GRACE)
            writer.join(GRACE)
            self.stuck = writer.is_alive()

    def _sigtstp_application(self, *_: object) -> None:
        self._suspended = True
        super()._sigtstp_application()

    def _sigcont_application(self, *_: object) -> None:
        """Carry on. After a SIGSTOP, which gives no warning, the terminal is given back first and then taken again."""
        if self._auto_restart and not self._suspended:
            self.suspend_application_mode()
        self._suspended = False
        self._app.tell(Wake())  # type: ignore[attr-defined]
        super()._sigcont_application()

    def run_input_thread(self) -> None:
        """Keys and mouse, until the end. Textual looks for a lone escape key ten times a second: here it need not wait.

        Where there is nothing to read any more the terminal is gone; Textual would ask it again at once, and for ever.
        """
        parser, decode = XTermParser(), codecs.getincrementaldecoder("utf-8")("replace").decode
        answers, lone_escape = Answers(), False
        while not self.exit_event.is_set():
            began, ends = time.monotonic(), False
            longest = ESCAPE if lone_escape or answers.held == "\x1b" else PIECES if answers.held else 0.1
            if select.select([self.fileno], [], [], longest)[0]:
                try:
                    data = os.read(self.fileno, 4096)
                except OSError:
                    data = b""
                if not data:
                    self.terminal_lost()
                    return
                typed, answered = answers.taken_from(decode(data), expected=self.link.is_out)
                if answered:
                    self.link.answered(counts=time.monotonic() - began < longest + STALL)
                lone_escape = typed.endswith("\x1b")
            else:
                typed = answers.released()
                ends, lone_escape = lone_escape or typed == "\x1b", False
            for event in parser.feed(typed) if typed else ():  # without text it would end for ever
                self.process_message(event)
            if ends and parser._timeout_time is not None:
                parser._timeout_time = 0.0
            for event in parser.tick():
                self.process_message(event)

    def write(self, data: str) -> None:
        if self.lost or self._writer_thread is None:
            return
        waiting = self._writer_thread._queue.qsize()
        if not self._leaving and (waiting >= FULL or (self.behind and waiting > FEW)):
            self.behind = True
            return
        super().write(data)

    @property
    def reads(self) -> bool:
        """False while the terminal leaves lying what was written last: a newer picture would only lie behind it."""
        return self._room and not self.link.waits

    @property
    def _room(self) -> bool:
        return self._writer_thread is not None and self._writer_thread._queue.qsize() <= FEW

    def frame_written(self) -> None:
        """Let the terminal tell when it has drawn all that was written until now."""
        if self._listens and not self.lost and not self.behind and self._room and self.link.asks():
            self.write(ASK)

    def name_window(self, title: str) -> None:
        """Call the window `title`, which holds no control characters; by its own name again when that is empty."""
        if title != self._title and not self.behind:
            self._title = title
            if not self._leaving:  # else it has its own again already
                self._rename(title)

    def _rename(self, title: str) -> None:
        was, self._renamed = self._renamed, bool(title)  # first: a signal may come in between and put all back
        if title:
            self.write(f"{'' if was else PUSH_TITLE}\x1b]2;{title}\a")
        elif was:
            self.write(POP_TITLE)

    def caught_up(self) -> bool:
        """True once after frames were dropped and the terminal reads again: then all must be painted anew."""
        if self.behind and self._writer_thread is not None and self._writer_thread._queue.qsize() == 0:
            self.behind = False
            return True
        return False

    def window_size(self) -> tuple[int, int]:
        """Columns and rows of the terminal just now."""
        return self._get_terminal_size()

    def _get_terminal_size(self) -> tuple[int, int]:
        """Asked of the terminal itself: standard output may be a file by now."""
        try:
            width, height = os.get_terminal_size(self._screen.fileno())
        except (OSError, ValueError):
            return super()._get_terminal_size()
        return width or 80, height or 25


_terminal: int | None = None


def terminal() -> int:
    """The descriptor that the screens are drawn on; not 2 once `streams_into` has moved that to a file."""
    return 2 if _terminal is None else _terminal


@contextmanager
def own_terminal() -> Iterator[None]:
    """Draw on a descriptor of our own, so that 1 and 2 can be given to libraries that print; both are put back."""
    global _terminal
    out, err = os.dup(1), os.dup(2)
    _terminal = os.dup(2)
    try:
        yield
    finally:
        _write_what_waits()
        os.dup2(out, 1)
        os.dup2(err, 2)
        for fd in (out, err, _terminal):
            os.close(fd)
        _terminal = None


def is_drawn_on() -> bool:
    """True while there is a screen, so that what is printed must go elsewhere."""
    return _terminal is not None


def streams_into(path: Path) -> None:
    """Send what is written to descriptors 1 and 2, by C code too, to the end of a file instead of over the screen."""
    _write_what_waits()
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        fd = os.open(os.devnull, os.O_WRONLY)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)


def _write_what_waits() -> None:
    """Write what C code has printed and its library still holds: it belongs to where it was printed to."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).fflush(None)


def plain_streams() -> None:
    """Make `sys.stdout` and `sys.stderr` plain files on descriptors 1 and 2. Textual undoes it when its app ends.

    Textual's have no descriptor, without which no process can be started from here, and say that they are a terminal,
    so that progress bars are drawn. Nothing is held back: what Python and C code print stays in order.
    """
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(
            io.FileIO(fd, "w", closefd=False), encoding="utf-8", errors="backslashreplace", write_through=True
        )
        for fd in (1, 2)
    )
