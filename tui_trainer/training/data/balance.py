"""Classes that are rare: how much each counts in the loss, and how often its examples are drawn."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tui_trainer.errors import ModelError
from tui_trainer.settings.schema import Settings
from tui_trainer.text import clean
from tui_trainer.training.data.examples import Data
from tui_trainer.training.step.losses import LossFunction

if TYPE_CHECKING:
    from tui_trainer.training.tasks import Task


def of_classes(targets: Tensor, classes: int) -> Tensor:
    """n / (C n_c) for each class, so that all count alike; 1 for one without examples. `targets` are [n] int64."""
    counts = torch.bincount(targets, minlength=classes).double()
    return torch.where(counts > 0, len(targets) / (classes * counts), 1.0).float()


def of_labels(targets: Tensor, labels: int) -> Tensor:
    """Examples without a label for each one that has it, as bce's pos_weight; 1 for a label that all or none have.

    `targets` are [n, K] of 0 and 1, or [n] int64 of them.
    """
    counts = targets.reshape(len(targets), labels).double().sum(0)
    return torch.where((counts > 0) & (counts < len(targets)), (len(targets) - counts) / counts, 1.0).float()


def weights_of(settings: Settings, task: "Task", data: Data, outputs: int) -> Tensor | None:
    """How much each class or label counts [K]; None when all count alike.

    Raises:
        ModelError: the task has no classes, or the loss cannot weigh them.
    """
    if settings.class_weights == "off":
        return None
    if task.weights is None:
        raise ModelError(f"class_weights balanced: {task.name} has no classes to weigh. Set it to off.")
    if settings.loss not in task.weighted:
        raise ModelError(
            f"class_weights balanced: the loss {clean(settings.loss, 60)} weighs no classes; use "
            f"{' or '.join(task.weighted)}, or set it to off."
        )
    return task.weights(data.train.targets, outputs)


def loss_to_learn(settings: Settings, task: "Task", weights: Tensor | None) -> LossFunction | None:
    """The loss that training makes small where that is another one than is measured."""
    return None if weights is None else task.weighted[settings.loss](settings.label_smoothing, weights)


def classes_to_draw(settings: Settings, data: Data) -> Tensor | None:
    """The class of each training example [N], when all classes are to be drawn equally often.

    Raises:
        ModelError: examples are of no one class.
    """
    if settings.sampler == "shuffle":
        return None
    if data.kind != "class":
        raise ModelError(f"sampler balanced: {clean(data.name, 60)} has no classes to draw from. Set it to shuffle.")
    return data.train.targets
