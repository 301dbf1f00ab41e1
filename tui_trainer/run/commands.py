"""What a run can be told. A command is carried out after the batch in hand; the event that follows is its answer."""

import queue
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """An order to a run."""


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


class Inbox:
    """Commands on their way to the training thread. Any thread and any signal handler may send."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._first: deque[Command] = deque()
        """Commands that are looked at before those in the queue; for the training thread alone."""
        self.stop: Stop | None = None
        """The first order to stop: seen at once by what takes long and takes no other orders."""
        self.watched = False
        """Somebody looks at a screen, and can answer when the run asks what to do."""

    def send(self, command: Command) -> None:
        if isinstance(command, Stop) and self.stop is None:
            self.stop = command
        self._queue.put(command)

    def put_back(self, commands: Iterable[Command]) -> None:
        """Give `commands` out once more, ahead of all others, in their order."""
        self._first.extendleft(reversed(list(commands)))

    def take(self) -> Command | None:
        """The next command, or None at once when there is none."""
        try:
            return self._first.popleft() if self._first else self._queue.get_nowait()
        except queue.Empty:
            return None

    def wait(self) -> Command:
        """The next command, however long it takes."""
        return self._first.popleft() if self._first else self._queue.get()
