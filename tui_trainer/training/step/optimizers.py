"""The optimizers that settings can name, made with torch's fused kernels where there are such."""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from tui_trainer.own import arguments, loading
from tui_trainer.settings.places import is_place
from tui_trainer.settings.schema import Settings
from tui_trainer.training.models import finetune, own
from tui_trainer.training.step.cpu_replay import Calls
from tui_trainer.training.step.onednn import Quickly


def make_optimizer(model: nn.Module, settings: Settings, *, graph: bool = False) -> torch.optim.Optimizer:
    """The optimizer of torch.optim that the settings name, as one kernel for all weights where torch has one.

    For a step that is recorded as a `graph` the learning rate is a tensor, which the recording reads anew each time.
    """
    s, parameters = settings, [p for p in model.parameters() if p.requires_grad]
    typed = arguments.arguments(s.optimizer_arg, "--optimizer-arg")
    if is_place(s.optimizer):
        given = {"lr": s.lr, "weight_decay": s.weight_decay, "momentum": s.momentum, "settings": s}
        return own.make_optimizer(loading.load(s.optimizer, "optimizer"), model, given, typed)
    options: dict[str, Any] = {"lr": s.lr, "weight_decay": s.weight_decay}
    learns: list[Any] = finetune.groups(model, s) if s.layer_decay < 1 else parameters
    if graph:
        options["lr"] = torch.tensor(s.lr, device=parameters[0].device)
        for group in learns if s.layer_decay < 1 else ():
            group["lr"] = torch.tensor(group["lr"], device=parameters[0].device)
    if s.optimizer in ("sgd", "rmsprop"):
        options["momentum"] = s.momentum
    if s.optimizer == "sgd":
        options["nesterov"] = s.nesterov
    if graph and s.optimizer in ("adam", "adamw"):
        options["capturable"] = True
    kind = OPTIMIZERS[s.optimizer]
    if not s.compile:
        without_compiler()
    if typed:
        call = partial(arguments.call, kind, typed=typed, shown=s.optimizer, flag="--optimizer-arg", first=[learns])
        made: torch.optim.Optimizer = call(given=options)
        return made
    if s.optimizer == "rmsprop" or (s.optimizer == "adagrad" and parameters[0].device.type == "cuda"):
        return kind(learns, **options)  # torch has no such kernel for it
    try:
        return kind(learns, fused=True, **options)
    except RuntimeError:  # nor for others on every device
        return kind(learns, **options)


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adagrad": torch.optim.Adagrad,
    "rmsprop": torch.optim.RMSprop,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}


def without_compiler() -> None:
    """Spare the import of torch's compiler (1.5 s), wanted only to say that some methods are not to be compiled.

    torch keeps that mark on the function itself, in an attribute without which it asks the compiler for it.
    """
    if "torch._dynamo" in sys.modules:
        return
    names = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    modes = (Calls.__torch_dispatch__, Quickly.__torch_dispatch__)
    for marked in (*(getattr(torch.optim.Optimizer, name) for name in names), *modes):
        method = getattr(marked, "__wrapped__", None)
        if method is not None:
            method.__dict__.setdefault("__dynamo_disable", method)
