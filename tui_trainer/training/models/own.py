"""The user's own model, loss, optimizer and random changes: made from his code, and looked at before they are used."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tui_trainer.errors import ModelError
from tui_trainer.own import arguments
from tui_trainer.own.loading import Plugin, quiet
from tui_trainer.text import clean
from tui_trainer.training.step.losses import LossFunction

Change = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(X [B, ...], y [B, ...]) -> both as they are learned from, a batch of training examples changed at random."""

Values = Mapping[str, object]


def make(plugin: Plugin, given: Values, typed: Values, *first: object) -> Any:
    """What the class or factory gives, called as `arguments.call` does; what it prints goes to stderr."""
    with quiet():
        return arguments.call(
            plugin.made, given, typed, shown=plugin.name, flag=plugin.flag, first=first, path=plugin.path
        )


def make_model(plugin: Plugin, given: Values, typed: Values) -> nn.Module:
    """The model of the user's class or factory.

    Raises:
        ModelError: it cannot be made, or is no model that could learn.
    """
    if isinstance(plugin.made, nn.Module):
        raise ModelError(f"{plugin.name} is one model, made already. Name its class, or a function that makes it.")
    return check_model(make(plugin, given, typed), f"{plugin.name}()")


def make_loss(plugin: Plugin, given: Values, typed: Values) -> LossFunction:
    """The loss that the user's code is or gives.

    A function that needs two values by position, whatever they are called, is a loss itself; a class, or a function
    that needs fewer, makes one.

    Raises:
        ModelError: it cannot be made, or cannot be called.
    """
    if _makes(plugin, given, typed, {2}):
        loss = make(plugin, given, typed)
        return _callable(loss, f"{plugin.name}()", "a loss: a function of outputs and y")
    return _with_values(plugin, given, typed, 2)


