"""A terminal that may freeze, close or be taken away, while the program behind it must not.

Textual dies with its terminal, spins when it is gone, and blocks when it does not read (see `Driver` for each answer).
Three private names of Textual 8.2 are used, `_file`, `_writer_thread._queue` and `_auto_restart`; the tests of closed
and frozen terminals tell when a new version moves them.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from textual.drivers.linux_driver import LinuxDriver

FULL = 24
"""Writes that may wait for a terminal that does not read; Textual blocks at 30."""


class TerminalFile:
    """The terminal to write to. After the first error nothing is written any more, and no error is raised."""

    def __init__(self, file: IO[str], lost: Any) -> None:
        self._file, self._lost, self.dead = file, lost, False

    def write(self, text: str) -> int:
        if not self.dead:
            try:
                return self._file.write(text)
            except (OSError, ValueError):
                self._die()
        return len(text)

    def flush(self) -> None:
        if not self.dead:
            try:
                self._file.flush()
            except (OSError, ValueError):
                self._die()

    def fileno(self) -> int:
        return self._file.fileno()

    def isatty(self) -> bool:
        return True

    def _die(self) -> None:
        self.dead = True
        self._lost()


class Driver(LinuxDriver):
    """Textual's driver, with answers for a terminal that is closed or does not read.

    Closed: the input thread is ended (it would spin), SIGCONT does not start it again (it comes with SIGHUP), and the
    app is told, once. Not reading: frames are dropped, and everything is painted again when there is room.
    """

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(app, **options)
        self._screen = TerminalFile(terminal(), self.terminal_lost)
        self._file = self._screen  # type: ignore[assignment]
        self.lost = False
        self.behind = False
        """Frames were dropped: what the terminal shows is not what it should."""

    def terminal_lost(self) -> None:
        """May be called from any thread and from a signal handler: only flags are set."""
        if not self.lost:
            self.lost = True
            self._auto_restart = False
            self.exit_event.set()
            self._app.terminal_is_gone()  # type: ignore[attr-defined]

    def start_application_mode(self) -> None:
        if not self.lost:
            super().start_application_mode()  # type: ignore[no-untyped-call]

    def write(self, data: str) -> None:
        if self.lost or self._writer_thread is None:
            return
        waiting = self._writer_thread._queue.qsize()
        if waiting >= FULL or (self.behind and waiting > 2):
            self.behind = True
            return
        super().write(data)

    def caught_up(self) -> bool:
        """True once after frames were dropped and the terminal reads again: then all must be painted anew."""
        if self.behind and self._writer_thread is not None and self._writer_thread._queue.qsize() == 0:
            self.behind = False
            return True
        return False

    def _get_terminal_size(self) -> tuple[int, int]:
        """Asked of the terminal itself: standard output may be a file by now."""
        try:
            width, height = os.get_terminal_size(self._screen.fileno())
        except (OSError, ValueError):
            return super()._get_terminal_size()
        return width or 80, height or 25


_terminal: IO[str] | None = None


def terminal() -> IO[str]:
    """The terminal the screens are drawn on; not standard error once `streams_into` has moved that to a file."""
    return _terminal or sys.__stderr__  # type: ignore[return-value]


@contextmanager
def own_terminal() -> Iterator[None]:
    """Draw on a descriptor of our own, so that 1 and 2 can be given to libraries that print; both are put back."""
    global _terminal
    out, err = os.dup(1), os.dup(2)
    with os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace") as own:
        _terminal = own
        try:
            yield
        finally:
            _terminal = None
            os.dup2(out, 1)
            os.dup2(err, 2)
            os.close(out)
            os.close(err)


def streams_into(path: Path) -> None:
    """Send what is written to descriptors 1 and 2, by C code too, to the end of a file instead of over the screen."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        fd = os.open(os.devnull, os.O_WRONLY)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)
