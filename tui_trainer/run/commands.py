"""Commands to a run. Each is carried out after the batch in hand; the event that follows acknowledges it."""

import queue
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from tui_trainer.errors import UsageError
from tui_trainer.text import clean, did_you_mean


@dataclass(frozen=True, slots=True)
class Command:
    """An order to a run."""

    by: str = field(default="", kw_only=True)
    """Who gave it, for the other viewers; empty for whoever sits before the run itself."""


@dataclass(frozen=True, slots=True)
class Pause(Command):
    """Take no further step; answered by `RunPaused`."""


@dataclass(frozen=True, slots=True)
class Park(Command):
    """Take no further step and give the device's memory back; answered by `RunPaused(why="parked")`.

    The run stays in host memory and in `last.pt`. An evaluation that is under way is finished first.
    """


@dataclass(frozen=True, slots=True)
class Continue(Command):
    """Take steps again, after a pause or parked; answered by `RunResumed`."""


@dataclass(frozen=True, slots=True)
class Stop(Command):
    """End after the batch in hand; answered by `CheckpointSaved` and `RunEnded`."""

    signal: int = 0
    """The signal that asked for it, 0 when a person did."""
    save: bool = True
    """False ends without a last checkpoint; those saved before stay."""


@dataclass(frozen=True, slots=True)
class SaveCheckpoint(Command):
    """Save `last.pt` now; answered by `CheckpointSaved`."""


@dataclass(frozen=True, slots=True)
class Evaluate(Command):
    """Measure on the validation examples now; answered by `Evaluated`."""


@dataclass(frozen=True, slots=True)
class EndEpoch(Command):
    """Go to this epoch's validation without its remaining batches; answered by the epoch's last `BatchTrained`."""


@dataclass(frozen=True, slots=True)
class SetLearningRate(Command):
    """Use another learning rate from the next step on; answered by `LearningRateChanged`."""

    lr: float
    """Above 0. A scheduler goes on in proportion from here."""


@dataclass(frozen=True, slots=True)
class HandOver(Command):
    """Save, and let a process in the background go on from there; answered by `RunHandedOver`."""


@dataclass(frozen=True, slots=True)
class SkipBatch(Command):
    """Leave out the batch whose loss was not finite; an answer to `RunPaused(why="diverged")`."""


@dataclass(frozen=True, slots=True)
class RollBack(Command):
    """Go back to the last checkpoint; an answer to `RunPaused(why="diverged")`."""

    halve: bool = False
    """Carry on with half the learning rate."""


@dataclass(frozen=True, slots=True)
class Wake(Command):
    """The process was stopped from outside and goes on: that time counts towards no speed."""


WORDS: dict[str, type[Command]] = {
    "pause": Pause,
    "continue": Continue,
    "park": Park,
    "stop": Stop,
    "checkpoint": SaveCheckpoint,
    "evaluate": Evaluate,
    "lr": SetLearningRate,
    "end-epoch": EndEpoch,
    "detach": HandOver,
    "skip-batch": SkipBatch,
    "roll-back": RollBack,
}
"""The commands that may come from another process, by what one types. None takes a path or a name."""

_REMOTE = {kind.__name__: kind for kind in WORDS.values()}
_NOT_SENT = ("by", "signal")
HIGHEST_RATE = 1e6
"""The learning rate that may be set at most; the setting `lr` has the same bound."""


def from_words(word: str, value: str | None) -> Command:
    """The command that somebody typed: `pause`, or `lr 0.001`.

    Raises:
        UsageError: there is no such command, or its value is missing, wrong or too much.
    """
    kind = WORDS.get(word)
    if kind is None:
        hint = did_you_mean(word, WORDS)
        raise UsageError(f"{clean(word, 40)!r} is no command.{hint} There are: {', '.join(WORDS)}.")
    if kind is not SetLearningRate:
        if value is not None:
            raise UsageError(f"{word} takes no value, found {clean(value, 40)!r}.")
        return kind()
    try:
        return SetLearningRate(_rate(float(value or "")))
    except ValueError:
        raise UsageError(f"lr takes a number above 0, found {clean(value or 'nothing', 40)!r}.") from None


def to_json(command: Command) -> dict[str, Any]:
    """The command as plain values, such as `{"command": "SetLearningRate", "lr": 0.001}`."""
    values = {known.name: getattr(command, known.name) for known in fields(command) if known.name not in _NOT_SENT}
    return {"command": type(command).__name__} | values


def from_json(values: dict[str, Any], by: str) -> Command:
    """The command in plain values that came from `by`.

    Raises:
        ValueError: there is no such command, or a value is missing, wrong or too much; a sentence for whoever sent it.
    """
    name = values.get("command")
    kind = _REMOTE.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ValueError(f"there is no command {clean(name, 40)}; there are {', '.join(_REMOTE)}")
    known = {known.name for known in fields(kind) if known.name not in _NOT_SENT}
    if extra := values.keys() - known - {"command", "id"}:
        raise ValueError(f"{name} takes no {clean(min(extra, key=str), 40)!r}")
    given = {key: value for key, value in values.items() if key in known}
    if kind is SetLearningRate:
        rate = given.get("lr")
        if isinstance(rate, bool) or not isinstance(rate, (int, float)):
            raise ValueError("lr must be a number above 0")
        return SetLearningRate(_rate(rate), by=by)
    if wrong := [key for key, value in given.items() if not isinstance(value, bool)]:
        raise ValueError(f"{wrong[0]} must be true or false")
    return kind(**given, by=by)


def _rate(value: float) -> float:
    if not 0 < value <= HIGHEST_RATE:  # nor is NaN
        raise ValueError("lr must be above 0 and finite")
    return float(value)


class Inbox:
    """Commands on their way to the training thread. Any thread and any signal handler may send."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._first: deque[Command] = deque()
        """Commands that are taken before those in the queue; for the training thread alone."""
        self.stop: Stop | HandOver | None = None
        """The first command that ends the run here: checked at once by what takes long and takes no other commands."""
        self.watched_here = False
        """The screen of this process shows the run."""
        self.watched_elsewhere = 0
        """Viewers in other processes."""

    @property
    def watched(self) -> bool:
        """Somebody watches, and can answer when the run asks what to do."""
        return self.watched_here or self.watched_elsewhere > 0

    @property
    def waiting(self) -> int:
        """Commands that nobody has carried out yet, about."""
        return self._queue.qsize()

    def send(self, command: Command) -> None:
        if isinstance(command, Stop | HandOver) and not isinstance(self.stop, Stop):
            self.stop = command
        self._queue.put(command)

    def put_back(self, commands: Iterable[Command]) -> None:
        """Give `commands` out once more, ahead of all others, in their order."""
        self._first.extendleft(reversed(list(commands)))

    def take(self) -> Command | None:
        """The next command, or None at once when there is none."""
        if self._first:
            return self._first.popleft()
        return None if self._queue.empty() else self._queue.get()  # nobody else takes from it

    def wait(self) -> Command:
        """The next command, however long it takes."""
        return self._first.popleft() if self._first else self._queue.get()
