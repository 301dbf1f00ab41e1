"""Bookmarks of a run: the events that a replay can jump to, and the text shown for each."""

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
    """The kind of a bookmark. Where several fall on one column, the greatest is shown."""

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
    """Decides event by event, in order, which get a bookmark."""

    def __init__(self) -> None:
        self._best = False
        """The best checkpoint was saved since the last report."""

    def kind_of(self, event: Event, state: RunState) -> Bookmark | None:
        """The bookmark of an event, or None; `state` is the fold up to and with it."""
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
    """The text of a bookmark, one line; `state` is the fold up to and with its event."""
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
