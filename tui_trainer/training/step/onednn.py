"""Matrix products on processors whose widest instructions torch leaves unused: they take half the time.

torch multiplies float32 matrices by MKL, which on a processor of AMD does without AVX-512. oneDNN, a part of torch too
and what it computes convolutions with, does not. Its results differ in the last digits, as between any two processors.
"""

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten

LINEAR: Any = getattr(getattr(torch.ops.mkldnn, "_linear_pointwise", None), "default", None)
"""oneDNN's product: (X, weight, bias or None, "none" or "relu", [], ""). None where torch lacks it."""

LEAST = 1 << 22
"""Multiplications from which on oneDNN was the quicker one everywhere: below it its beginning costs more."""
FEW = 1 << 19
"""Multiplications for which one thread is enough: that two meet takes as long, and longer where they share no cache."""


@functools.cache
def is_worth_it() -> bool:
    """True on an AMD processor with AVX-512, for a torch that has both libraries."""
    cpuinfo = Path("/proc/cpuinfo")
    return (
        torch.backends.cpu.get_cpu_capability() == "AVX512"
        and torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and LINEAR is not None
        and cpuinfo.exists()
        and "AuthenticAMD" in cpuinfo.read_text(errors="replace")
    )


def linear(X: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """X [m, k] times the transposed weight [n, k], and the bias [n] added, by oneDNN."""
    X = X if X.is_contiguous() else row_by_row(X)
    product: Tensor = LINEAR(X, weight, bias, "none", [], "")
    return product


def row_by_row(matrix: Tensor) -> Tensor:
    """A matrix [n, k] that lies column by column, with its rows one after the other.

    To shuffle k groups of n channels is the same, and torch does it in a third of the time that a copy takes.
    """
    n, k = matrix.shape
    channels = matrix.as_strided((1, n * k, 1, 1), (n * k, 1, n * k, n * k))
    return torch.channel_shuffle(channels, k).view(n, k)


def mm(left: Tensor, right: Tensor) -> Tensor:
    """left [m, k] times right [k, n]."""
    return linear(left, right.t())


def addmm(bias: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """bias [n] + left [m, k] times right [k, n]."""
    return linear(left, right.t(), bias)


QUICK: dict[Any, Callable[..., Tensor]] = {
    aten.mm.default: mm,
    aten.addmm.default: addmm,
    aten.linear.default: linear,
}


def instead_of(operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[..., Tensor] | None:
    """What takes the place of an operation of torch with these arguments; None when it stays as it is."""
    if operation not in QUICK or kwargs or not is_worth_it():
        return None
    factors, biases = (args[1:3], args[:1]) if operation is aten.addmm.default else (args[:2], args[2:])
    fits = all(is_plain(factor) for factor in factors) and size_of(operation, factors) > LEAST
    return QUICK[operation] if fits and all(bias is None or bias.dim() == 1 for bias in biases) else None


def by_few(operation: Any, args: tuple[Any, ...], function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`function`, which carries out `operation`, by one thread where more would only get into each other's way.

    With a bias, as in a forward pass, two were the quicker ones: the sums are longer there, and the results fewer.
    """
    if operation is not aten.mm.default or not is_worth_it():
        return function
    return by_one_thread(function) if all(map(is_plain, args)) and size_of(operation, args) <= FEW else function


def by_one_thread(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The same without the threads beside this one."""

    def call(*args: Any) -> Tensor:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return function(*args)
        finally:
            torch.set_num_threads(threads)

    return call


def size_of(operation: Any, factors: Sequence[Tensor]) -> int:
    """Multiplications of a product."""
    outputs = factors[1].shape[0 if operation is aten.linear.default else 1]
    return math.prod(factors[0].shape) * outputs


def is_plain(tensor: Tensor) -> bool:
    """True for a matrix of 32-bit numbers that lie row by row or column by column in the memory of the processor."""
    if tensor.dim() != 2 or tensor.dtype != torch.float32 or tensor.device.type != "cpu":
        return False
    return tensor.is_contiguous() or tensor.t().is_contiguous()


def adding(left: Tensor, right: Tensor) -> Callable[..., object]:
    """What adds the product of factors like these to a weight in its place, called as Tensor.addmm_ is."""
    return Tensor.addmm_ if instead_of(aten.mm.default, (left, right), {}) is None else add_product


def add_product(weight: Tensor, left: Tensor, right: Tensor, *, beta: float, alpha: float) -> None:
    """weight [m, n] = beta * weight + alpha * left [m, k] times right [k, n], in its place, by oneDNN."""
    if beta != 1:
        weight.mul_(beta)
    weight.add_(linear(left, right.t()), alpha=alpha)


class Quickly(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Large products inside it are computed by the quicker library."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self, operation: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        return (instead_of(operation, args, kwargs) or operation)(*args, **kwargs)
