"""What can be learned, a file for each task: which losses fit, how wide the outputs are, and how well it is done.

The file's name is the setting's word. Each has its `TASK`.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from tui_trainer.errors import ModelError
from tui_trainer.own import arguments, loading
from tui_trainer.run.events import Score
from tui_trainer.settings.fields import NAMES
from tui_trainer.settings.places import is_place
from tui_trainer.settings.schema import Settings
from tui_trainer.text import clean, did_you_mean
from tui_trainer.training.data.examples import Data
from tui_trainer.training.models import own
from tui_trainer.training.step.losses import LossFunction


class Meter(Protocol):
    """Measures a split batch by batch, on the device that the outputs are on."""

    def add(self, outputs: Tensor, y: Tensor) -> None:
        """Take note of a batch: raw outputs [B, ...] of the model, targets as the loss takes them."""

    def figures(self) -> dict[str, Any]:
        """What came out, by the names of `Evaluated`'s fields. Waits for the device."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be predicted from targets of one kind."""

    name: str
    kind: str
    """The kind of targets that it is for, as in `Source.kind`."""
    losses: Mapping[str, Callable[[float], LossFunction]]
    """What makes each loss that fits, from the label smoothing; the first is used when none is named."""
    scores: tuple[Score, ...]
    """What is measured beside the loss; the first is shown as the result of a run."""
    outputs: Callable[[Data], int]
    """Numbers that the model gives for an example."""
    meter: Callable[[Data, torch.device], Meter]
    """A fresh meter for a split of the data."""
    misfit: Callable[[Data], str] = lambda _: ""
    """Why data of its kind do not fit all the same, as the rest of a sentence; nothing when they do."""
    targets: Callable[[Tensor], Tensor] = lambda y: y
    """A batch of targets as the losses and the meter take them."""
    weights: Callable[[Tensor, int], Tensor] | None = None
    """How much each of K classes or labels counts when they are to count alike, from the training targets and K: [K].

    None where there are no classes.
    """
    weighted: Mapping[str, Callable[[float, Tensor], LossFunction]] = field(default_factory=dict)
    """Those of the losses that can weigh classes, made from the label smoothing and the weights [K]."""
    probabilities: Callable[[Tensor], Tensor] = lambda outputs: outputs
    """What the raw outputs [B, K] mean: probabilities of classes or labels, or the predicted numbers themselves."""
    said: Callable[[Tensor], Tensor] | None = None
    """The class [B] that the raw outputs say, as the meter counts it; None where they say no class."""
    meaning: str = ""
    """What the raw outputs are, for whoever uses an exported model."""

    def needs(self, outputs: object, y: Tensor, width: int) -> str:
        """What is wrong with the outputs of a model for the targets `y`, as a sentence; nothing when they fit."""
        wanted = (len(y), width)
        if not isinstance(outputs, Tensor):
            return f"gives {type(outputs).__name__}, not one tensor; {self.name} needs {wanted}"
        if tuple(outputs.shape) != wanted:
            return f"gives {tuple(outputs.shape)} for {len(y)} examples; {self.name} needs {wanted}"
        if not outputs.is_floating_point():
            return f"gives {outputs.dtype}; {self.name} needs floating-point numbers"
        return ""


_USUAL = {"class": "classification", "labels": "multilabel", "number": "regression", "share": "distribution"}


def named(name: str) -> Task:
    """The task of that name."""
    task: Task = importlib.import_module(f"tui_trainer.training.tasks.{name}").TASK
    return task


def find(settings: Settings, data: Data) -> Task:
    """The task of the settings, or the usual one for the data.

    Raises:
        ModelError: it does not fit the data, or the monitored score is none of its.
    """
    name = _USUAL[data.kind] if settings.task == "auto" else settings.task
    task = named(name)
    if task.kind != data.kind:
        raise ModelError(
            f"task {name} does not fit {clean(data.name, 60)}: its targets are of the kind {data.kind}, not "
            f"{task.kind}. Use --task auto."
        )
    if reason := task.misfit(data):
        raise ModelError(f"task {name} does not fit {clean(data.name, 60)}: {reason}. Use --task auto.")
    monitored = settings.monitor.removeprefix("valid_")
    known = ("loss", *(score.name for score in task.scores))
    if monitored not in known:
        hint = did_you_mean(monitored, known)
        raise ModelError(f"monitor {settings.monitor}: {name} measures {', '.join(f'valid_{n}' for n in known)}.{hint}")
    return standardised(task, data.target_mean, data.target_std)


def standardised(task: Task, mean: tuple[float, ...], std: tuple[float, ...]) -> Task:
    """`task` for numbers that are less their mean, in standard deviations, on their way to the loss; empty for not so.

    The model gives such numbers, too. What they mean is in the targets' own units.
    """
    if not mean:
        return task
    scale = _Scale(torch.tensor(mean), torch.tensor(std))
    return replace(
        task,
        targets=lambda y: scale.down(task.targets(y)),
        probabilities=scale.up,
        meaning="one output a number, in standard deviations from its mean",
    )


@dataclass
class _Scale:
    """Mean and standard deviation of K numbers, on the device where they were last used."""

    mean: Tensor
    std: Tensor

    def down(self, y: Tensor) -> Tensor:
        self._follow(y)
        return (y - self.mean) / self.std

    def up(self, outputs: Tensor) -> Tensor:
        self._follow(outputs)
        return outputs * self.std + self.mean

    def _follow(self, numbers: Tensor) -> None:
        if self.mean.device != numbers.device:  # to copy them for every batch would wait for the device
            self.mean, self.std = self.mean.to(numbers.device), self.std.to(numbers.device)


def loss_name(settings: Settings, task: Task) -> str:
    """The loss of the settings; the task's usual one where nobody has named one.

    Raises:
        ModelError: the one that was named does not fit the task.
    """
    if "loss" not in settings.model_fields_set:
        return next(iter(task.losses))
    if settings.loss in task.losses or settings.loss not in NAMES["loss"]():
        return settings.loss
    raise ModelError(
        f"loss {settings.loss} does not fit {task.name}: use {', '.join(task.losses)}, or one of your own."
    )


def make_loss(settings: Settings, task: Task) -> LossFunction:
    """The loss of the settings, one of the task's or the user's own.

    Raises:
        ModelError: the user's own cannot be made.
    """
    if not is_place(settings.loss):
        return task.losses[settings.loss](settings.label_smoothing)
    typed = arguments.arguments(settings.loss_arg, "--loss-arg")
    return own.make_loss(loading.load(settings.loss, "loss"), {"settings": settings}, typed)
