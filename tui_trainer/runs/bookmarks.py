"""The places in a run that are worth a jump: which events they are, and what they say."""

from enum import IntEnum

from tui_trainer.run.events import (
    BatchTrained,
    CheckpointSaved,
    EpochEnded,
    Evaluated,
    Event,
    LearningRateChanged,
    RunEnded,
    RunPaused,
    RunResumed,
    RunStarted,
    Warned,
)
from tui_trainer.run.state import RunState
from tui_trainer.text import clean, number


class Mark(IntEnum):
    """Why a place is worth a jump; the greater says more about a run."""

    STARTED = 1
    EPOCH = 2
    """An epoch ended."""
    BEST = 3
    """An epoch ended that was the best so far."""
    TESTED = 4
    RATE = 5
    """The learning rate jumped."""
    WENT_ON = 6
    """After a pause, or carried on by another process."""
    PAUSED = 7
    WARNED = 8
    ENDED = 9
    FAILED = 10


class Marker:
    """Finds the events worth a mark, one after the other."""

    def __init__(self) -> None:
        self._best = False
        """The best checkpoint was saved since the last report."""

    def kind_of(self, event: Event, state: RunState) -> Mark | None:
        """The mark for an event, `state` being that after it."""
        match event:
            case BatchTrained():
                self._best = False
            case CheckpointSaved() if event.kind == "best":
                if state.batch != state.batches:
                    return Mark.BEST
                self._best = True  # the end of the epoch comes at once; one mark for both
            case EpochEnded():
                return Mark.BEST if self._best else Mark.EPOCH
            case Evaluated() if event.split == "test":
                return Mark.TESTED
            case RunStarted():
                return Mark.STARTED if event.resumed_from is None else Mark.WENT_ON
            case LearningRateChanged():
                return Mark.RATE
            case RunPaused():
                return Mark.PAUSED
            case RunResumed():
                return Mark.WENT_ON
            case Warned():
                return Mark.WARNED
            case RunEnded():
                return Mark.FAILED if event.reason in ("diverged", "failed") else Mark.ENDED
        return None


def words_of(event: Event, kind: Mark, state: RunState) -> str:
    """What a mark says of a run that is in `state`, on one line."""
    match event:
        case EpochEnded():
            return f"epoch {event.epoch:,} ended" + (", the best" if kind is Mark.BEST else "")
        case CheckpointSaved():
            return f"the best so far, step {event.step:,}"
        case Evaluated():
            return f"tested: {state.headline(event)}"
        case RunStarted():
            return "started" if event.resumed_from is None else f"carries on in epoch {event.epoch:,}"
        case LearningRateChanged():
            return f"learning rate {number(event.lr)} ({clean(event.by, 20)})"
        case RunPaused():
            return f"paused: {clean(event.text)}" if event.text else "paused"
        case RunResumed():
            return "carries on"
        case Warned():
            return clean(event.text)
        case RunEnded():
            return clean(event.reason.replace("_", " "), 20)
    return ""
