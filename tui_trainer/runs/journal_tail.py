"""Looks into a journal without reading all of it: its ends, the newest event of a kind, a few losses in between.

A line is found by the name of its kind and then read like any other, so that text of a user that looks like an event
counts for nothing. What is damaged or torn is passed over.
"""

import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from tui_trainer.run.events import Event
from tui_trainer.run.events_json import from_json

HEAD = 1 << 15
"""Bytes read from the beginning; a `RunStarted` is nearly always among them."""
TAIL = 1 << 16
"""Bytes read from the end: the ending and the test, or some minutes of a run that is under way."""
CHUNK = 1 << 20
"""Bytes read at once where more must be searched."""
LONGEST = 8 * CHUNK
"""Bytes without a line end that are no journal's."""
WINDOW = 1 << 10
"""Bytes read for one loss: some reports' worth."""

_LOSS = re.compile(rb'"BatchTrained"[^\n]{0,300}?"loss": ?([-+.\deE]+)[,}]')

E = TypeVar("E", bound=Event)


def whole(line: bytes) -> Event | None:
    """The event in a line, or None when it is damaged or of an unknown kind."""
    try:
        return from_json(line)
    except ValueError:
        return None


def newest(
    data: bytes, kind: type[E], where: Callable[[E], bool] = lambda _: True, *, word: str = ""
) -> tuple[E, int] | None:
    """The last event of a kind in `data`, and where its line begins. `word` is one that only few lines hold."""
    needle, end = f'"{word or kind.__name__}"'.encode(), len(data)
    while (at := data.rfind(needle, 0, end)) >= 0:
        end = data.rfind(b"\n", 0, at) + 1
        stop = data.find(b"\n", at)
        event = whole(data[end:stop]) if stop >= 0 else None  # a line without its end is still being written
        if isinstance(event, kind) and where(event):
            return event, end
    return None


class Glance:
    """An open journal of `size` bytes. It may grow meanwhile: what comes later is not looked at.

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

    def __enter__(self) -> "Glance":
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
            stop = data.find(b"\n", at) if at >= 0 else -1
            if stop < 0:
                if len(data) >= min(self.size, CHUNK):
                    return None
                data = os.pread(self.fd, CHUNK, 0)  # long preparations, or a line that is longer than the head
                at = max(0, at)
                continue
            event = whole(data[data.rfind(b"\n", 0, at) + 1 : stop])
            if isinstance(event, kind):
                return event
            at = stop

    def first_of_all(self) -> Event | None:
        """The first event of any kind."""
        return next(filter(None, map(whole, self.head.split(b"\n")[:-1])), None)

    def last_of_all(self) -> Event | None:
        """The newest event of any known kind."""
        return next(filter(None, map(whole, reversed(self.tail.split(b"\n")[:-1]))), None)

    def newest(
        self, kind: type[E], where: Callable[[E], bool] = lambda _: True, *, word: str = "", since: int = 0
    ) -> tuple[E, int] | None:
        """The last event of a kind after the byte `since`, and where its line begins; found from the end backwards."""
        for begin, data in self.backwards(since):
            if found := newest(data, kind, where, word=word):
                return found[0], begin + found[1]
        return None

    def backwards(self, since: int = 0) -> Iterator[tuple[int, bytes]]:
        """Whole lines, as pieces with the byte each begins at, the last piece first. At `since` a line begins."""
        begin, rest = self.size, b""
        if since <= self.size - len(self.tail):
            begin, rest = self.size - len(self.tail), self.tail
        while begin > since:
            cut = rest.find(b"\n") + 1
            if cut < len(rest) and cut:
                yield begin + cut, rest[cut:]
                rest = rest[:cut]
            if len(rest) > LONGEST:
                return
            count = min(CHUNK, begin - since)
            begin -= count
            rest = os.pread(self.fd, count, begin) + rest
        yield begin, rest

    def lines_at_the_end(self) -> list[bytes]:
        """The whole lines of the tail."""
        lines = self.tail.split(b"\n")[:-1]
        return lines if self.is_small else lines[1:]

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
