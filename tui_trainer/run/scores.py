"""What is measured beside the loss, for people: the name of a score, its figure, and both on one line."""

import math
from collections.abc import Mapping, Sequence

from tui_trainer.run.events import ACCURACY, Evaluated, RunEnded, RunStarted, Score
from tui_trainer.text import clean, fixed, number, percent

MOST = 8
"""Scores of a run that are shown; a journal from elsewhere may name any number."""
LOSS = Score("loss", "lower", "")
"""What a run goes by that measures nothing else."""

_PRINTED = {
    "auc": "AUC",
    "auroc": "AUROC",
    "f1": "F1",
    "iou": "IoU",
    "mae": "MAE",
    "mape": "MAPE",
    "mse": "MSE",
    "r2": "R²",
    "rmse": "RMSE",
}
KNOWN = ("accuracy", "exact_match", "precision", "recall", *_PRINTED)
"""Names that can be asked for although no run has measured them."""


def of(started: RunStarted) -> tuple[Score, ...]:
    """What a run measures; the first is its result. Never empty."""
    return tuple(Score(*score) for score in started.scores[:MOST]) or (LOSS,)


def title(name: str) -> str:
    """The name of a score as it is printed: `accuracy`, `MAE`, `exact match`, `F1 micro`."""
    return " ".join(_PRINTED.get(word, word) for word in clean(name, 20).split("_"))


def figure(value: float | None, score: Score) -> str:
    """`87.9 %` of a fraction, else `0.3120` or `45,120`."""
    if score.unit == "percent":
        return percent(value)
    return number(value) if value is not None and abs(value) >= 1000 else fixed(value)


def headline(value: float | None, score: Score) -> str:
    """A result that stands alone: `87.9 %` is an accuracy, everything else has its name, as in `MAE 0.3120`."""
    shown = figure(value, score)
    return shown if score == ACCURACY else f"{title(score.name)} {shown}"


def sentence(loss: float | None, scores: Sequence[Score], measured: Mapping[str, float]) -> str:
    """All that was measured: `loss 0.3400, accuracy 87.9 %`."""
    parts = [f"loss {fixed(loss)}"]
    parts += [
        f"{title(score.name)} {figure(measured[score.name], score)}" for score in scores if score.name in measured
    ]
    return ", ".join(parts)


def measured(seen: Evaluated) -> dict[str, float]:
    """All scores of an evaluation by name; those that are not finite are left out."""
    return finite({"accuracy": seen.accuracy, **seen.scores})


def best(event: RunStarted | RunEnded) -> dict[str, float]:
    """The scores of the best epoch by name, as `measured`."""
    return finite({"accuracy": event.best_accuracy, **event.best_scores})


def finite(values: Mapping[str, float | None]) -> dict[str, float]:
    """Those values that are finite numbers."""
    return {name: value for name, value in values.items() if value is not None and math.isfinite(value)}
