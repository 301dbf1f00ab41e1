"""Thins the events of a long run of short epochs, so that the journal of a day can be read in a second."""

from collections.abc import Iterable, Iterator

from tui_trainer.run.events import Evaluated, Event, Preparing
from tui_trainer.run.state import RunState

MOST = 2.5
"""Seconds between two reports in a long run, at most."""
SHORT = 3
"""What is left of an epoch gets no report before its last batch when it takes less than so many intervals."""


def report_interval(elapsed: float, most: float = MOST) -> float:
    """Seconds between two reports, `elapsed` seconds into a run: 0.2 at first, then a 400th of it, up to `most`."""
    return min(most, max(0.2, elapsed / 400))


def thinned(events: Iterable[Event], state: RunState) -> Iterator[Event]:
    """The events without short validations' `Preparing` and most tables; `state` is the fold of all events before."""
    for event in events:
        if isinstance(event, Preparing) and event.what == "validation" and (state.validation_seconds or 1.0) < 1.0:
            continue  # it is over before anybody has read it
        if isinstance(event, Evaluated) and not _tables_are_due(event, state):
            event = event.without_tables()
        yield event


def _tables_are_due(event: Evaluated, state: RunState) -> bool:
    """False for a validation that follows too soon on one with tables.

    Too soon is within 0.1 s a cell (10 s for a table of 10 by 10), and at most a sixtieth of the time that the run has
    taken so far. A validation on request, that of the last epoch, and the test always have their tables.
    """
    last = state.evaluation
    if last is None or event.split != "valid" or state.batch != state.batches or event.epoch == state.total_epochs:
        return True
    return not 0 <= event.at - last.at < min(event.cells / 10, state.elapsed / 60)
