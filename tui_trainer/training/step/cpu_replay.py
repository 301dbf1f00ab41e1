"""Forward and backward pass recorded once and replayed: on a CPU what a CUDA graph is on a GPU.

Layers are Python, and autograd builds its graph anew at every step; with a small model that costs as much as the sums.
A tape holds the operations beneath both, in their order, as the source of one straight function (`Writing`): the same
kernels on the same numbers, and so the same bits, where `onednn` has no quicker kernel. docs/cpu-replay.md has more.

What must hold, and where it is seen to:

- Only what is certain to repeat is recorded: operations on the batch, on parameters, buffers and `constants`, and on
  each other's results. A tensor of unknown origin, or a number read on the way (`item()`), refuses the tape (`_text`,
  `_write`).
- A tensor is known by its `id`. All tensors of the recorded step are alive while the function is written, since
  `Calls.made` holds them: no id of a freed tensor is used again.
- Every batch has the shape and memory layout of the first one; others are not given to the tape (`Step`).
- A call that changes an argument in place is never left out, and no two calls are joined across it (`_made`).
- Two calls are joined only where nothing else reads the first one's result (`Line.joined`, `function`).
- Views of weights are constants: they show the weight as it will be, since optimizers change weights in place.
- Gradients that stay products (`deferred_grads`) have no factor that a step changes (`Tape._factors`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from tui_trainer.settings.schema import Settings
from tui_trainer.training.step import onednn
from tui_trainer.training.step.deferred_grads import Product

Replay = Callable[[Tensor, Tensor], Tensor]
"""(X, y) -> the loss; the gradients are left where they belong."""
Place = tuple[object, str, Tensor]
"""An object, its attribute, and what of a step is left there."""

aten = torch.ops.aten
QUICK: dict[Any, Callable[..., Any]] = {
    aten._log_softmax.default: torch._log_softmax,
    aten._log_softmax_backward_data.default: torch._log_softmax_backward_data,
    aten.add.Tensor: torch.add,
    aten.addmm.default: torch.addmm,
    aten.as_strided.default: torch.as_strided,
    aten.channel_shuffle.default: torch.channel_shuffle,
    aten.mm.default: torch.mm,
    aten.mul.Tensor: torch.mul,
    aten.ones_like.default: torch.ones_like,
    aten.relu.default: torch.relu,
    aten.sum.dim_IntList: torch.sum,
    aten.t.default: torch.t,
    aten.view.default: Tensor.view,
}
"""The same operations by their Python bindings: these parse their arguments in 1 us, the dispatcher takes 2 to 4."""


class NotRepeatable(Exception):
    """A step that cannot be recorded; the message says why."""


class Calls(onednn.Quickly):  # type: ignore[no-untyped-call]
    """Records every operation that is carried out inside it, with its arguments and its result.

    Where oneDNN computes a product, its own operations are recorded, and before the product, which is then unused.
    """

    def __init__(self) -> None:
        super().__init__()
        self.made: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(
        self, operation: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if (quicker := onednn.instead_of(operation, args, kwargs)) is None:
            result = operation(*args, **kwargs)
        else:
            with self:
                result = quicker(*args)
        self.made.append((operation, args, kwargs, result))
        return result


class Tape:
    """The loss of a batch and the gradients of it. The first call records what it does, the others repeat it.

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
        """The gradients that are not multiplied out; the `grad` of those weights is None."""

    def __call__(self, X: Tensor, y: Tensor) -> Tensor:
        """The loss, detached; each parameter's `grad` is its gradient, but for those in `products`."""
        if self._replay is None:
            return self._record(X, y)
        with torch.no_grad():
            return self._replay(X, y)

    def _record(self, X: Tensor, y: Tensor) -> Tensor:
        """A step as always, with an eye on what it consists of."""
        with Calls() as calls:
            loss = self._measure(X, y)
            gradients = torch.autograd.grad(loss, self._parameters)
        places: list[Place] = []
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = None
            factors = self._factors(calls, gradient) if self._factored else None
            if factors is None:
                places.append((parameter, "grad", gradient))
            else:
                self.products.append(product := Product(parameter, *factors))
                places += [(product, "left", factors[0]), (product, "right", factors[1])]
        try:
            with torch.no_grad():
                self._replay = Writing(calls, (X, y), self._lasting).function(loss, places)
        except NotRepeatable as reason:
            self.refused, self.products = str(reason), []
            places = [(p, "grad", gradient) for p, gradient in zip(self._parameters, gradients, strict=True)]
        for owner, name, numbers in places:
            setattr(owner, name, numbers.detach())
        return loss.detach()

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


