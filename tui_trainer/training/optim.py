"""How a batch becomes a step: the optimizers, the learning rate over time, clipping and accumulation."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from tui_trainer.errors import DivergedError
from tui_trainer.schedule import lr_factor
from tui_trainer.settings import Settings
from tui_trainer.training.losses import LossFunction


def make_optimizer(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """The optimizer of torch.optim that the settings name."""
    s, parameters = settings, [p for p in model.parameters() if p.requires_grad]
    match s.optimizer:
        case "sgd":
            return torch.optim.SGD(
                parameters, lr=s.lr, momentum=s.momentum, nesterov=s.nesterov, weight_decay=s.weight_decay
            )
        case "adagrad":
            return torch.optim.Adagrad(parameters, lr=s.lr, weight_decay=s.weight_decay)
        case "rmsprop":
            return torch.optim.RMSprop(parameters, lr=s.lr, momentum=s.momentum, weight_decay=s.weight_decay)
        case "adam":
            return torch.optim.Adam(parameters, lr=s.lr, weight_decay=s.weight_decay)
        case "adamw":
            return torch.optim.AdamW(parameters, lr=s.lr, weight_decay=s.weight_decay)


class Schedule:
    """The learning rate over a run: a curve fixed by the settings, times a base that plateau and the user can move."""

    def __init__(self, optimizer: torch.optim.Optimizer, settings: Settings, updates_per_epoch: int) -> None:
        self._optimizer = optimizer
        self._settings = settings
        self._updates_per_epoch = updates_per_epoch
        self._base = settings.lr
        self._plateau: ReduceLROnPlateau | None = None
        if settings.scheduler == "plateau":
            self._plateau = ReduceLROnPlateau(
                optimizer,
                mode="min" if settings.monitor == "valid_loss" else "max",
                factor=settings.decay_rate,
                patience=settings.decay_epochs,
                threshold=settings.min_delta,
                threshold_mode="abs",
                min_lr=settings.min_lr,
            )

    @property
    def lr(self) -> float:
        """The learning rate that the optimizer holds now."""
        return float(self._optimizer.param_groups[0]["lr"])

    def before_update(self, update: int) -> None:
        """Set the rate for optimizer step `update`, counted from 0 at the run's beginning."""
        self._write(self._base * lr_factor(self._settings, update, self._updates_per_epoch))

    def after_validation(self, value: float, update: int) -> bool:
        """Tell plateau the monitored value; True when it lowered the rate. What is not finite it never hears of."""
        warming = update < self._settings.warmup_epochs * self._updates_per_epoch
        if self._plateau is None or warming or not math.isfinite(value):
            return False
        self._write(self._base)
        self._plateau.step(value)
        lowered = self.lr < self._base
        self._base = self.lr
        return lowered

    def set_lr(self, lr: float, update: int) -> None:
        """Make `lr` the rate of the next step; the rest of the curve keeps its shape in proportion."""
        factor = lr_factor(self._settings, update, self._updates_per_epoch)
        self._base = lr / factor if factor > 0 else lr
        self._write(lr)

    def state_dict(self) -> dict[str, Any]:
        return {"base": self._base, "plateau": self._plateau.state_dict() if self._plateau else None}

    def _write(self, lr: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = lr


class Step:
    """Predict, measure, backward, update: what the tutorial does with a batch, with accumulation and clipping."""

    def __init__(
        self,
        model: nn.Module,
        loss_function: LossFunction,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        settings: Settings,
        examples: int,
    ) -> None:
        self.updates = 0
        """Optimizer steps taken since the run's beginning."""
        self._model, self._loss_function = model, loss_function
        self._optimizer, self._schedule = optimizer, schedule
        self._settings = settings
        self._examples = examples
        self._batches = -(-examples // settings.batch_size)
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._norm: Tensor | None = None
        self._stale = True  # the gradients belong to a step already taken

    def __call__(self, X: Tensor, y: Tensor, batch: int) -> Tensor:
        """The loss of batch number `batch` (from 1) of an epoch, detached; weights are updated when a group is whole.

        Raises:
            DivergedError: the loss is not finite; the weights are as they were.
        """
        self._schedule.before_update(self.updates)  # every batch of a group has the rate of its step
        if self._stale:
            self._optimizer.zero_grad()
            self._stale = False
        loss = self._loss_function(self._model(X), y)
        if not math.isfinite(value := loss.item()):
            self._optimizer.zero_grad()
            raise DivergedError(f"The loss is not finite ({value})")
        group = self._settings.grad_accum_steps
        scaled = loss if group == 1 else loss * (len(X) / self._examples_in_group(batch))
        scaled.backward()  # type: ignore[no-untyped-call]
        if self.ends_group(batch):
            if self._settings.clip_grad > 0:
                self._norm = nn.utils.clip_grad_norm_(self._parameters, self._settings.clip_grad)
            self._optimizer.step()
            self.updates += 1
            self._stale = True
        return loss.detach()

    def ends_group(self, batch: int) -> bool:
        """True when the gradients of batch number `batch` complete an optimizer step."""
        return batch % self._settings.grad_accum_steps == 0 or batch == self._batches

    def _examples_in_group(self, batch: int) -> int:
        """Examples in the accumulation group of this batch; the last group and the last batch may be smaller."""
        size, group = self._settings.batch_size, self._settings.grad_accum_steps
        first = (batch - 1) // group * group
        return min(self._examples, (first + group) * size) - first * size

    def grad_norm(self) -> float | None:
        """Length of the newest gradient over all weights, before clipping; None while a group is incomplete."""
        if not self._stale:
            return None
        if self._settings.clip_grad > 0:
            return None if self._norm is None else float(self._norm)
        return float(nn.utils.get_total_norm([p.grad for p in self._parameters if p.grad is not None]))
