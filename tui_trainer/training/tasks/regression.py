"""Numbers: one output for each, in standard deviations of the training targets where these are standardised."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tui_trainer.errors import ModelError
from tui_trainer.run.events import Score
from tui_trainer.training.data.examples import Data, moments
from tui_trainer.training.step.losses import LossFunction
from tui_trainer.training.tasks import Task

STEPS = 24
"""Steps of a histogram, each way."""
FINER = 128
"""Steps in which residuals are counted for one that is shown: a power of 2."""
FAR = 3.0
"""Standard deviations beyond which targets are counted in the outermost step."""
INSIDE = 0.99
"""Share of the residuals that should lie within the spread that is shown."""


def _of(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[float], LossFunction]:
    def make(smoothing: float) -> LossFunction:
        if smoothing:
            raise ModelError("label_smoothing: numbers have no labels to smooth; set it to 0 for regression.")
        return loss

    return make


class Errors:
    """Sums of the errors of each number, and histograms, on the device: their size does not grow with the data.

    All is counted in standard deviations from the mean of the training targets, and told in the targets' own units;
    of several numbers, which share no unit, the histograms stay in standard deviations.
    """

    def __init__(self, data: Data, device: torch.device) -> None:
        targets = data.train.targets
        mean, std = moments(targets)
        low = max(-FAR, float(((targets.amin(0) - mean) / std).min()))
        high = min(FAR, float(((targets.amax(0) - mean) / std).max()))
        self._low, self._high = (low, high) if high > low else (-1.0, 1.0)
        self._mean, self._std = mean.float().to(device), std.float().to(device)
        self._standardised = bool(data.target_mean)
        self._widest = self._high - self._low
        exact = torch.float32 if device.type == "mps" else torch.float64  # which has no other
        self._sums = torch.zeros(4, len(mean), dtype=exact, device=device)
        self._density = torch.zeros(STEPS * STEPS, dtype=torch.int64, device=device)
        self._residuals = torch.zeros(STEPS * FINER, dtype=torch.int64, device=device)
        self._examples = 0

    def add(self, outputs: Tensor, y: Tensor) -> None:
        outputs = outputs.float()
        if not self._standardised:
            outputs, y = (outputs - self._mean) / self._std, (y - self._mean) / self._std
        errors = outputs - y
        self._sums += torch.stack([part.to(self._sums.dtype).sum(0) for part in (errors.abs(), errors**2, y, y**2)])
        true, said = (_step((part - self._low) / self._widest, STEPS) for part in (y, outputs))
        _count(self._density, true * STEPS + said)
        _count(self._residuals, _step((errors / self._widest + 1) / 2, STEPS * FINER))
        self._examples += len(y)

    def figures(self) -> dict[str, Any]:
        n, std = self._examples, self._std.to(self._sums)
        absolute, squares, total, total_squares = self._sums
        varied = total_squares - total**2 / n
        scores = {
            "mae": float((std * absolute / n).mean()),
            "rmse": float((std * (squares / n).sqrt()).mean()),
            "r2": float((1 - squares / varied).mean()),
        }
        residuals, closer = _folded(self._residuals.tolist())
        unit, middle = (float(std), float(self._mean)) if len(std) == 1 else (1.0, 0.0)
        return {
            "scores": {name: value for name, value in scores.items() if math.isfinite(value)},
            "density": tuple(tuple(row) for row in self._density.view(STEPS, STEPS).tolist()),
            "residuals": residuals,
            "low": self._low * unit + middle,
            "high": self._high * unit + middle,
            "spread": self._widest / closer * unit,
        }


def _step(part: Tensor, steps: int) -> Tensor:
    """Which of so many equal steps from 0 to 1 each number lies in; those beyond lie in the outermost."""
    return (part.nan_to_num(0.5) * steps).clamp(0, steps - 1).long()


def _count(counts: Tensor, cells: Tensor) -> None:
    counts.scatter_add_(0, cells.flatten(), torch.ones_like(cells.flatten()))  # bincount waits for the device


def _folded(fine: list[int]) -> tuple[tuple[int, ...], int]:
    """Counts in `STEPS` steps of the closest look that still holds nearly all, and how many times closer that is."""
    closer, wanted = FINER, INSIDE * sum(fine)
    while closer > 1 and sum(_middle(fine, closer)) < wanted:
        closer //= 2
    middle, each = _middle(fine, closer), FINER // closer
    beyond = (len(fine) - len(middle)) // 2
    counts = [sum(middle[i * each : (i + 1) * each]) for i in range(STEPS)]
    counts[0] += sum(fine[:beyond])
    counts[-1] += sum(fine[len(fine) - beyond :])
    return tuple(counts), closer


def _middle(fine: list[int], closer: int) -> list[int]:
    beyond = (len(fine) - len(fine) // closer) // 2
    return fine[beyond : len(fine) - beyond]


TASK = Task(
    name="regression",
    kind="number",
    losses={"mse": _of(F.mse_loss), "l1": _of(F.l1_loss), "huber": _of(F.huber_loss)},
    scores=(Score("mae", "lower", ""), Score("rmse", "lower", ""), Score("r2", "higher", "")),
    outputs=lambda data: len(data.classes),
    meter=Errors,
    meaning="one output a number",
)
"""Losses are means over all numbers, of several too. `mae` and `rmse` are in the target's own unit, of several numbers
the mean of each one's; `r2` is the share of the variance that is explained, 1 at best, 0 for always saying the mean."""
