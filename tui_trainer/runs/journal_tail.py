"""Events of a journal without reading all of it: its head and tail, the newest of a kind, a few losses in between.

A line is found by a search for the bytes of a JSON string in it, such as `"RunEnded"`, and is then parsed like any
other, so that text of a user that looks like an event counts for nothing. Damaged and torn lines are passed over.
"""

import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from tui_trainer.run.events import Event
from tui_trainer.run.events_json import from_json

HEAD = 1 << 15
"""Bytes read from the beginning; a `RunStarted` is nearly always among them."""
TAIL = 1 << 16
"""Bytes read from the end: the ending and the test, or some minutes of a run that is under way."""
CHUNK = 1 << 20
"""Bytes read at once where a search goes beyond head and tail."""
LONGEST_LINE = 8 * CHUNK
"""Bytes without a line end after which a search gives up: this is no journal."""
WINDOW = 1 << 10
"""Bytes read for one loss: several lines of `BatchTrained`."""

_LOSS = re.compile(rb'"BatchTrained"[^\n]{0,300}?"loss": ?([-+.\deE]+)[,}]')

E = TypeVar("E", bound=Event)


class Found(NamedTuple, Generic[E]):
    """An event and the byte that its line begins at, in the bytes or in the file that were searched."""

    event: E
    begin: int


class Piece(NamedTuple):
    """Whole lines of a journal, and the byte that the first of them begins at."""

    begin: int
    data: bytes


def parsed(line: bytes) -> Event | None:
    """The event in a line, or None when it is damaged or of an unknown kind."""
    try:
        return from_json(line)
    except ValueError:
        return None


def newest(
    data: bytes, kind: type[E], where: Callable[[E], bool] = lambda _: True, *, holding: str = ""
) -> Found[E] | None:
    """The last event of a kind in `data` that is as `where` says.

    `holding` is a string among the event's values that fewer lines hold than the name of the kind; without it lines
    with that name are parsed, from the end backwards.
    """
    needle = f'"{holding or kind.__name__}"'.encode()
    before = len(data)  # lines from here on have been looked at
    while (at := data.rfind(needle, 0, before)) >= 0:
        begin, end = data.rfind(b"\n", 0, at) + 1, data.find(b"\n", at)
        event = parsed(data[begin:end]) if end >= 0 else None  # a line without its end is still being written
        if isinstance(event, kind) and where(event):
            return Found(event, begin)
        before = begin
    return None


class JournalTail:
    """An open journal, `size` bytes long when it was opened; what is appended later is not read.

    It is read with `pread` and not mapped: a map of a file that somebody shortens ends the process.
    """

    def __init__(self, path: Path) -> None:
        """Open `path`.

        Raises:
            OSError: it cannot be read, or is no plain file.
        """
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # to open a pipe must not wait
        facts = os.fstat(self.fd)
        if not stat.S_ISREG(facts.st_mode):
            os.close(self.fd)
            raise OSError(0, "it is not a plain file")
        self.size = facts.st_size
        self.head, self.tail = b"", b""
        try:
            if self.size <= HEAD + TAIL:
                self.head = self.tail = os.pread(self.fd, self.size, 0)
            else:
                self.head = os.pread(self.fd, HEAD, 0)
                self.tail = os.pread(self.fd, TAIL, self.size - TAIL)
        except OSError:
            os.close(self.fd)
            raise

    def __enter__(self) -> "JournalTail":
        return self

    def __exit__(self, *_: Any) -> None:
        os.close(self.fd)

    @property
    def end(self) -> int:
        """The byte behind the last whole line."""
        return self.size - len(self.tail) + self.tail.rfind(b"\n") + 1

    @property
    def is_small(self) -> bool:
        """True when head and tail are both the whole of it."""
        return self.size <= HEAD + TAIL

    def first(self, kind: type[E]) -> E | None:
        """The first event of a kind, if it is near the beginning."""
        needle, at, data = f'"{kind.__name__}"'.encode(), 0, self.head
        while True:
            at = data.find(needle, at)
            end = data.find(b"\n", at) if at >= 0 else -1
            if end < 0:
                if len(data) >= min(self.size, CHUNK):
                    return None
                data = os.pread(self.fd, CHUNK, 0)  # long preparations, or a line that is longer than the head
                at = max(0, at)
                continue
            event = parsed(data[data.rfind(b"\n", 0, at) + 1 : end])
            if isinstance(event, kind):
                return event
            at = end

    def first_of_all(self) -> Event | None:
        """The first event of any kind."""
        return next(filter(None, map(parsed, self.head.split(b"\n")[:-1])), None)

    def last_of_all(self) -> Event | None:
        """The newest event of any known kind."""
        return next(filter(None, map(parsed, reversed(self.tail.split(b"\n")[:-1]))), None)

    def newest(
        self, kind: type[E], where: Callable[[E], bool] = lambda _: True, *, holding: str = "", since: int = 0
    ) -> Found[E] | None:
        """The last event of a kind from the byte `since` on, searched from the end backwards; see `newest`."""
        for piece in self.backwards(since):
            if found := newest(piece.data, kind, where, holding=holding):
                return Found(found.event, piece.begin + found.begin)
        return None

    def backwards(self, since: int = 0) -> Iterator[Piece]:
        """The journal from the byte `since` on, where a line begins, in pieces of whole lines, the last piece first.

        Bytes that were read begin in the middle of a line: that part is kept until the line's beginning is read.
        """
        begin, read = self.size, b""
        if since <= self.size - len(self.tail):
            begin, read = self.size - len(self.tail), self.tail
        while begin > since:
            first_line = read.find(b"\n") + 1  # where the first line begins that is here from its beginning
            if 0 < first_line < len(read):
                yield Piece(begin + first_line, read[first_line:])
                read = read[:first_line]
            if len(read) > LONGEST_LINE:
                return
            count = min(CHUNK, begin - since)
            begin -= count
            read = os.pread(self.fd, count, begin) + read
        yield Piece(begin, read)

    def tail_events(self) -> Iterator[Event]:
        """The events of the tail's whole lines, oldest first."""
        lines = self.tail.split(b"\n")[:-1]
        return filter(None, map(parsed, lines if self.is_small else lines[1:]))

    def losses(self, count: int) -> list[float]:
        """About `count` reported losses, evenly spread over the journal, oldest first."""
        if self.is_small:
            found = _LOSS.findall(self.head)
            if len(found) > count:
                found = [found[(len(found) - 1) * i // (count - 1)] for i in range(count)]
        else:
            places = [(self.size - WINDOW) * i // (count - 1) for i in range(count)]
            found = [loss for place in places if (loss := self._loss_at(place))]
        values = []
        for text in found:
            try:
                value = float(text)
            except ValueError:
                continue
            if abs(value) < float("inf"):
                values.append(value)
        return values

    def _loss_at(self, place: int) -> bytes:
        """The first loss behind a place; in the last window also the last one."""
        for width in (WINDOW, 16 * WINDOW):  # a confusion table of many classes may lie in between
            begin = min(place, max(0, self.size - width))
            if found := _LOSS.findall(os.pread(self.fd, width, begin)):
                return bytes(found[-1] if begin + width >= self.size else found[0])
        return b""
