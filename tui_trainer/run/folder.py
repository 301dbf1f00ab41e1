"""A run's folder: its name, its lock, its manifest, and how to find it again."""

import contextlib
import errno
import fcntl
import importlib.metadata
import json
import os
import platform
import shlex
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import tomli_w

from tui_trainer.errors import FolderError, LockedError, UsageError
from tui_trainer.run.disk import write_whole
from tui_trainer.settings import PROVENANCE, Settings, to_plain
from tui_trainer.text import clean, did_you_mean

ALIVE = 120.0
"""Seconds for which a sign of life counts."""
ORPHANS = 10.0
"""Seconds that the workers of a killed run have to end."""


class RunFolder:
    """The files of one run. The folder is the interface: whoever can read it can watch the run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest = path / "run.toml"
        self.journal = path / "events.jsonl"
        self.checkpoints = path / "checkpoints"
        self.log = path / "log.txt"
        self._lock = path / "lock"
        self._alive_at = 0.0

    @classmethod
    def create(cls, settings: Settings) -> "RunFolder":
        """A new, empty folder below `settings.output_dir`, for its owner's eyes only.

        Raises:
            FolderError: it cannot be made there; the message says why.
        """
        parent = Path(settings.output_dir).expanduser()
        name = (
            settings.name or f"{time.strftime('%Y-%m-%dT%H-%M-%S', time.gmtime())}-{settings.model}-{settings.dataset}"
        )
        attempt = 1
        while True:
            folder = cls(parent / (name if attempt == 1 else f"{name}-{attempt}"))
            try:
                parent.mkdir(parents=True, exist_ok=True)
                folder.path.mkdir(mode=0o700)
                folder.checkpoints.mkdir(mode=0o700)
                folder.log.touch(mode=0o600)
                return folder
            except FileExistsError:
                if not folder.path.exists():
                    raise FolderError(
                        f"The output folder {clean(parent)} is a file. Choose another --output-dir."
                    ) from None
                if settings.name:
                    raise FolderError(
                        f"There is a run named {settings.name} in {clean(parent)} already. Choose another --name."
                    ) from None
                attempt += 1
            except OSError as error:
                raise FolderError(
                    f"The run folder {clean(folder.path)} cannot be made: {error.strerror}. "
                    "Nothing was trained. Choose an --output-dir that you may write to."
                ) from None

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Held by the one process that trains here, and let go by the system however that process ends.

        Raises:
            LockedError: another process trains here; the message names it.
        """
        self._refuse_foreign()
        try:
            fd = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise FolderError(f"The run folder {clean(self.path)} cannot be locked: {error.strerror}.") from None
        try:
            self._take(fd)
            os.ftruncate(fd, 0)
            os.pwrite(
                fd, json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}).encode(), 0
            )
            _held.add(fd)  # a forked worker must not keep it when its run is killed
            self._alive_at = time.monotonic()
            try:
                yield
            finally:
                with contextlib.suppress(OSError):
                    os.ftruncate(fd, 0)  # it ended well: another host need not wait for a sign of life to grow old
        finally:
            _held.discard(fd)
            os.close(fd)

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
            held = json.loads(self._lock.read_bytes())
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
                os.utime(self._lock)

    def is_held(self) -> bool:
        """True while a process trains here."""
        try:
            fd = os.open(
                self._lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
            )  # it may be a pipe that a stranger made
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
        except OSError:
            return True
        finally:
            os.close(fd)

    def holder(self) -> str:
        """Who trains here, in words."""
        try:
            held = json.loads(self._lock.read_bytes())
            when = time.strftime("%H:%M:%S", time.localtime(float(held["since"])))
            return f"process {int(held['pid'])} on {clean(held['host'], 60)} since {when}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"

    def write_manifest(self, settings: Settings, provenance: dict[str, object]) -> None:
        """run.toml: the settings as used, and where the run came from. It can be passed back as `--config`."""
        text = tomli_w.dumps(to_plain(settings) | {PROVENANCE: {k: v for k, v in provenance.items() if v is not None}})
        write_whole(text.encode(), self.manifest)

    def write_log(self, text: str) -> None:
        """Append to log.txt, where tracebacks go. A full disk is no reason to fail."""
        with contextlib.suppress(OSError), self.log.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text.rstrip("\n") + "\n")


_held: set[int] = set()
"""The locks of this process."""


def _let_go() -> None:
    """In a forked child: the lock stays with the process that trains."""
    for fd in _held:
        with contextlib.suppress(OSError):
            os.close(fd)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)


def provenance() -> dict[str, object]:
    """What a reader needs to repeat a run: versions, machine, commit, command."""
    return {
        "tui_trainer": importlib.metadata.version("tui-trainer"),
        "torch": importlib.metadata.version("torch"),
        "torchvision": importlib.metadata.version("torchvision"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "argv": clean(shlex.join(sys.argv), 4000),
        "git_commit": _git_commit(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _git_commit() -> str | None:
    """The commit of the folder the run was started in, `+` behind it when files differ from it; None outside git."""
    try:
        command = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=5, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None


def find(run: str, output_dir: str) -> RunFolder:
    """The folder of a run named by its path, its name, an unambiguous beginning of it, or `last`.

    Raises:
        UsageError: there is none, or several begin like that.
    """
    path = Path(os.path.expanduser(run))
    with contextlib.suppress(OSError, ValueError):
        if (path / "events.jsonl").is_file():
            return RunFolder(path)
    parent = Path(os.path.expanduser(output_dir))
    try:
        names = sorted(entry.name for entry in parent.iterdir() if (entry / "events.jsonl").is_file())
    except OSError:
        names = []
    if not names:
        raise UsageError(f"There is no run {clean(run)!r}: {clean(parent)} holds no runs. Start one with: tui-trainer")
    if run == "last" and run not in names:
        return RunFolder(max((parent / name for name in names), key=lambda p: (p / "events.jsonl").stat().st_mtime))
    if run in names:
        return RunFolder(parent / run)
    begins = [name for name in names if name.startswith(run)]
    if len(begins) == 1:
        return RunFolder(parent / begins[0])
    if begins:
        shown = ", ".join(clean(name, 80) for name in begins[:5])
        raise UsageError(f"{clean(run)!r} could be {len(begins)} runs: {shown}. Type more of the name.")
    raise UsageError(f"There is no run {clean(run)!r} in {clean(parent)}.{did_you_mean(run, names)}")
