"""What is added up between two reports: losses, examples, and the time that went by with and without training."""

import statistics
import time
from collections import deque
from dataclasses import asdict, dataclass, fields

from torch import Tensor

SPIKE = 10.0
"""A report whose loss is so many times the median of those before it is worth a word."""
RECENT = 50
"""Reports that the median is taken of."""
ENOUGH = 5
"""Reports before a median says anything."""


@dataclass
class LossMeter:
    """Sums over the examples since the last report and over those of the epoch."""

    loss: float | Tensor = 0.0
    """Sum of the loss since the last report; a tensor stays on its device until it is reported."""
    examples: int = 0
    epoch_loss: float = 0.0
    epoch_examples: int = 0

    def add(self, loss: float | Tensor, examples: int) -> None:
        """A batch with its mean loss."""
        if isinstance(loss, float):
            self.epoch_loss += loss * examples  # not with the report: when one comes depends on the clock
        if isinstance(self.loss, Tensor):
            self.loss.add_(loss, alpha=examples)
        else:
            self.loss += loss * examples
        self.examples += examples
        self.epoch_examples += examples

    def take(self) -> tuple[float, int]:
        """The mean loss since the last time and its number of examples. Waits for the device."""
        total, examples = float(self.loss), self.examples
        if isinstance(self.loss, Tensor):
            self.epoch_loss += total
        self.loss, self.examples = 0.0, 0
        return total / examples, examples

    def drop(self) -> None:
        """Leave out what came since the last report."""
        self.epoch_examples -= self.examples
        self.loss, self.examples = 0.0, 0

    def mean(self) -> float:
        """Of the epoch so far; as far as it was reported where losses stay on a device."""
        return self.epoch_loss / self.epoch_examples if self.epoch_examples else 0.0

    def state_dict(self) -> dict[str, float | int]:
        return asdict(self) | {"loss": float(self.loss)}

    def load_state_dict(self, saved: dict[str, float | int]) -> None:
        for field in fields(self):
            setattr(self, field.name, saved[field.name])


class Watch:
    """A run's time: since its beginning, of this epoch, since the last report. A clock that is set moves none of it."""

    def __init__(self) -> None:
        self.began = self.epoch_began = self.mark = self.looked = time.monotonic()
        """`looked` is when the last batch was done."""
        self._gap = 0.0
        self.waited = 0.0
        """Seconds spent waiting for data since the last report."""

    def elapsed(self) -> float:
        """Seconds since the run started, pauses included, and the time between two sessions left out."""
        return time.monotonic() - self.began

    def epoch_seconds(self) -> float:
        """Seconds of this epoch, pauses left out."""
        return time.monotonic() - self.epoch_began

    def begin_epoch(self) -> None:
        self.epoch_began = self.mark = time.monotonic()

    def leave_out(self, seconds: float, *, of_epoch: bool) -> None:
        """Time that was not spent on training: it counts towards no speed, and a pause towards no epoch either."""
        self.mark += seconds
        if of_epoch:
            self.epoch_began += seconds

    def tick(self) -> float:
        """A batch is done; the time."""
        now = time.monotonic()
        self._gap, self.looked = now - self.looked, now
        return now

    def leave_out_stop(self) -> None:
        """The process was stopped during the last batch or since: leave that time out."""
        now = time.monotonic()
        self.leave_out(self._gap + now - self.looked, of_epoch=True)
        self._gap, self.looked = 0.0, now

    def state_dict(self) -> dict[str, float]:
        return {"elapsed": self.elapsed(), "epoch_seconds": self.epoch_seconds()}

    def load_state_dict(self, saved: dict[str, float]) -> None:
        self.mark = self.looked = now = time.monotonic()
        self.began, self.epoch_began = now - saved["elapsed"], now - saved["epoch_seconds"]


class Spikes:
    """Tells once when the loss leaps, and again when it has come down and leaps anew."""

    def __init__(self) -> None:
        self._losses: deque[float] = deque(maxlen=RECENT)
        self._above = False

    def leap(self, loss: float) -> float | None:
        """The usual loss when this one is `SPIKE` times as large, else None."""
        usual = statistics.median(self._losses) if len(self._losses) >= ENOUGH else None
        self._losses.append(loss)
        above = usual is not None and loss > SPIKE * abs(usual)
        was, self._above = self._above, above
        return usual if above and not was else None
