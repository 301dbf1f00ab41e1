"""The lock of a run folder: held by the one process that trains there, and let go by the system however that ends."""

import contextlib
import errno
import fcntl
import json
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tui_trainer.errors import FolderError, LockedError
from tui_trainer.text import clean

ALIVE = 120.0
"""Seconds for which a sign of life counts."""
ORPHANS = 10.0
"""Seconds that the workers of a killed run have to end."""


@dataclass
class Held:
    """A lock that this process holds."""

    fd: int
    """Its descriptor. A process that inherits it holds the lock too, so that a run changes hands without letting go."""
    handed_over: bool = False
    """A process that inherited the descriptor holds it from here on, and goes on with the run."""


class Lock:
    """The lock of the run folder `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path / "lock"
        self._alive_at = 0.0

    @contextlib.contextmanager
    def hold(self, inherited: int | None = None) -> Iterator[Held]:
        """Hold the lock; `inherited` is the descriptor of the process that held it before, if that gave it to this one.

        Raises:
            LockedError: another process trains here; the message names it.
            FolderError: the folder is not one to train in.
        """
        self._refuse_foreign()
        fd = inherited
        try:
            if fd is None:
                fd = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            os.set_inheritable(fd, False)
        except OSError as error:
            raise FolderError(f"The run folder {clean(self.path)} cannot be locked: {error.strerror}.") from None
        held = Held(fd)
        try:
            self._take(fd)
            self._sign(fd)
            try:
                yield held
            finally:
                if not held.handed_over:
                    with contextlib.suppress(OSError):
                        os.ftruncate(held.fd, 0)  # it ended well: another host need not wait for a sign of life
        finally:
            stop_keeping(held.fd)
            os.close(held.fd)

    def _sign(self, fd: int) -> None:
        """Say who holds it."""
        os.ftruncate(fd, 0)
        os.pwrite(fd, json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}).encode(), 0)
        keep_from_workers(fd)
        self._alive_at = time.monotonic()

    def hold_again(self, held: Held) -> None:
        """Put the file back where somebody has deleted it, and hold that.

        Raises:
            OSError: it cannot be made, or another process was quicker.
        """
        fd = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._sign(fd)
        old, held.fd = held.fd, fd
        stop_keeping(old)
        os.close(old)

    def _refuse_foreign(self) -> None:
        """Refuse to train where somebody else could have put files, or can."""
        try:
            facts = os.lstat(self.path)
        except OSError as error:
            raise FolderError(f"The run folder {clean(self.path)} cannot be used: {error.strerror}.") from None
        if facts.st_uid not in (os.getuid(), 0) or facts.st_mode & 0o022 or not stat.S_ISDIR(facts.st_mode):
            raise FolderError(
                f"The run folder {clean(self.path)} is a link, is another user's, or others may write to it; nothing "
                "was trained there. Make it yours: chmod go-w, or copy it."
            )

    def _take(self, fd: int) -> None:
        """Lock. The workers of a killed run hold its lock until they notice; they are waited for."""
        until = time.monotonic() + ORPHANS
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    raise FolderError(
                        f"The run folder {clean(self.path)} cannot be locked: {error.strerror}."
                    ) from None
                # A viewer that asks `is_held` has the lock for a moment.
                if time.monotonic() > until - (ORPHANS - 0.1 if self._holder_lives() else 0):
                    raise LockedError(self._held_text()) from None
                time.sleep(0.02)
        if self._lives_elsewhere(fd):
            raise LockedError(self._held_text())

    def _held_text(self) -> str:
        name = clean(self.path.name)
        return f"The run {name} is held by {self.holder()}. Watch it with: tui-trainer attach {name}"

    def _holder_lives(self) -> bool:
        """False when the process that the lock names is gone from this machine."""
        try:
            held = json.loads(self._file.read_bytes())
            if held["host"] == socket.gethostname():
                os.kill(int(held["pid"]), 0)
            return True
        except ProcessLookupError:
            return False
        except (OSError, ValueError, KeyError, TypeError, OverflowError):
            return True

    def _lives_elsewhere(self, fd: int) -> bool:
        """True when a process on another host, whose lock a network disk may not show, has given a sign of life."""
        try:
            held = json.loads(os.pread(fd, 4096, 0))
            return bool(held["host"] != socket.gethostname() and time.time() - os.fstat(fd).st_mtime < ALIVE)
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def say_alive(self) -> None:
        """A sign of life for other hosts, now and then."""
        if time.monotonic() - self._alive_at >= ALIVE / 4:
            self._alive_at = time.monotonic()
            with contextlib.suppress(OSError):
                os.utime(self._file)

    def is_held(self) -> bool:
        """True while a process trains here."""
        try:
            fd = os.open(self._file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a stranger's pipe is not waited for
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
        except OSError:
            return True
        finally:
            os.close(fd)

    def pid(self) -> int | None:
        """The process that trains here, when it is one of this machine."""
        try:
            held = json.loads(self._file.read_bytes())
            return int(held["pid"]) if held["host"] == socket.gethostname() else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def holder(self) -> str:
        """Who trains here, in words."""
        try:
            held = json.loads(self._file.read_bytes())
            when = time.strftime("%H:%M:%S", time.localtime(float(held["since"])))
            return f"process {int(held['pid'])} on {clean(held['host'], 60)} since {when}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"


_own: dict[int, Callable[[], object]] = {}
"""Descriptors of this process alone, and how each is closed."""


def keep_from_workers(fd: int, close: Callable[[], object] | None = None) -> None:
    """Close a descriptor in every process that is forked from here: they may outlive this one when it is killed."""
    _own[fd] = close or partial(os.close, fd)


def stop_keeping(fd: int) -> None:
    """Forget a descriptor of `keep_from_workers`, before it is closed here."""
    _own.pop(fd, None)


def _close_in_child() -> None:
    """Run in a forked child: close what belongs to the parent alone."""
    for close in _own.values():
        with contextlib.suppress(OSError):
            close()
    _own.clear()


os.register_at_fork(after_in_child=_close_in_child)
