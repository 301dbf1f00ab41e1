"""Runs read from their folders: finished, crashed, or under way in another process, to be watched and to be steered."""

import gc
import itertools
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from tui_trainer.run.commands import Command
from tui_trainer.run.connection import Connection, Refused, own_name
from tui_trainer.run.disconnect import AfterDisconnect, after_disconnect
from tui_trainer.run.events import Event, Warned
from tui_trainer.run.folder import RunFolder
from tui_trainer.run.journal import follow, read
from tui_trainer.run.state import RunState
from tui_trainer.text import clean


class RecordedRun:
    """A run read from its folder: all that has happened, then, while somebody trains there, what happens next."""

    trains_here = False
    POLL = 0.25
    """Seconds between two reads of a journal that may grow."""
    BUNCH = 2_000
    """Events given at once at most: folding them takes a hundredth of a second, in which no key is answered."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder: RunFolder | None = folder
        self._path: Path = folder.journal
        self._closed = False
        self.caught_up = False
        """All that had happened by now was given."""

    @property
    def read_only(self) -> bool:
        """Nobody listens."""
        return True

    @property
    def earlier(self) -> RunState:
        """Nothing: all of it comes as events."""
        return RunState()

    @property
    def after_disconnect(self) -> AfterDisconnect:
        pid = self.folder.lock.pid() if self.folder else None
        return after_disconnect(pid) if pid else AfterDisconnect()

    def send(self, command: Command) -> None:
        """Nobody listens."""

    def watched(self, yes: bool) -> None:
        """It asks nothing."""

    def close(self) -> None:
        """Make `events` end soon, though the run goes on."""
        self._closed = True

    def events(self) -> Iterator[Event]:
        return itertools.chain.from_iterable(self.bunches())

    def bunches(self) -> Iterator[list[Event]]:
        """The events in lists of what is there by now, so that a screen need not wake for each of a day's events."""
        assert self.folder is not None
        with self._path.open("rb") as file:
            while not self._closed:
                held = self.folder.is_held()  # asked before reading: what is written until it lets go is then seen
                found = follow(file)
                while not self._closed and (bunch := _taken(found, self.BUNCH)):
                    yield bunch
                self.caught_up = True
                if not held:
                    return
                yield from self._between_reads()
                time.sleep(self.POLL)

    def _between_reads(self) -> Iterator[list[Event]]:
        """What is done between two reads of the journal; its events join those of the run."""
        yield from ()

    def so_far(self) -> list[Event]:
        """Everything that has happened until now."""
        return list(read(self._path))


def _taken(events: Iterator[Event], count: int) -> list[Event]:
    """The next so many events, made while Python's garbage collector rests.

    They hold no cycles, and with thousands of them new it would look through the whole program again and again: a
    third of the time of reading, and a tenth of a second in which no thread runs.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return list(itertools.islice(events, count))
    finally:
        if collects:
            gc.enable()


class AttachedRun(RecordedRun):
    """A run that trains in another process: read from its folder, and steered through its control socket."""

    def __init__(self, folder: RunFolder) -> None:
        super().__init__(folder)
        self._connection: Connection | None = None
        self._watches = False
        self._refusal = ""
        """Why the last try to connect was refused; told once."""
        self._tried = False
        """It was tried to connect. Until then commands wait: a key may come with the first picture."""
        self._waiting: deque[Command] = deque()

    @property
    def read_only(self) -> bool:
        """True while there is no connection to the process that trains, and none is to be expected."""
        return self._connection is None and self._tried

    def send(self, command: Command) -> None:
        if self._connection is None and not self._tried:
            self._waiting.append(command)
        elif (connection := self._connection) is not None:
            try:
                connection.send(command)
            except OSError:
                self._disconnect()

    def watched(self, yes: bool) -> None:
        self._watches = yes
        if not yes:
            self._disconnect()

    def close(self) -> None:
        super().close()
        self._disconnect()

    def bunches(self) -> Iterator[list[Event]]:
        try:
            yield from super().bunches()
        finally:
            self._tried = True
            self._disconnect()

    def _between_reads(self) -> Iterator[list[Event]]:
        """Connect as soon as there is somebody, and tell what was refused."""
        assert self.folder is not None
        if self._connection is None and not self._closed:
            try:
                self._connection = Connection(self.folder.path, own_name("viewer"), watches=self._watches)
                self._refusal = ""
                while self._waiting:
                    self.send(self._waiting.popleft())
            except Refused as refused:
                text = str(refused)
                if text != self._refusal and "cannot be reached" not in text:
                    yield [Warned(text=text)]
                self._refusal = text
            self._tried = True
        if (connection := self._connection) is not None:
            try:
                answers = connection.answers()
            except OSError:
                self._disconnect()
                return
            for answer in answers:
                if "error" in answer:
                    yield [Warned(text=f"the run refuses: {clean(answer['error'])}")]

    def _disconnect(self) -> None:
        if (connection := self._connection) is not None:
            self._connection = None
            connection.close()
