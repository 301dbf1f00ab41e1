"""Which epoch is best: the validation loss or score that the setting `monitor` names."""

import math
from collections.abc import Sequence

from tui_trainer.run.events import Evaluated, Score
from tui_trainer.settings.schema import Settings


class Monitor:
    """Compares validations by what is monitored."""

    def __init__(self, settings: Settings, scores: Sequence[Score]) -> None:
        """`scores` are those of the task."""
        self._name = settings.monitor.removeprefix("valid_")
        self._min_delta = settings.min_delta
        self.wants_more = any(score.name == self._name and score.better == "higher" for score in scores)
        """True when more of it is better."""

    def value(self, result: Evaluated) -> float:
        """What decides which epoch is best; what was not measured is NaN, which is never better."""
        value = result.score(self._name)
        return math.nan if value is None else value

    def is_better(self, result: Evaluated, best: Evaluated | None) -> bool:
        """True when `result` beats the best so far."""
        before = self.value(best) if best else None
        return is_better(self.value(result), before, wants_more=self.wants_more, min_delta=self._min_delta)


def is_better(value: float, best: float | None, *, wants_more: bool, min_delta: float) -> bool:
    """True when `value` beats `best` by more than `min_delta`. What is not finite never beats anything."""
    if not math.isfinite(value):
        return False
    if best is None:
        return True
    return value > best + min_delta if wants_more else value < best - min_delta
