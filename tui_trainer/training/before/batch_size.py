"""The batch size of a run that leaves it open: the largest power of two that fits, found before the first step."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from tui_trainer.settings.schema import Settings
from tui_trainer.training import devices
from tui_trainer.training.data.batches import choose_path, free_memory
from tui_trainer.training.data.examples import Data
from tui_trainer.training.step.losses import LossFunction
from tui_trainer.training.step.optimizers import make_optimizer
from tui_trainer.training.step.precision import autocast
from tui_trainer.training.tasks import Task, make_loss

LEAST_STEPS = 32
"""Steps that an epoch keeps: with fewer there is little to learn from."""
MOST_ON_CPU = 256
"""A processor is no faster with more."""
USUAL = 64
"""Taken when a model cannot be tried; the reason is told where it fails in earnest."""


def find(settings: Settings, data: Data, task: Task, model: nn.Module) -> tuple[int, str]:
    """The batch size, and why it is not a larger one. `model` and all random numbers stay as they are."""
    device = next(model.parameters()).device
    tries = device.type in ("cuda", "xpu")
    most, why = max(1, len(data.train) // LEAST_STEPS), f"a larger one leaves fewer than {LEAST_STEPS} steps an epoch"
    if not tries and most >= MOST_ON_CPU:
        most, why = MOST_ON_CPU, f"{device.type} is no faster with a larger one"
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            trial = Trial(settings, data, task, model)
            size = largest(trial.steps if tries else trial.would_fit, most)
        except Exception:  # whatever is wrong with the model is told when it is tried out
            return min(USUAL, most), "the model could not be tried"
    if 2 * size <= most:
        why = f"a larger one does not fit into the memory of {device}"
    devices.give_back(device)
    return size, why


def largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest power of two up to `most` that fits; at least 1, since less cannot be learned from."""
    size = 1
    while 2 * size <= most and fits(2 * size):
        size *= 2
    return size


class Trial:
    """A copy of the model that is tried with batches of any size."""

    def __init__(self, settings: Settings, data: Data, task: Task, model: nn.Module) -> None:
        self._model = copy.deepcopy(model).train()
        self._settings, self._data, self._task = settings, data, task
        self._device = next(model.parameters()).device
        self._loss: LossFunction = make_loss(settings, task)
        self._autocast = autocast(settings, self._device)

    def _loss_of(self, examples: int) -> Tensor:
        """The loss of so many examples; what they show does not matter."""
        numbers = torch.arange(examples) % len(self._data.train)
        y = self._data.train.targets[numbers].to(self._device)
        form = torch.channels_last if self._settings.channels_last else torch.contiguous_format
        X = torch.zeros(examples, *self._data.shape, device=self._device)
        X = X.to(memory_format=form) if X.dim() == 4 else X
        with self._autocast:
            return self._loss(self._model(X), self._task.targets(y))

    def steps(self, examples: int) -> bool:
        """Take a step of so many examples: False when the device has too little memory for it.

        Beside it stay as much memory as the data will take there, and a twentieth of all of it.
        """
        held = self._data.parts
        path, optimizer, kept = choose_path(self._settings, held, self._device), None, []
        try:
            beside = devices.total(self._device) // 20 + (sum(part.nbytes for part in held) if path.resident else 0)
            kept.append(torch.empty(beside, dtype=torch.uint8, device=self._device))
            optimizer = make_optimizer(self._model, self._settings)
            self._loss_of(examples).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            torch.accelerator.synchronize(self._device)
        except torch.OutOfMemoryError:
            return False
        finally:
            self._model.zero_grad()
            kept.clear()
            del optimizer
            devices.give_back(self._device)
        return True

    def would_fit(self, examples: int) -> bool:
        """True when a step of so many takes at most half of what is free: twice what layers keep for gradients.

        It is not tried, since a system that runs out of memory ends programs.
        """
        each = (self._kept(4) - self._kept(2)) // 2 + 4 * torch.Size(self._data.shape).numel()
        weights = sum(parameter.nbytes for parameter in self._model.parameters())
        return 3 * weights + 2 * examples * each <= free_memory(self._device) / 2

    def _kept(self, examples: int) -> int:
        """Bytes that so many examples make the layers keep for their gradients."""
        kept = 0

        def note(tensor: Tensor) -> Tensor:
            nonlocal kept
            kept += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            self._loss_of(examples)
        return kept