@dataclass(frozen=True, slots=True)
class Line:
    """A call as the function's source has it."""

    operation: Any
    args: tuple[Any, ...]
    names: list[str]
    """Of its results."""
    function: str
    words: list[str]
    """Its arguments."""
    read: set[str]
    """The names of tensors among them."""
    joined: "Line | None" = None
    """One call for this one and the one whose result it reads: used where nothing else reads that."""

    @property
    def changes(self) -> bool:
        """It writes into one of its arguments."""
        return bool(self.operation._schema.is_mutable)

    def __str__(self) -> str:
        return f"    {', '.join(self.names)} = {self.function}({', '.join(self.words)})"


class Writing:
    """The source of a function that repeats the calls that were noted, a line each."""

    def __init__(self, calls: Calls, inputs: tuple[Tensor, Tensor], lasting: list[Tensor]) -> None:
        self._names = {id(inputs[0]): "X", id(inputs[1]): "y"}
        self._known: dict[str, Any] = {}
        self._lines: list[Line] = []
        self._made: dict[str, Line] = {}
        """By the name of the result, what has been made since the last change of an argument: it may be joined."""
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
        call = QUICK.get(operation, operation._op)  # what the operation calls itself, past a frame of Python
        function = self._constant(onednn.by_few(operation, args, call))
        joined = self._joined(operation, words, names, result)
        line = Line(operation, args, names, function, words, read, joined)
        self._lines.append(line)
        if line.changes:
            self._made.clear()  # what came before it may have read other numbers
        else:
            self._made[names[0]] = line

    def _joined(self, operation: Any, words: list[str], names: list[str], result: Any) -> Line | None:
        """The call that gives the result of `operation` in place of the one whose result it reads first, if any does.

        oneDNN takes the relu of a product as it writes it; a sum need not keep the dimensions that a view drops.
        """
        if not words or words[0] not in self._made:
            return None
        before = self._made[words[0]]
        if operation is aten.relu.default and before.operation is onednn.LINEAR and before.args[3] == "none":
            return replace(before, names=names, words=[*before.words[:3], repr("relu"), *before.words[4:]])
        if operation is aten.view.default and before.operation is aten.sum.dim_IntList and before.args[2:] == (True,):
            summed, dims, _ = before.args
            kept = [size for at, size in enumerate(summed.shape) if at not in dims]
            if list(result.shape) == kept and all(at >= 0 for at in dims):
                return replace(before, names=names, words=before.words[:2])
        return None

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
        return repr(value) if value is None or isinstance(value, (bool, int, str)) else self._constant(value)

    def function(self, loss: Tensor, places: list[Place]) -> Replay:
        """What gives the loss of another batch, and leaves what else comes of it in its `places`.

        Calls that nothing needs are left out, and memory is let go early.
        """
        needed: set[str] = set()
        last = [f"    {self._constant(owner)}.{name} = {self._text(tensor, needed)}" for owner, name, tensor in places]
        last.append(f"    return {self._text(loss, needed)}")
        seen, source = set(needed), last[::-1]
        for line in reversed(self._lines):
            if not line.changes and not needed & set(line.names):
                continue
            if line.joined is not None and line.words[0] not in needed:
                line = line.joined
            needed |= line.read
            last_used = {name for name in line.read | set(line.names) if name[0] == "v"} - seen
            seen |= last_used
            if last_used:
                source.append(f"    del {', '.join(sorted(last_used))}")
            source.append(str(line))
        space = dict(self._known)
        exec("def replay(X, y):\n" + "\n".join(reversed(source)), space)  # names and calls of ours only
        replay: Replay = space["replay"]
        return replay


def replays(settings: Settings, device: torch.device) -> bool:
    """True when forward and backward pass are replayed from a tape: on a CPU, in steps of one batch in 32 bits."""
    s = settings
    return device.type == "cpu" and s.grad_accum_steps == 1 and s.amp == "off" and not s.compile
