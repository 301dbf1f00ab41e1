"""Iterates a run in a thread of its own, so that neither the screen nor the training waits for the other."""

import threading
import time
import traceback
from collections.abc import Callable, Iterable

from tui_trainer.errors import TrainerError
from tui_trainer.run.events import Event, RunEnded, RunHandedOver, best_fields
from tui_trainer.run.interface import Run
from tui_trainer.run.recorded import RecordedRun


class Feed:
    """Starts the thread that iterates `run`: for a local run, the training thread.

    Events wait here until they are taken. `wake` is called from the thread when the first of them arrives, and not
    again before they are taken, so that at most one message is on its way to the screen.

    A run that is read from its folder may have a day of events at once. They come in bunches, and the next is read
    when the last was taken: memory stays small, and keys are answered in between. A run that trains never waits.
    """

    def __init__(self, run: Run, wake: Callable[[], None]) -> None:
        self.run = run
        self._wake: Callable[[], None] | None = wake
        self._waiting: list[Event] = []
        self._woken = False
        self._lock = threading.Lock()
        self._taken = threading.Event()
        self.given = 0
        """Events taken so far."""
        self.since = time.time()
        """When this viewer began, Unix seconds; earlier events are history."""
        self.ended: RunEnded | None = None
        """The last event, once it has come."""
        self.handed_over = False
        """A process in the background goes on with the run."""
        # Not a daemon when it trains: a closed terminal ends the screen, not the run.
        self.thread = threading.Thread(target=self._iterate, name="training", daemon=not run.trains_here)

    def start(self) -> None:
        self.run.watched(True)
        self.thread.start()

    @property
    def caught_up(self) -> bool:
        """What comes now happens now: the history of a run that is read from its folder was given."""
        return not isinstance(self.run, RecordedRun) or self.run.caught_up

    def take(self) -> list[Event]:
        """The events since the last call, in order."""
        with self._lock:
            events, self._waiting = self._waiting, []
            self._woken = False
            self.given += len(events)
            self._taken.set()
        return events

    def leave(self) -> None:
        """Stop watching: the run goes on, its events are dropped here (they are in the journal)."""
        self.run.watched(False)
        with self._lock:
            self._wake = None
            self._waiting.clear()
            self._taken.set()

    def _iterate(self) -> None:
        try:
            for events in self._bunches():
                self._deliver(events)
        except BaseException as error:  # the run never began: there is no folder, or somebody else holds it
            known = isinstance(error, TrainerError)
            text = str(error) if known else f"{type(error).__name__}: {error}. This is a bug in tui-trainer."
            if self.run.folder:
                self.run.folder.write_log(traceback.format_exc())
            failed = RunEnded(
                reason="failed",
                error=text,
                exit_code=error.exit_code if isinstance(error, TrainerError) else 1,
                **best_fields(None),
                seconds=0.0,
            )
            self._deliver([failed])

    def _bunches(self) -> Iterable[list[Event]]:
        """The run's events, as many at once as come at once."""
        if isinstance(self.run, RecordedRun):
            return self.run.bunches()
        return ([event] for event in self.run.events())

    def _deliver(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, RunEnded):
                self.ended = event
            self.handed_over = isinstance(event, RunHandedOver)
        with self._lock:
            wake = self._wake
            if wake is None:
                return
            self._waiting += events
            self._taken.clear()
            woken, self._woken = self._woken, True
        if not woken:
            try:
                wake()
            except Exception:  # the screen is gone or going: that is no reason to stop training
                self.leave()
        if not self.run.trains_here:
            self._taken.wait()
