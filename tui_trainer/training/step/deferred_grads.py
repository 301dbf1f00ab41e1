"""Weight gradients that stay products of their factors until plain SGD adds them to the weights.

The gradient of a linear layer's weight is the product of two matrices with one column or row for each example: of a
small batch they are far fewer numbers than the weight. Only a step that adds the gradient times a rate, and nothing
else, can use it so (`is_plain_sgd`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tui_trainer.training.step import onednn


@dataclass(slots=True)
class Product:
    """The gradient of a weight as its two factors, left @ right.

    A step of SGD adds the product to the weight as it is computed: written out and read again, it would go through
    memory three times.
    """

    weight: nn.Parameter
    """[n, m]"""
    left: Tensor
    """[n, examples], of the newest step"""
    right: Tensor
    """[examples, m], of the newest step"""
    _add: Callable[..., object] = field(init=False)

    def __post_init__(self) -> None:
        self._add = onednn.adding(self.left, self.right)

    def add(self, *, beta: float, alpha: float) -> None:
        """weight = beta * weight + alpha * gradient, in its place and without autograd."""
        self._add(self.weight, self.left, self.right, beta=beta, alpha=alpha)

    def norm(self) -> float:
        """Length of the gradient. Its square is the sum over two products of [examples, examples], each with each."""
        square = ((self.left.T @ self.left).double() * (self.right @ self.right.T).double()).sum()
        return math.sqrt(max(0.0, float(square))) if square.isfinite() else math.inf

    def is_finite(self) -> bool:
        """True when all numbers are. None is larger than the lengths of both factors multiplied (Cauchy-Schwarz)."""
        most = torch.linalg.vector_norm(self.left) * torch.linalg.vector_norm(self.right)
        return math.isfinite(most) or math.isfinite((self.left @ self.right).sum())


class Descent:
    """The step of an optimizer that `is_plain_sgd`, when some of the gradients are products."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer
        self._by_group: list[tuple[list[Product], list[Tensor]]] | None = None

    def step(self, deferred: Sequence[Product]) -> None:
        """weight = (1 - lr * weight_decay) * weight - lr * gradient, for each parameter; without autograd."""
        groups = self._optimizer.param_groups
        if self._by_group is None:  # the same in all steps
            products = {id(product.weight): product for product in deferred}
            self._by_group = [apart(group["params"], products) for group in groups]
        for group, (learned_by_product, others) in zip(groups, self._by_group, strict=True):
            lr, kept = group["lr"], 1 - group["lr"] * group["weight_decay"]
            for product in learned_by_product:
                product.add(beta=kept, alpha=-lr)
            if kept != 1:
                torch._foreach_mul_(others, kept)
            if others:
                torch._foreach_add_(others, [grad for p in others if (grad := p.grad) is not None], alpha=-lr)


def apart(parameters: Sequence[nn.Parameter], products: dict[int, Product]) -> tuple[list[Product], list[Tensor]]:
    """Of a group's parameters the products of those that have one, and the trainable others."""
    learns = [p for p in parameters if p.requires_grad]
    return [products[id(p)] for p in learns if id(p) in products], [p for p in learns if id(p) not in products]


def is_plain_sgd(optimizer: torch.optim.Optimizer) -> bool:
    """True when `optimizer` adds the gradient times a rate to the weights, and nothing else but weight decay."""
    plain = {"momentum": 0, "dampening": 0, "nesterov": False, "maximize": False, "differentiable": False}
    options = optimizer.defaults
    return type(optimizer) is torch.optim.SGD and all(options.get(name) == value for name, value in plain.items())
