"""The loss functions for class labels. Each takes raw outputs [N, C] and class indices [N], and gives the mean of N.

In place of indices they take the share of each class [N, C], which mixed examples have.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""(outputs [N, C] float, y [N] int64 or [N, C] float) -> the mean over the N examples, a scalar."""


def targets(y: Tensor, classes: int, smoothing: float) -> Tensor:
    """`y` [N] or [N, C] as distributions [N, C]: 1 - s of them, and s spread evenly over all C."""
    shares = y if y.is_floating_point() else F.one_hot(y, classes).float()
    return shares * (1 - smoothing) + smoothing / classes


def cross_entropy(smoothing: float, weights: Tensor | None = None) -> LossFunction:
    """Minus the log-probability of the target, nats per example (`torch.nn.CrossEntropyLoss`).

    `weights` [C] say how much each class counts: the mean is the weighted one.
    """
    return lambda outputs, y: F.cross_entropy(outputs, y, weights, label_smoothing=smoothing)


def mse(smoothing: float) -> LossFunction:
    """Squared distance of the softmax probabilities from the one-hot or smoothed target, a mean over N and C.

    C times this is the Brier score.
    """
    return lambda outputs, y: F.mse_loss(outputs.softmax(1), targets(y, outputs.shape[1], smoothing))


def l1(smoothing: float) -> LossFunction:
    """Absolute distance of the softmax probabilities from the one-hot or smoothed target, a mean over N and C."""
    return lambda outputs, y: F.l1_loss(outputs.softmax(1), targets(y, outputs.shape[1], smoothing))


def bce(smoothing: float) -> LossFunction:
    """One yes-or-no question a class: the sigmoid of each output against its one-hot or smoothed target.

    Nats per question, a mean over N and C (`torch.nn.BCEWithLogitsLoss`).
    """
    return lambda outputs, y: F.binary_cross_entropy_with_logits(outputs, targets(y, outputs.shape[1], smoothing))


def kl_div(smoothing: float) -> LossFunction:
    """Divergence of the softmax probabilities from the one-hot or smoothed target, nats per example.

    Without smoothing it equals cross-entropy; with it, it is lower by the entropy of the target, so that 0 is perfect.
    """

    def loss(outputs: Tensor, y: Tensor) -> Tensor:
        return F.kl_div(outputs.log_softmax(1), targets(y, outputs.shape[1], smoothing), reduction="batchmean")

    return loss


LOSSES: dict[str, Callable[[float], LossFunction]] = {
    "cross_entropy": cross_entropy,
    "mse": mse,
    "l1": l1,
    "bce": bce,
    "kl_div": kl_div,
}
