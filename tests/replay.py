"""Recorded journals as runs: the way to arrange a state without training."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

from tui_trainer.run import journal
from tui_trainer.run.commands import Command, Inbox, Stop
from tui_trainer.run.disconnect import AfterDisconnect
from tui_trainer.run.events import (
    BatchTrained,
    EpochEnded,
    Evaluated,
    Event,
    Preparing,
    RunHandedOver,
    RunPaused,
    RunStarted,
)
from tui_trainer.run.folder import RunFolder
from tui_trainer.run.state import RunState

JOURNALS = Path(__file__).parent / "journals"


def events(name: str) -> list[Event]:
    """Every event of a recorded run."""
    return list(journal.read(JOURNALS / f"{name}.jsonl"))


def until(name: str, wanted: Callable[[Event], bool]) -> list[Event]:
    """A recorded run up to and with the first event that is wanted."""
    seen: list[Event] = []
    for event in events(name):
        seen.append(event)
        if wanted(event):
            return seen
    raise LookupError(f"no such event in {name}")


def paused() -> list[Event]:
    """A run that stands still in the middle of an epoch, with some behind it."""
    return until("finished", lambda event: isinstance(event, RunPaused))


def parked() -> list[Event]:
    """The same, with its memory given back."""
    events = paused()
    return [*events, RunPaused(at=events[-1].at, why="parked", text="412.6 MB of cuda:0 given back")]


def waiting() -> list[Event]:
    """A run that is not its turn yet."""
    return [Preparing(what="waiting for 2026-10-25T11-24-46-mlp-fashion-mnist to end: epoch 3 of 10", at=1792927487.0)]


def training() -> list[Event]:
    """A run just after its second validation."""
    seen = 0

    def second(event: Event) -> bool:
        nonlocal seen
        seen += isinstance(event, Evaluated)
        return seen == 3

    return until("finished", second)


def carried_on() -> list[Event]:
    """A run that is carried on with other settings and waits for a yes."""
    events = until("finished", lambda event: type(event).__name__ == "EpochEnded")
    (started,) = (event for event in events if isinstance(event, RunStarted))
    last = events[-1].at
    changed = (("epochs", "5", "30"), ("lr", "0.001", "0.0003"), ("scheduler", "none", "cosine"))
    again = dataclasses.replace(
        started,
        at=last + 1,
        settings=started.settings | {"epochs": 30, "lr": 3e-4, "scheduler": "cosine"},
        resumed_from="checkpoints/last.pt",
        epoch=1,
        batch=next(event.batch for event in reversed(events) if hasattr(event, "batch")),
        step=next(event.step for event in reversed(events) if hasattr(event, "step")),
        lr=3e-4,
        changed=changed,
        best_epoch=1,
        best_loss=0.45,
        best_accuracy=0.83,
    )
    return [*events, Preparing(what="checkpoint", at=last + 1), again, RunPaused(at=last + 1)]


def attached() -> list[Event]:
    """A run that was handed over to the background, and that a viewer in another terminal has paused."""
    before = until("finished", lambda event: isinstance(event, EpochEnded))
    after = paused()[len(before) :]
    (started,) = (event for event in before if isinstance(event, RunStarted))
    at, step = before[-1].at, next(event.step for event in reversed(before) if isinstance(event, BatchTrained))
    batches = next(event.batches for event in before if isinstance(event, BatchTrained))
    again = dataclasses.replace(
        started,
        at=at,
        resumed_from="checkpoints/last.pt",
        epoch=1,
        batch=batches,
        step=step,
        best_epoch=1,
        best_loss=next(event.loss for event in before if isinstance(event, Evaluated)),
        best_accuracy=next(event.accuracy for event in before if isinstance(event, Evaluated)),
    )
    last = dataclasses.replace(after[-1], by="viewer on pts/3")
    return [*before, RunHandedOver(at=at), again, *after[:-1], last]


def asking(why: str, text: str) -> list[Event]:
    """A run that has come upon something and asks."""
    events = training()
    return [*events, RunPaused(at=events[-1].at, why=why, text=text)]


class ReplayedRun:
    """Gives out recorded events at once, then waits as a live run would; keeps the commands it is sent."""

    after_disconnect = AfterDisconnect()
    read_only = False

    def __init__(self, recorded: list[Event]) -> None:
        self.trains_here = not any(isinstance(event, RunHandedOver) for event in recorded)
        self._recorded = recorded
        self._inbox = Inbox()
        self.folder: RunFolder | None = None
        self.sent: list[Command] = []
        self._closed = False

    @property
    def earlier(self) -> RunState:
        return RunState()

    def watched(self, yes: bool) -> None:
        self._inbox.watched_here = yes

    def send(self, command: Command) -> None:
        self.sent.append(command)
        self._inbox.send(command)

    def close(self) -> None:
        self._closed = True
        self._inbox.send(Stop())

    def events(self) -> Iterator[Event]:
        yield from self._recorded
        while not self._closed:
            self._inbox.wait()
