"""Plays a recorded run: a position in its journal, the state there, a speed, and bookmarks to jump to.

Events stay on the disk; of each only its times and its byte offset are kept (24 bytes). A seek copies the nearest
earlier state of up to `WAYPOINTS` that are kept and folds on from there: it reads at most that part of the journal.
"""

import copy
import io
import math
import os
from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import fields

from tui_trainer.errors import FolderError
from tui_trainer.run.events import Event
from tui_trainer.run.events_json import from_json
from tui_trainer.run.folder import RunFolder
from tui_trainer.run.journal import follow
from tui_trainer.run.series import Series
from tui_trainer.run.state import RunState
from tui_trainer.runs.bookmarks import Bookmark, BookmarkFinder, bookmark_text
from tui_trainer.text import clean

SPEEDS = [10**power * digit for power in range(-1, 6) for digit in (1, 2, 5)][:-2]
"""The speeds that keys choose from, 0.1 to 100,000."""
WHOLE = 30.0
"""Seconds that a whole run takes at the speed it begins with."""


class Player:
    """Plays the journal of a run as it was when opened. Only when `read` is used up is all of it there.

    `now` and `duration` are seconds of play time: the times between the events, each at most `LONGEST`, so that a
    pause or a night before a resume is soon over.
    """

    LONGEST = 5.0
    """Seconds of play time between two events at most."""
    WAYPOINTS = 64
    """States kept along the way at most, each about 100 kB for a very long run."""
    LEAST = 1 << 16
    """Bytes from one of them to the next at least: to read and fold as much takes a few milliseconds."""
    BUNCH = 1_000
    """Events read at once, in about 20 ms."""

    def __init__(self, folder: RunFolder) -> None:
        """
        Raises:
            FolderError: the journal cannot be read.
        """
        self._is_held = folder.is_held()  # asked before its end is looked for: what then follows is not missed
        try:
            self._file = folder.journal.open("rb")
            self._size = os.fstat(self._file.fileno()).st_size
        except OSError as error:
            raise FolderError(f"The journal {clean(folder.journal)} cannot be read: {error.strerror}.") from error
        self.state = RunState()
        """The run at `position`; another object after each move backwards."""
        self.position = 0
        """Events that have happened."""
        self.now = 0.0
        """Seconds of play time."""
        self.speed = 1.0
        """Seconds of play time in a second."""
        self.playing = False
        self._times = array("d")
        """When each event happens, in play time."""
        self._clock = array("d")
        """When it happened, Unix seconds."""
        self._starts = array("q", [0])
        """Where its line begins in the file; one more for where the last one ends."""
        self._mark_ends = array("q")
        """The position just after each event with a bookmark."""
        self._mark_kinds = bytearray()
        self._waypoints: list[tuple[int, RunState]] = [(0, RunState())]

    def close(self) -> None:
        self._file.close()

    # --- reading ---

    def read(self) -> Iterator[float]:
        """Take in the journal; gives the part that is read, 0 to 1, now and then."""
        state, marker = RunState(), BookmarkFinder()
        start = read = 0
        apart = max(self.LEAST, self._size // self.WAYPOINTS)
        for line in self._lines():
            start, read = read, read + len(line)
            if (event := _event(line)) is None:
                continue
            if start - self._starts[self._waypoints[-1][0]] >= apart:
                self._starts[-1] = start  # past damaged lines, if any
                self._waypoints.append((len(self._times), copied(state)))
            state.apply(event)
            self._add(event, start, read)
            if kind := marker.kind_of(event, state):
                self._mark_ends.append(len(self._times))
                self._mark_kinds.append(kind)
            if len(self._times) % self.BUNCH == 0:
                yield read / self._size

    def _lines(self) -> Iterator[bytes]:
        """The whole lines that were there at the beginning."""
        place = 0
        while place < self._size:
            self._file.seek(place)  # somebody may have moved in between
            lines = self._file.readlines(1 << 16)
            for line in lines:
                place += len(line)
                if place > self._size or not line.endswith(b"\n"):
                    return
                yield line
            if not lines:
                return

    def _add(self, event: Event, start: int, end: int) -> None:
        gap = event.at - self._clock[-1] if self._clock else 0.0
        gap = min(gap, self.LONGEST) if gap > 0 else 0.0  # a clock that was set back, or is none, costs no time
        self._times.append(self.duration + gap)
        self._clock.append(event.at if math.isfinite(event.at) else self._clock[-1] if self._clock else 0.0)
        self._starts[-1] = start
        self._starts.append(end)

    # --- where it is ---

    def __len__(self) -> int:
        """Events read so far."""
        return len(self._times)

    @property
    def duration(self) -> float:
        """Seconds of play time in all."""
        return self._times[-1] if self._times else 0.0

    @property
    def at_end(self) -> bool:
        return self.position == len(self)

    @property
    def age(self) -> float:
        """Seconds of play time since the newest event that has happened."""
        return max(0.0, self.now - self._times[self.position - 1]) if self.position else 0.0

    @property
    def at(self) -> float:
        """The moment that is shown, Unix seconds."""
        return self._clock[self.position - 1] + self.age if self.position else 0.0

    # --- moving ---

    def advance(self, seconds: float) -> bool:
        """Play for so many seconds; True when something happened. It stops at the end."""
        if not self.playing:
            return False
        before = self.position
        self.now = min(self.duration, self.now + seconds * self.speed)
        self._go(max(self.position, bisect_right(self._times, self.now)))
        self.playing = not self.at_end
        return self.position != before

    def seek(self, time: float) -> RunState:
        """Go to a moment of play time, the nearest one there is."""
        self.now = min(self.duration, max(0.0, time))
        self._go(bisect_right(self._times, self.now))
        self.playing = self.playing and not self.at_end
        return self.state

    def step(self, events: int) -> RunState:
        """Go so many events on, or back when negative; it stands still there."""
        return self.go_to(self.position + events)

    def go_to(self, position: int) -> RunState:
        """Go to just after the event with that number, from 1; it stands still there."""
        self.playing = False
        self._go(min(len(self), max(min(1, len(self)), position)))
        self.now = self._times[self.position - 1] if self.position else 0.0
        return self.state

    def next_bookmark(self) -> bool:
        """Go to the next bookmark; False when there is none."""
        index = bisect_right(self._mark_ends, self.position)
        if index == len(self._mark_ends):
            return False
        self.go_to(self._mark_ends[index])
        return True

    def previous_bookmark(self) -> bool:
        """Go to the bookmark before; False when there is none."""
        index = bisect_left(self._mark_ends, self.position)
        if index == 0:
            return False
        self.go_to(self._mark_ends[index - 1])
        return True

    def _go(self, position: int) -> None:
        """Make `state` that of another position."""
        index = bisect_right(self._waypoints, position, key=lambda waypoint: waypoint[0]) - 1
        place, state = self._waypoints[index]
        if place > self.position or position < self.position:
            self.position, self.state = place, copied(state)
        if self.position < position:
            start = self._starts[self.position]
            self._file.seek(start)
            for event in follow(io.BytesIO(self._file.read(self._starts[position] - start))):
                self.state.apply(event)
            self.position = position
        if self.at_end and not self._is_held:
            self.state.lose()

    # --- speed ---

    def begin(self, speed: float | None = None) -> None:
        """Play from the first event on, at a speed that shows the whole run in about `WHOLE` seconds if none is given.

        A short run is not slowed down.
        """
        wanted = max(1.0, self.duration / WHOLE)
        self.speed = speed or min(SPEEDS, key=lambda choice: abs(math.log(choice / wanted)))
        self.seek(0.0)
        self.playing = not self.at_end

    def faster(self) -> None:
        self.speed = next((speed for speed in SPEEDS if speed > self.speed), self.speed)

    def slower(self) -> None:
        self.speed = next((speed for speed in reversed(SPEEDS) if speed < self.speed), self.speed)

    # --- marks ---

    def bookmarks_between(self, start: float, end: float) -> bytes:
        """The kinds of the bookmarks from a moment up to another, which is not part of it."""
        first, beyond = (self._marks_before(moment) for moment in (start, end))
        return bytes(self._mark_kinds[first:beyond])

    def last_bookmark(self, start: float, end: float) -> float | None:
        """The moment of the last bookmark from a moment up to another, which is not part of it."""
        first, beyond = self._marks_before(start), self._marks_before(end)
        return self._times[self._mark_ends[beyond - 1] - 1] if beyond > first else None

    def _marks_before(self, moment: float) -> int:
        return bisect_right(self._mark_ends, bisect_left(self._times, moment))

    @property
    def bookmark_text(self) -> str:
        """The text of the newest bookmark that was passed."""
        index = bisect_right(self._mark_ends, self.position) - 1
        if index < 0:
            return ""
        end = self._mark_ends[index]
        self._file.seek(self._starts[end - 1])
        event = _event(self._file.read(self._starts[end] - self._starts[end - 1]))
        return bookmark_text(event, Bookmark(self._mark_kinds[index]), self.state) if event else ""


def copied(state: RunState) -> RunState:
    """A state that can be folded on without changing `state`. What they share is never changed in place.

    A hundred times as fast as `copy.deepcopy`, which copies every row of every list.
    """
    twin = copy.copy(state)
    for known in fields(state):
        value = getattr(state, known.name)
        if isinstance(value, Series):
            value = copy.copy(value)
            value.xs, value.ys, value.weights = value.xs.copy(), value.ys.copy(), value.weights.copy()
            setattr(twin, known.name, value)
        elif isinstance(value, (list, dict, deque)):
            setattr(twin, known.name, value.copy())
    return twin


def _event(line: bytes) -> Event | None:
    """The event in a line, None when there is none that is whole and known."""
    try:
        return from_json(line)
    except ValueError:
        return None
