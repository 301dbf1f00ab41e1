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


class Bookmark(IntEnum):
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


class BookmarkFinder:
    """Finds the events worth a mark, one after the other."""

    def __init__(self) -> None:
        self._best = False
        """The best checkpoint was saved since the last report."""

    def kind_of(self, event: Event, state: RunState) -> Bookmark | None:
        """The mark for an event, `state` being that after it."""
        match event:
            case BatchTrained():
                self._best = False
            case CheckpointSaved() if event.kind == "best":
                if state.batch != state.batches:
                    return Bookmark.BEST
                self._best = True  # the end of the epoch comes at once; one mark for both
            case EpochEnded():
                return Bookmark.BEST if self._best else Bookmark.EPOCH
            case Evaluated() if event.split == "test":
                return Bookmark.TESTED
            case RunStarted():
                return Bookmark.STARTED if event.resumed_from is None else Bookmark.WENT_ON
            case LearningRateChanged():
                return Bookmark.RATE
            case RunPaused():
                return Bookmark.PAUSED
            case RunResumed():
                return Bookmark.WENT_ON
            case Warned():
                return Bookmark.WARNED
            case RunEnded():
                return Bookmark.FAILED if event.reason in ("diverged", "failed") else Bookmark.ENDED
        return None


def bookmark_text(event: Event, kind: Bookmark, state: RunState) -> str:
    """What a mark says of a run that is in `state`, on one line."""
    match event:
        case EpochEnded():
            return f"epoch {event.epoch:,} ended" + (", the best" if kind is Bookmark.BEST else "")
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
