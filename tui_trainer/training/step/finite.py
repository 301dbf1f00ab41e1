"""Watchers of the numbers of a step: a loss or gradient that is not finite never reaches the weights.

Which watcher a run has is chosen once, by what reading a number costs on its device (`watcher`). Each is asked twice in
a step: for the loss, before the backward pass, and for the gradients, before the optimizer's step.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tui_trainer.errors import DivergedError
from tui_trainer.training.step.deferred_grads import Product

SMALL = 8192
"""Numbers of a gradient that is checked in each step."""
CHECK_ALL_EVERY = 8
"""Steps from one check of all gradients to the next."""


class AtOnce:
    """On a CPU, where reading a number costs nothing: the loss before the backward pass, the gradients after it.

    A non-finite value in the backward pass reaches every earlier layer's gradients, biases too, whose gradients are few
    numbers. These are checked in every step, and all gradients in every eighth: that takes a twentieth of a small
    model's step.
    """

    defers = True
    """Weight gradients may stay products of their factors (`deferred_grads`)."""

    def __init__(self, parameters: Sequence[Tensor], device: torch.device) -> None:
        self._parameters = parameters
        self._small = [p for p in parameters if p.numel() <= SMALL]
        self._steps = 0
        self._bad, self._one = torch.zeros((), device=device), torch.ones((), device=device)

    def loss(self, loss: Tensor) -> float | Tensor:
        """The loss to report.

        Raises:
            DivergedError: it is not finite.
        """
        value = loss.item()
        if not math.isfinite(value):
            raise DivergedError(f"The loss is not finite ({value})")
        return value

    def gradients(self, loss: float | Tensor, deferred: Sequence[Product]) -> None:
        """Check the gradients of a step whose loss was `loss`, those in `deferred` too.

        Raises:
            DivergedError: one of them is not finite.
        """
        self._steps += 1
        checked = gradients_of(self._small)
        if checked and self._steps % CHECK_ALL_EVERY:
            deferred = ()
        else:
            checked = gradients_of(self._parameters)
        raise_flag(checked, self._bad, self._one)
        sound = not self._bad.item() and all(product.is_finite() for product in deferred)
        if not sound:
            self._bad.zero_()
            raise DivergedError("The gradient is not finite (the loss is)")

    def unused(self) -> int:
        """Batches whose step was not taken though nobody was told yet: none, here."""
        return 0

    def begin_anew(self) -> None:
        """The weights are others than after the last step."""
        self._bad.zero_()
        self._steps = 0


class LeftToScaler(AtOnce):
    """With fp16's loss scale: the loss is checked, gradients that overflow are the scaler's own business."""

    def gradients(self, loss: float | Tensor, deferred: Sequence[Product]) -> None:
        """Nothing: the scaler leaves a step out whose gradients are not finite, and halves its scale."""


class OneWait(AtOnce):
    """On a device without fused updates: one number is waited for in a step, of the loss and all gradients together."""

    def loss(self, loss: Tensor) -> float | Tensor:
        """The loss to report, unread."""
        return loss.detach()

    def gradients(self, loss: float | Tensor, deferred: Sequence[Product]) -> None:
        """Check loss and gradients.

        Raises:
            DivergedError: one of them is not finite.
        """
        assert isinstance(loss, Tensor)
        norm = nn.utils.get_total_norm([*gradients_of(self._parameters), loss])
        if not math.isfinite(norm.item()):
            is_of_loss = not math.isfinite(loss.item())
            raise DivergedError("The loss is not finite" if is_of_loss else "The gradient is not finite (the loss is)")


class Later:
    """On a GPU with a fused update: a flag on the device, read when a report waits for the device anyway.

    The flag is raised by one kernel over loss and gradients. The fused update leaves weights and state alone while it
    is up, in this step and all after it; `unused` tells how many.
    """

    defers = False

    def __init__(self, parameters: Sequence[Tensor], device: torch.device, optimizer: torch.optim.Optimizer) -> None:
        self._parameters = parameters
        self._bad, self._unused = torch.zeros((), device=device), torch.zeros((), device=device)
        self._one = torch.ones((), device=device)
        optimizer.found_inf = self._bad  # type: ignore[attr-defined]

    def loss(self, loss: Tensor) -> float | Tensor:
        """The loss to report, unread."""
        return loss.detach()

    def gradients(self, loss: float | Tensor, deferred: Sequence[Product]) -> None:
        """Raise the flag when the loss or a gradient is not finite."""
        assert isinstance(loss, Tensor)
        raise_flag([*gradients_of(self._parameters), loss], self._bad, self._one)
        self._unused.add_(self._bad)

    def unused(self) -> int:
        """Batches since the first whose loss or gradient was not finite, that one included; waits for the device."""
        return int(self._unused)

    def begin_anew(self) -> None:
        """The weights are others than after the last step."""
        self._bad.zero_()
        self._unused.zero_()


Watcher = AtOnce | Later


def watcher(
    parameters: Sequence[Tensor], optimizer: torch.optim.Optimizer, device: torch.device, *, scaled: bool
) -> Watcher:
    """The watcher of a run on `device`; `scaled` when fp16's loss scale is in use."""
    if scaled:
        return LeftToScaler(parameters, device)
    if heeds_flag(device) and optimizer.defaults.get("fused"):
        return Later(parameters, device, optimizer)
    return AtOnce(parameters, device) if device.type == "cpu" else OneWait(parameters, device)


def heeds_flag(device: torch.device) -> bool:
    """True where reading a loss makes the processor wait, and fused updates heed `found_inf`.

    On mps they do not, and the kernel that raises the flag lowers it first.
    """
    return device.type in ("cuda", "xpu")


def gradients_of(parameters: Sequence[Tensor]) -> list[Tensor]:
    """The gradients that there are; of a sparse one the values."""
    return [grad._values() if grad.is_sparse else grad for p in parameters if (grad := p.grad) is not None]


def raise_flag(numbers: list[Tensor], flag: Tensor, one: Tensor) -> None:
    """Set `flag`, a scalar on the device, to 1 when one of the numbers is not finite: one kernel for all of them.

    The kernel is that of mixed precision, which multiplies the numbers too: by `one`, a scalar 1.
    """
    torch._amp_foreach_non_finite_check_and_unscale_(numbers, flag, one)
