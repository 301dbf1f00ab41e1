"""Forward and backward pass noted down once and replayed: on a CPU what a CUDA graph is on a GPU.

Layers are Python, and autograd builds its graph anew at every step; with a small model that costs as much as the sums.
A tape holds the operations beneath both, in their order, as one straight function: the same kernels on the same
numbers, and so the same bits. It holds only what is certain to repeat: operations on the batch, on the model's
parameters and buffers, and on each other's results.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

Replay = Callable[[Tensor, Tensor], tuple[Tensor, ...]]
"""(X, y) -> the loss and the gradient of each parameter."""

aten = torch.ops.aten


class NotRepeatable(Exception):
    """A step that cannot be noted down; the message says why."""


class Calls(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes every operation that is carried out inside it, with its arguments and what came of it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.made: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(
        self, operation: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = operation(*args, **kwargs)
        self.made.append((operation, args, kwargs, result))
        return result


class Tape:
    """The loss of a batch and the gradients of it. The first call notes down what it does, the others repeat it.

    All batches must have the shape of the first one.
    """

    def __init__(
        self, measure: Callable[[Tensor, Tensor], Tensor], model: nn.Module, constants: Sequence[Tensor] = ()
    ) -> None:
        """`measure` gives the loss of (X, y), a scalar; it may use `constants` beside the model."""
        self._measure = measure
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._lasting = [*model.parameters(), *model.buffers(), *constants]
        self._replay: Replay | None = None
        self.refused = ""
        """Why the step cannot be replayed, once that is known."""

    def __call__(self, X: Tensor, y: Tensor) -> Tensor:
        """The loss, detached; each parameter's `grad` is its gradient."""
        if self._replay is None:
            loss, *gradients = self._note_down(X, y)
        else:
            with torch.no_grad():
                loss, *gradients = self._replay(X, y)
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        return loss

    def _note_down(self, X: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        """A step as always, with an eye on what it consists of."""
        with Calls() as calls:
            loss = self._measure(X, y)
            results = (loss, *torch.autograd.grad(loss, self._parameters))
        try:
            with torch.no_grad():
                self._replay = Writing(calls, (X, y), self._lasting).function(results)
        except NotRepeatable as reason:
            self.refused = str(reason)
        return tuple(result.detach() for result in results)


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
        self._lines.append((names, f"{self._constant(operation)}({', '.join(words)})", read, changes))

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

    def function(self, results: tuple[Tensor, ...]) -> Replay:
        """What gives `results` for another batch. Calls that nothing needs are left out, and memory is let go early."""
        wanted = [self._names.get(id(result), "") for result in results]
        needed, kept = set(wanted), []
        for names, text, read, changes in reversed(self._lines):
            if changes or needed & set(names):
                needed |= read
                kept.append((names, text, read))
        source, seen = [f"    return {', '.join(wanted)},"], set(wanted)
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
