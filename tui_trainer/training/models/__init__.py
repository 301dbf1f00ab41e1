"""The models that can be named, a file for each of ours: its `build` takes `shape`, `outputs` and what it likes.

The file's name is the setting's word; its arguments are set by `--model-arg`.
"""

import copy
import importlib
from collections.abc import Callable

import torch
from torch import Tensor, nn

from tui_trainer.catalog import Shape
from tui_trainer.catalog.zoo import ZOO
from tui_trainer.errors import ModelError
from tui_trainer.own import arguments, loading
from tui_trainer.settings.places import is_place
from tui_trainer.settings.schema import Settings
from tui_trainer.training.models import own, weights, zoo


def build(
    settings: Settings,
    shape: Shape,
    outputs: int,
    *,
    categories: tuple[int, ...] = (),
    classes: tuple[str, ...] = (),
) -> nn.Module:
    """The model of the settings: inputs [N, *shape] in, raw outputs [N, outputs] out.

    Raises:
        ModelError: it cannot be built for these inputs, or with these arguments, or its weights cannot be had.
    """
    name, typed = settings.model, arguments.arguments(settings.model_arg, "--model-arg")
    given = {"shape": shape, "outputs": outputs, "categories": categories}
    if is_place(name):
        return own.make_model(loading.load(name, "model"), given | {"classes": classes, "settings": settings}, typed)
    if len(shape) != 3 and name != "mlp":
        raise ModelError(f"{name} takes images, and the inputs are {shape}. Use --model mlp, or one of your own.")
    if name in ZOO:
        channels, height, width = shape
        made = zoo.build(name, (channels, height, width), outputs, **typed)
        if settings.pretrained:
            weights.load(made, name)
        return made
    module = importlib.import_module(f"tui_trainer.training.models.builtin.{name}")
    model: nn.Module = arguments.call(module.build, given, typed, shown=name, flag="--model-arg")
    return model


def repeats(settings: Settings) -> bool:
    """True for models whose steps always do the same operations: a recording of one serves for all."""
    if settings.model in ZOO or is_place(settings.model):
        return settings.model == "resnet18"
    module = importlib.import_module(f"tui_trainer.training.models.builtin.{settings.model}")
    return bool(getattr(module, "REPEATABLE", False))


def compiled(model: nn.Module, shape: Shape, settings: Settings, device: torch.device) -> Callable[[Tensor], Tensor]:
    """The model through torch.compile, tried forward and backward on a batch of zeros that leaves no trace in it.

    Raises:
        Exception: whatever the compiler says when it cannot.
    """
    forward: Callable[[Tensor], Tensor] = torch.compile(model)
    before = copy.deepcopy(model.state_dict())
    X = torch.zeros(settings.batch_size, *shape, device=device)
    with torch.random.fork_rng():
        model.train()
        forward(X).sum().backward()  # type: ignore[no-untyped-call]
    model.zero_grad()
    model.load_state_dict(before)
    return forward


def count(model: nn.Module) -> int:
    """Trainable numbers in `model`."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
