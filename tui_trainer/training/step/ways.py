"""Ways to compute the loss and the gradients of a batch: by autograd, or replayed on a CPU.

`Step` chooses one when it is made. A third way, `cuda_graph.Graph`, records the whole of `Step.learn`, update included.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from tui_trainer.training.step.cpu_replay import Tape
from tui_trainer.training.step.deferred_grads import Product
from tui_trainer.training.step.finite import Watcher
from tui_trainer.training.step.losses import LossFunction


class Autograd:
    """Forward pass, loss, backward pass, as in the tutorial. Gradients are added to those that are there."""

    deferred: Sequence[Product] = ()

    def __init__(
        self,
        forward: Callable[[Tensor], Tensor],
        loss_function: LossFunction,
        autocast: AbstractContextManager[Any],
        scaler: torch.amp.GradScaler | None,
        finite: Watcher,
    ) -> None:
        self._forward, self._loss_function = forward, loss_function
        self._autocast, self._scaler, self._finite = autocast, scaler, finite

    def __call__(self, X: Tensor, y: Tensor, share: float = 1.0) -> float | Tensor:
        """The loss of (X, y), a number on a CPU, else a detached scalar; each parameter's `grad` gets `share` of it.

        Raises:
            DivergedError: the loss is not finite; there was no backward pass.
        """
        with self._autocast:
            loss = self._loss_function(self._forward(X), y)
        reported = self._finite.loss(loss)
        scaled = loss if share == 1.0 else loss * share
        if self._scaler is not None:
            scaled = self._scaler.scale(scaled)
        scaled.backward()  # type: ignore[no-untyped-call]
        return reported


class Replayed:
    """Forward and backward pass of a batch of the usual size from a `Tape`. Gradients replace those that are there."""

    def __init__(self, tape: Tape, finite: Watcher) -> None:
        self.tape, self._finite = tape, finite

    @property
    def deferred(self) -> Sequence[Product]:
        """The weight gradients of the newest batch that are not multiplied out."""
        return self.tape.products

    def __call__(self, X: Tensor, y: Tensor, share: float = 1.0) -> float | Tensor:
        """The loss of (X, y), a number. A step of several batches (`share` below 1) is never replayed.

        Raises:
            DivergedError: the loss is not finite.
        """
        return self._finite.loss(self.tape(X, y))
