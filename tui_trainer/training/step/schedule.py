"""The learning rate that the optimizer holds at each step: the settings' curve, plateau, and what the user sets."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from tui_trainer.settings.schedule import lr_factor
from tui_trainer.settings.schema import Settings


class Schedule:
    """The learning rate over a run: a curve fixed by the settings, times a base that plateau and the user can move."""

    def __init__(
        self, optimizer: torch.optim.Optimizer, settings: Settings, updates_per_epoch: int, *, wants_more: bool = False
    ) -> None:
        """`wants_more` is true when more of what is monitored is better: plateau must know."""
        self._optimizer = optimizer
        self._settings = settings
        self._updates_per_epoch = updates_per_epoch
        self._base = self._lr = settings.lr
        self._plateau: ReduceLROnPlateau | None = None
        if settings.scheduler == "plateau":
            self._plateau = ReduceLROnPlateau(
                optimizer,
                mode="max" if wants_more else "min",
                factor=settings.decay_rate,
                patience=settings.decay_epochs,
                threshold=settings.min_delta,
                threshold_mode="abs",
                min_lr=settings.min_lr,
            )

    @property
    def lr(self) -> float:
        """The learning rate that the optimizer holds now."""
        return self._lr

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
        lowest = float(self._optimizer.param_groups[0]["lr"])  # of the last layer, whose rate is not scaled
        lowered = lowest < self._base
        self._base = lowest
        self._write(lowest, anew=True)
        return lowered

    def set_lr(self, lr: float, update: int) -> None:
        """Make `lr` the rate of the next step; the rest of the curve keeps its shape in proportion."""
        factor = lr_factor(self._settings, update, self._updates_per_epoch)
        self._base = lr / factor if factor > 0 else lr
        self._write(lr)

    def state_dict(self) -> dict[str, Any]:
        return {"base": self._base, "plateau": self._plateau.state_dict() if self._plateau else None}

    def load_state_dict(self, saved: dict[str, Any], *, lr_then: float, update: int) -> None:
        """Go on at optimizer step `update`. A learning rate set anew since, other than `lr_then`, is the new base.

        Of plateau only its progress is taken over: how much it lowers the rate, and when, is said by the settings.
        """
        self._base = float(saved["base"]) if self._settings.lr == lr_then else self._settings.lr
        if self._plateau is not None and saved["plateau"] is not None:
            for name in ("best", "num_bad_epochs", "cooldown_counter", "last_epoch"):
                setattr(self._plateau, name, saved["plateau"][name])
        self.before_update(update)

    def halve(self, at_most: float, update: int) -> None:
        """Half the base, or half of `at_most` when that is less."""
        self._base = min(self._base, at_most) / 2
        self.before_update(update)

    @property
    def base(self) -> float:
        """The factor of the curve: the learning rate where the curve is 1."""
        return self._base

    def hold(self, lr: float) -> None:
        """Let the optimizer hold `lr` until its next step, which sets the rate anew."""
        self._write(lr)

    def _write(self, lr: float, *, anew: bool = False) -> None:
        """Give `lr` to the optimizer, to each group at its scale; `anew` when it may hold something else by now."""
        if lr == self._lr and not anew:
            return
        self._lr = lr
        for group in self._optimizer.param_groups:
            scaled = lr * group.get("lr_scale", 1.0)
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(scaled)
            else:
                group["lr"] = scaled
