"""Yes or no: one output an example, how sure the model is of the second of two classes."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tui_trainer.run.events import ACCURACY, Score
from tui_trainer.training.data.balance import of_labels
from tui_trainer.training.data.examples import Data
from tui_trainer.training.step.losses import LossFunction
from tui_trainer.training.tasks import Task


def smoothed(y: Tensor, smoothing: float) -> Tensor:
    """Answers `y`, 0 or 1, moved by half of `smoothing` towards each other."""
    return y * (1 - smoothing) + smoothing / 2 if smoothing else y


def bce(smoothing: float, weights: Tensor | None = None) -> LossFunction:
    """Minus the log-probability of the answers, nats each, a mean over all (`torch.nn.BCEWithLogitsLoss`).

    `weights` [K] say how much a yes to each question counts beside a no.
    """
    return lambda outputs, y: F.binary_cross_entropy_with_logits(outputs, smoothed(y, smoothing), pos_weight=weights)


def mse(smoothing: float) -> LossFunction:
    """Squared distance of the sigmoid probabilities from the answers, a mean over all."""
    return lambda outputs, y: F.mse_loss(outputs.sigmoid(), smoothed(y, smoothing))


def l1(smoothing: float) -> LossFunction:
    """Absolute distance of the sigmoid probabilities from the answers, a mean over all."""
    return lambda outputs, y: F.l1_loss(outputs.sigmoid(), smoothed(y, smoothing))


YES_OR_NO: Mapping[str, Callable[[float], LossFunction]] = {"bce": bce, "mse": mse, "l1": l1}
"""Losses of raw outputs [N, K] and answers y [N, K], float32 0 or 1."""


class Answers:
    """Counts of [true][predicted], and all outputs, for the area under the ROC curve: 5 bytes an example."""

    def __init__(self, _: Data, device: torch.device) -> None:
        self._counts = torch.zeros(4, dtype=torch.int64, device=device)
        self._outputs: list[Tensor] = []
        self._positive: list[Tensor] = []

    def add(self, outputs: Tensor, y: Tensor) -> None:
        positive, said = y[:, 0] > 0.5, outputs[:, 0] > 0  # a probability above a half
        self._counts.scatter_add_(0, 2 * positive.long() + said, torch.ones_like(positive, dtype=torch.int64))
        self._outputs.append(outputs[:, 0].float().clone())
        self._positive.append(positive)

    def figures(self) -> dict[str, Any]:
        right_no, wrong_yes, wrong_no, right_yes = self._counts.tolist()
        scores = {
            "precision": share(right_yes, right_yes + wrong_yes),
            "recall": share(right_yes, right_yes + wrong_no),
            "f1": share(2 * right_yes, 2 * right_yes + wrong_yes + wrong_no),
        }
        area = area_under_roc(torch.cat(self._outputs).cpu(), torch.cat(self._positive).cpu())
        return {
            "accuracy": share(right_no + right_yes, right_no + wrong_yes + wrong_no + right_yes),
            "confusion": ((right_no, wrong_yes), (wrong_no, right_yes)),
            "scores": scores if area is None else scores | {"auc": area},
        }


def share(part: int, whole: int) -> float:
    """`part` of `whole` as a fraction, 0 when there is nothing to be a part of."""
    return part / whole if whole else 0.0


def area_under_roc(outputs: Tensor, positive: Tensor) -> float | None:
    """How often a positive example has a larger output than a negative one, equal ones counted half: exactly.

    Outputs [N] float32 and a mask [N]. None when one of the two kinds is missing, or an output is not a number.
    """
    yes = int(positive.sum())
    no = len(positive) - yes
    if not yes or not no or bool(outputs.isnan().any()):
        return None
    values, place = torch.unique(outputs, return_inverse=True)
    yes_at = torch.bincount(place[positive], minlength=len(values)).double()
    no_at = torch.bincount(place[~positive], minlength=len(values)).double()
    no_below = no_at.cumsum(0) - no_at
    return float((yes_at * (no_below + no_at / 2)).sum() / (yes * no))


def _misfit(data: Data) -> str:
    return "" if len(data.classes) == 2 else f"it has {len(data.classes)} classes, and yes or no needs two"


TASK = Task(
    name="binary",
    kind="class",
    losses=YES_OR_NO,
    scores=(ACCURACY, Score("precision"), Score("recall"), Score("f1"), Score("auc", unit="")),
    outputs=lambda _: 1,
    meter=Answers,
    misfit=_misfit,
    weights=of_labels,
    weighted={"bce": bce},
    targets=lambda y: y[:, None].float(),
    probabilities=lambda outputs: torch.cat([(-outputs).sigmoid(), outputs.sigmoid()], 1),
    said=lambda outputs: (outputs[:, 0] > 0).long(),
    meaning="one raw output; sigmoid gives the probability of the second class",
)
