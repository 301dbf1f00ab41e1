"""Forward and backward pass noted down once and replayed: on a CPU what a CUDA graph is on a GPU.

Layers are Python, and autograd builds its graph anew at every step; with a small model that costs as much as the sums.
A tape holds the operations beneath both, in their order, as one straight function: the same kernels on the same
numbers, and so the same bits, where `products` has no quicker ones. It holds only what is certain to repeat: operations
on the batch, on the model's parameters and buffers, and on each other's results.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tui_trainer.training import products

Result = Tensor | tuple[Tensor, Tensor]
"""Numbers, or the two factors of a product that is not multiplied out."""
Replay = Callable[[Tensor, Tensor], tuple[Result, ...]]
"""(X, y) -> the loss and the gradient of each parameter."""

aten = torch.ops.aten
QUICK: dict[Any, Callable[..., Any]] = {
    aten._log_softmax.default: torch._log_softmax,
    aten._log_softmax_backward_data.default: torch._log_softmax_backward_data,
    aten.add.Tensor: torch.add,
    aten.addmm.default: torch.addmm,
    aten.mm.default: torch.mm,
    aten.mul.Tensor: torch.mul,
    aten.ones_like.default: torch.ones_like,
    aten.relu.default: torch.relu,
    aten.sum.dim_IntList: torch.sum,
    aten.t.default: torch.t,
    aten.view.default: Tensor.view,
}
"""The same operations by another door: these read their arguments in 1 us, the general one takes 2 to 4."""


@dataclass(frozen=True, slots=True)
class Product:
    """The gradient of a weight as the factors that it is the product of: of a small batch they are far fewer numbers.

    A step down the gradient can add the product to the weight as it is made. Written out and read again it would go
    through the memory three times.
    """

    weight: nn.Parameter
    """[n, m]"""
    left: Tensor
    """[n, examples]"""
    right: Tensor
    """[examples, m]"""

    def norm(self) -> float:
        """Length of the gradient. Its square is the sum over two products of [examples, examples], each with each."""
        square = ((self.left.T @ self.left).double() * (self.right @ self.right.T).double()).sum()
        return math.sqrt(max(0.0, float(square))) if square.isfinite() else math.inf

    def is_finite(self) -> bool:
        """True when all numbers are. None is larger than the lengths of both factors multiplied (Cauchy-Schwarz)."""
        most = torch.linalg.vector_norm(self.left) * torch.linalg.vector_norm(self.right)
        return math.isfinite(most) or math.isfinite((self.left @ self.right).sum())


class NotRepeatable(Exception):
    """A step that cannot be noted down; the message says why."""


class Calls(products.Quickly):  # type: ignore[no-untyped-call]
    """Notes every operation that is carried out inside it, with its arguments and what came of it."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(
        self, operation: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = super().__torch_dispatch__(operation, types, args, kwargs)
        self.made.append((operation, args, kwargs, result))
        return result


class Tape:
    """The loss of a batch and the gradients of it. The first call notes down what it does, the others repeat it.

    All batches must have the shape of the first one.
    """

    def __init__(
        self,
        measure: Callable[[Tensor, Tensor], Tensor],
        model: nn.Module,
        constants: Sequence[Tensor] = (),
        *,
        factored: bool = False,
    ) -> None:
        """`measure` gives the loss of (X, y), a scalar; it may use `constants` beside the model.

        With `factored` gradients that are products of smaller factors are left in `products`.
        """
        self._measure, self._factored = measure, factored
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._lasting = [*model.parameters(), *model.buffers(), *constants]
        self._replay: Replay | None = None
        self.refused = ""
        """Why the step cannot be replayed, once that is known."""
        self.products: list[Product] = []
        """The gradients of the last call that were not multiplied out; the `grad` of those weights is None."""

    def __call__(self, X: Tensor, y: Tensor) -> Tensor:
        """The loss, detached; each parameter's `grad` is its gradient, but for those in `products`."""
        if self._replay is None:
            results = self._note_down(X, y)
        else:
            with torch.no_grad():
                results = self._replay(X, y)
        self.products = []
        for parameter, gradient in zip(self._parameters, results[1:], strict=True):
            if isinstance(gradient, Tensor):
                parameter.grad = gradient
            else:
                parameter.grad = None
                self.products.append(Product(parameter, *gradient))
        assert isinstance(results[0], Tensor)
        return results[0]

    def _note_down(self, X: Tensor, y: Tensor) -> tuple[Result, ...]:
        """A step as always, with an eye on what it consists of."""
        with Calls() as calls:
            loss = self._measure(X, y)
            whole = (loss, *torch.autograd.grad(loss, self._parameters))
        results = tuple(self._factors(calls, result) or result for result in whole) if self._factored else whole
        try:
            with torch.no_grad():
                self._replay = Writing(calls, (X, y), self._lasting).function(results)
        except NotRepeatable as reason:
            self.refused = str(reason)
            results = whole  # as in all steps to come
        return tuple(r.detach() if isinstance(r, Tensor) else (r[0].detach(), r[1].detach()) for r in results)

    def _factors(self, calls: Calls, result: Tensor) -> tuple[Tensor, Tensor] | None:
        """What `result` is the product of, when that is fewer numbers than it has itself, and no step changes them."""
        turned = False
        for operation, args, _, made in reversed(calls.made):
            if made is not result:
                continue
            if operation in (aten.detach.default, aten.t.default):
                result, turned = args[0], turned ^ (operation is aten.t.default)
                continue
            if operation is not aten.mm.default or turned:
                return None
            left, right = args
            changed = {tensor.untyped_storage().data_ptr() for tensor in self._lasting}
            lasts = any(factor.untyped_storage().data_ptr() in changed for factor in (left, right))
            return (left, right) if left.numel() + right.numel() < result.numel() and not lasts else None
        return None


