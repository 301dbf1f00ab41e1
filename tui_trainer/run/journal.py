"""A run's events on disk: one JSON line each, append-only. The last line may be torn; readers wait for the rest."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tui_trainer.run.events import Event, Warned
from tui_trainer.run.events_json import from_json, to_json


class Journal:
    """The writing end, used by the training thread alone.

    A full disk does not stop training: lines that cannot be written are kept in memory, up to `KEPT` of them, and
    written when there is room again.
    """

    KEPT = 10_000

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._waiting: list[bytes] = []
        size = os.fstat(self._fd).st_size
        if size and os.pread(self._fd, 1, size - 1) != b"\n":
            # A run that was killed while it wrote: what is left of that line is passed over.
            self._waiting.append(b"\n")

    def append(self, event: Event) -> Warned | None:
        """Write one event; the answer is a warning when that began to fail."""
        failing = bool(self._waiting)
        self._waiting.append(to_json(event).encode() + b"\n")
        try:
            while self._waiting:
                line = self._waiting[0]
                written = os.write(self._fd, line)
                if written < len(line):
                    self._waiting[0] = line[written:]  # a torn line is finished before anything else is written
                else:
                    self._waiting.pop(0)
        except OSError as error:
            del self._waiting[1 : max(1, len(self._waiting) - self.KEPT)]
            if not failing:
                return Warned(text=f"the journal cannot be written ({error.strerror}); events are kept in memory")
        return None

    def make_again(self) -> None:
        """Put the file back where somebody has deleted it, with all that was in it.

        Raises:
            OSError: there is no room, or no folder.
        """
        fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        at = 0
        while part := os.pread(self._fd, 1 << 20, at):
            at += os.write(fd, part)
        os.close(self._fd)
        self._fd = fd

    def close(self) -> None:
        os.close(self._fd)


def read(path: Path) -> Iterator[Event]:
    """The whole events in a journal. Lines that are damaged or of an unknown kind are passed over."""
    with path.open("rb") as file:
        yield from follow(file)


def follow(file: BinaryIO) -> Iterator[Event]:
    """The events in the lines that `file` has now. A torn last line ends it and is given again at the next call."""
    for line in file:
        if not line.endswith(b"\n"):
            file.seek(-len(line), os.SEEK_CUR)
            return
        try:
            event = from_json(line)
        except ValueError:
            continue
        if event is not None:
            yield event
