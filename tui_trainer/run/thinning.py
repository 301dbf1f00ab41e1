"""What of the events of a run is worth a line: a day of short epochs must fit in a journal that opens at once."""

from collections.abc import Iterable, Iterator

from tui_trainer.run.events import Evaluated, Event, Preparing
from tui_trainer.run.state import RunState

MOST = 2.5
"""Seconds from one report by the clock to the next, in a long run."""
SHORT = 3
"""What is left of an epoch gets no report before its last batch when it takes less than so many intervals."""


def report_interval(elapsed: float, most: float = MOST) -> float:
    """Seconds from one report by the clock to the next, so many seconds into a run: 0.2 at first, then up to `most`."""
    return min(most, max(0.2, elapsed / 400))


def thinned(events: Iterable[Event], state: RunState) -> Iterator[Event]:
    """The events without what nobody could see; `state` is all that was told before."""
    for event in events:
        if isinstance(event, Preparing) and event.what == "validation" and (state.validation_seconds or 1.0) < 1.0:
            continue  # it is over before anybody has read it
        if isinstance(event, Evaluated) and not _tables_are_due(event, state):
            event = event.without_tables()
        yield event


def _tables_are_due(event: Evaluated, state: RunState) -> bool:
    """True but for a validation that comes soon after one whose tables were told.

    Soon is 10 s for a table of 10 by 10, more for a larger one as it has more cells, and in a run's first minutes less:
    a sixtieth of the time so far. What was asked for, the last epoch and the test are told whole.
    """
    last = state.evaluation
    if last is None or event.split != "valid" or state.batch != state.batches or event.epoch == state.total_epochs:
        return True
    return not 0 <= event.at - last.at < min(event.cells / 10, state.elapsed / 60)