class Writing:
    """The source of a function that repeats the calls that were noted, a line each."""

    def __init__(self, calls: Calls, inputs: tuple[Tensor, Tensor], lasting: list[Tensor]) -> None:
        self._names = {id(inputs[0]): "X", id(inputs[1]): "y"}
        self._known: dict[str, Any] = {}
        self._lines: list[tuple[list[str], str, set[str], bool]] = []
        """Of each call: the names of its results, its text, the names it reads, and whether it changes one of them."""
        self._turned: dict[str, str] = {}
        for tensor in lasting:
            self._names[id(tensor)] = self._constant(tensor)
        for call in calls.made:
            self._write(*call)

    def _constant(self, value: Any) -> str:
        name = f"c{len(self._known)}"
        self._known[name] = value
        return name

    def _write(self, operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        if operation is aten._local_scalar_dense.default:
            raise NotRepeatable("it looks at a number on the way")
        if operation is aten.detach.default:
            self._names[id(result)] = self._names.get(id(args[0]), "")
            return
        read: set[str] = set()
        words = [self._text(arg, read) for arg in args] + [f"{k}={self._text(v, read)}" for k, v in kwargs.items()]
        if operation is aten.t.default and words[0] in self._turned:
            self._names[id(result)] = self._turned[words[0]]
            return
        if operation.is_view and read <= self._known.keys():
            self._names[id(result)] = self._constant(result)  # of a weight: it shows the weight as it will be
            return
        names = []
        for tensor in result if isinstance(result, (list, tuple)) else (result,):
            fresh = isinstance(tensor, Tensor) and id(tensor) not in self._names
            names.append(f"v{len(self._names)}" if fresh else "_")
            if fresh:
                self._names[id(tensor)] = names[-1]
        if operation is aten.t.default:
            self._turned[names[0]] = words[0]
        changes = bool(operation._schema.is_mutable)
        call = self._constant(products.instead_of(operation, args, kwargs) or QUICK.get(operation, operation))
        self._lines.append((names, f"{call}({', '.join(words)})", read, changes))

    def _text(self, value: Any, read: set[str]) -> str:
        """An argument as the function's source names it; the names of tensors are added to `read`."""
        if isinstance(value, Tensor):
            name = self._names.get(id(value))
            if not name:
                raise NotRepeatable("it uses numbers from elsewhere")
            read.add(name)
            return name
        if isinstance(value, (list, tuple)):
            items = "".join(self._text(item, read) + ", " for item in value)
            return f"[{items}]" if isinstance(value, list) else f"({items})"
        return repr(value) if value is None or isinstance(value, (bool, int)) else self._constant(value)

    def function(self, results: tuple[Result, ...]) -> Replay:
        """What gives `results` for another batch. Calls that nothing needs are left out, and memory is let go early."""
        returned: set[str] = set()
        wanted = [self._text(result, returned) for result in results]
        needed, kept = set(returned), []
        for names, text, read, changes in reversed(self._lines):
            if changes or needed & set(names):
                needed |= read
                kept.append((names, text, read))
        source, seen = [f"    return {', '.join(wanted)},"], set(returned)
        for names, text, read in kept:
            last_used = {name for name in read | set(names) if name[0] == "v"} - seen
            seen |= last_used
            if last_used:
                source.append(f"    del {', '.join(sorted(last_used))}")
            source.append(f"    {', '.join(names)} = {text}")
        space = dict(self._known)
        exec("def replay(X, y):\n" + "\n".join(reversed(source)), space)  # names and calls of ours only
        replay: Replay = space["replay"]
        return replay
