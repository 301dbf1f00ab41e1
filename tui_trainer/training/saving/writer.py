"""Checkpoints written in a thread of their own, and how the run's events keep their order meanwhile.

The loop yields an `Item`: an event, a `Save` that will be one, or None when a save may be done by now. `in_order` gives
the events, each once all ahead of it have happened. The training waits for the disk in two places: `Writer.begin`, when
two checkpoints wait already, and `Writer.wait`, which the loop calls by `flush_saves` alone.
"""

import dataclasses
from collections import deque
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor

from tui_trainer.run.events import CheckpointSaved, Event


class Save:
    """A checkpoint that is being written: it holds a place among a run's events until there is something to tell."""

    def __init__(self, written: "Future[CheckpointSaved]", failed: Callable[[OSError], Event]) -> None:
        self._written, self._failed = written, failed

    def is_done(self) -> bool:
        return self._written.done()

    def wait(self) -> None:
        """Until it is on the disk, or has failed."""
        futures.wait([self._written])

    def event(self) -> Event:
        """That it was saved, or what `failed` makes of the reason why not. Waits for the disk."""
        try:
            return self._written.result()
        except OSError as error:
            return self._failed(error)


class Writer:
    """Writes checkpoints in a thread of its own, one after the other, while the next steps are taken.

    It handles bytes and never a tensor: a second thread with tensor operations would halve the speed of the first.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoints")
        self._unfinished: deque[Save] = deque()

    def begin(self, write: Callable[[], CheckpointSaved], failed: Callable[[OSError], Event]) -> Save:
        """Have `write` called once all before it are done; at most two wait, since each holds a whole checkpoint."""
        while len(self._unfinished) > 1:
            self._unfinished.popleft().wait()
        save = Save(self._thread.submit(write), failed)
        self._unfinished.append(save)
        return save

    def news(self) -> bool:
        """True once after a save was done."""
        if not self._unfinished or not self._unfinished[0].is_done():
            return False
        self._unfinished.popleft()
        return True

    def wait(self) -> None:
        """Until everything is on the disk, or has failed."""
        while self._unfinished:
            self._unfinished.popleft().wait()

    def close(self) -> None:
        """After the last save."""
        self._thread.shutdown()


Item = Event | Save | None
"""What the loop yields: an event, a save that will be one, or nothing but that a save may be done by now."""


def in_order(items: Iterator[Item]) -> Iterator[Event]:
    """The events, each once all ahead of it have happened: what comes behind a save waits until that is on the disk.

    What waited is dated no earlier than what was told before it.
    """
    held: deque[Event | Save] = deque()
    latest = 0.0

    def release() -> Event:
        nonlocal latest
        first = held.popleft()
        event = first.event() if isinstance(first, Save) else first
        if event.at < latest:
            event = dataclasses.replace(event, at=latest)
        latest = event.at if held else 0.0
        return event

    try:
        for item in items:
            if item is not None:
                held.append(item)
            while held and not (isinstance(held[0], Save) and not held[0].is_done()):
                yield release()
    except Exception:
        while held:
            yield release()
        raise
    while held:
        yield release()