def make_augment(plugin: Plugin, given: Values, typed: Values) -> Change:
    """The random changes that the user's code is or gives, of X alone or of X and y.

    A function that needs one or two values by position changes a batch itself; a class, or a function that needs
    none, makes what does.

    Raises:
        ModelError: it cannot be made, or cannot be called.
    """
    if _makes(plugin, given, typed, {1, 2}):
        made = make(plugin, given, typed)
        change, shown = _callable(made, f"{plugin.name}()", "a function of X, or of X and y"), f"{plugin.name}()"
        both = arguments.needed(change, {}) == 2
    else:
        wanted = arguments.needed(plugin.made, {**given, **typed})
        change, shown, both = _with_values(plugin, given, typed, wanted), plugin.name, wanted == 2

    def augment(X: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        done = arguments.run(lambda: change(X, y) if both else change(X), shown.removesuffix("()"), plugin.path)
        pair = done if isinstance(done, tuple) else (done, y)
        if len(pair) != 2 or not all(isinstance(part, Tensor) and len(part) == len(X) for part in pair):
            raise ModelError(f"{shown} gives {_shape(done)}, not X, or X and y, of {len(X)} examples.")
        return pair

    return augment


def make_optimizer(plugin: Plugin, model: nn.Module, given: Values, typed: Values) -> torch.optim.Optimizer:
    """The optimizer of the user's class or factory, which gets the trainable parameters first.

    Raises:
        ModelError: it cannot be made, or is no optimizer of this model.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return check_optimizer(make(plugin, given, typed, parameters), model, f"{plugin.name}()")


def _makes(plugin: Plugin, given: Values, typed: Values, itself: set[int]) -> bool:
    """False when the code is what is wanted itself: it needs so many more values than can be given by name."""
    made = plugin.made
    if isinstance(made, type):
        return True
    return not isinstance(made, nn.Module) and arguments.needed(made, {**given, **typed}) not in itself


def _with_values(plugin: Plugin, given: Values, typed: Values, first: int) -> Callable[..., Any]:
    """The user's function with the values that it takes by name; `first` values come by position later."""
    _, values = arguments.bind(plugin.made, given, typed, shown=plugin.name, flag=plugin.flag, first=first)
    return partial(plugin.made, **values) if values else plugin.made


def _callable(made: Any, shown: str, wanted: str) -> Callable[..., Any]:
    if not callable(made) or isinstance(made, type):
        raise ModelError(f"{shown} gives {_shape(made)}, not {wanted}.")
    return made  # type: ignore[no-any-return]


def check_model(model: object, shown: str) -> nn.Module:
    """`model`, when it is one that could learn.

    Raises:
        ModelError: it is no `torch.nn.Module`, has no trainable parameter, or lies on several devices.
    """
    shown = clean(shown, 80)
    if isinstance(model, type) and issubclass(model, nn.Module):
        raise ModelError(f"{shown} gives the class {clean(model.__name__, 80)}, not a model. Return one made of it.")
    if not isinstance(model, nn.Module):
        raise ModelError(f"{shown} gives {_shape(model)}, not a model (torch.nn.Module).")
    named = dict(model.named_parameters())
    lazy = [name for name, parameter in named.items() if nn.parameter.is_lazy(parameter)]
    if lazy:
        raise ModelError(f"{shown}: {_names(lazy)} has no size yet. Give each layer the number of its inputs.")
    if not any(parameter.requires_grad for parameter in named.values()):
        what = "All of its parameters are frozen." if named else "It has no parameters."
        raise ModelError(f"{shown} gives a model with nothing to learn. {what}")
    devices: dict[str, str] = {}
    for name, tensor in [*named.items(), *model.named_buffers()]:
        devices.setdefault(str(tensor.device), name)
    if len(devices) > 1:
        places = ", ".join(f"{clean(name, 80)} on {device}" for device, name in devices.items())
        raise ModelError(f"{shown} gives a model on several devices: {places}. Leave all of it on one.")
    if "meta" in devices:
        raise ModelError(f"{shown} gives a model without numbers: its parameters are on the device meta.")
    return model


def check_optimizer(optimizer: object, model: nn.Module, shown: str) -> torch.optim.Optimizer:
    """`optimizer`, when it moves all that is trainable in `model` and nothing else.

    Raises:
        ModelError: it is no `torch.optim.Optimizer`, or holds other parameters.
    """
    shown = clean(shown, 80)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ModelError(f"{shown} gives {_shape(optimizer)}, not an optimizer (torch.optim.Optimizer).")
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    own = {id(parameter): name for name, parameter in model.named_parameters()}
    left = [
        own[id(parameter)] for parameter in model.parameters() if parameter.requires_grad and id(parameter) not in held
    ]
    if held - set(own):
        raise ModelError(
            f"{shown} holds {len(held - set(own))} parameters that are not the model's. Use those it gets."
        )
    if left:
        raise ModelError(
            f"{shown} leaves out {_names(left)}, which would never learn. Freeze what should stay as it is."
        )
    if not all("lr" in group for group in optimizer.param_groups):
        raise ModelError(f"{shown} has no learning rate: each of its groups needs one called lr.")
    return optimizer


def check_loss(loss: LossFunction, outputs: Tensor, y: Tensor, shown: str, plugin: Plugin | None = None) -> None:
    """Try `loss` on a batch: outputs [B, ...] that a gradient can flow to, and their targets y [B, ...].

    Raises:
        ModelError: it fails, gives no single number, or none that depends on the outputs.
    """
    shown = clean(shown, 80)
    value = arguments.run(lambda: loss(outputs, y), shown.removesuffix("()"), plugin.path if plugin else None)
    fits = f"The model gives {tuple(outputs.shape)}, the targets are {tuple(y.shape)}."
    if not isinstance(value, Tensor):
        raise ModelError(f"{shown} gives {_shape(value)}, not a tensor of one number. {fits}")
    if value.dim():
        raise ModelError(f"{shown} gives {_shape(value)}, not one number: return its mean(). {fits}")
    if outputs.requires_grad and not value.requires_grad:
        raise ModelError(f"{shown} gives a number that does not depend on the outputs, so nothing is learned. {fits}")
    if not math.isfinite(value.item()) and torch.isfinite(outputs).all():
        raise ModelError(f"{shown} gives {value.item()} on the first batch. {fits}")


def _shape(value: object) -> str:
    """What came in place of what was wanted, as a phrase."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)}"
    return "nothing" if value is None else f"something of type {clean(type(value).__name__, 80)}"


def _names(names: list[str]) -> str:
    shown = ", ".join(clean(name, 80) for name in names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
