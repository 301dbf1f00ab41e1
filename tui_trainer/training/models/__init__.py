"""The models that can be named, a file for each of ours: its `build` takes `shape`, `outputs` and what it likes.

The file's name is the setting's word; its arguments are set by `--model-arg`.
"""

import copy
import importlib
from collections.abc import Callable

import torch
from torch import Tensor, nn

from tui_trainer.catalog import MODELS, ResNetFacts, Shape, names_in
from tui_trainer.settings import Settings


def build(settings: Settings, shape: Shape, outputs: int, categories: tuple[int, ...] = ()) -> nn.Module:
    """The model of the settings: inputs [N, *shape] in, raw outputs [N, outputs] out.

    Raises:
        ModelError: it cannot be built for these inputs.
    """
    name = settings.model
    if name not in names_in("training/models"):
        facts = MODELS[name]
        assert isinstance(facts, ResNetFacts) and len(shape) == 3
        return resnet(facts, shape, outputs)
    module = importlib.import_module(f"tui_trainer.training.models.{name}")
    model: nn.Module = module.build(shape, outputs, **({"categories": categories} if categories else {}))
    return model


def repeats(settings: Settings) -> bool:
    """True for models of ours whose steps always do the same operations."""
    name = settings.model
    if name not in names_in("training/models"):
        return name == "resnet18"
    return bool(getattr(importlib.import_module(f"tui_trainer.training.models.{name}"), "REPEATABLE", False))


def resnet(facts: ResNetFacts, shape: Shape, classes: int) -> nn.Module:
    """torchvision's residual network, its first convolution made for the images' channels."""
    from torchvision.models.resnet import BasicBlock, ResNet  # 0.4 s, and only this model needs it

    model = ResNet(BasicBlock, list(facts.blocks), num_classes=classes)
    if shape[0] != 3:
        first = model.conv1 = nn.Conv2d(shape[0], facts.widths[0], 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")
    return model  # type: ignore[no-any-return]


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


@torch.no_grad()
def layers_of(model: nn.Module, shape: Shape) -> tuple[tuple[str, str, int], ...]:
    """The layers in the order they run: torch.nn name, output shape without the batch, parameters of its own."""
    rows: list[tuple[str, str, int]] = []

    def note(module: nn.Module, _inputs: object, output: Tensor) -> None:
        rows.append((type(module).__name__, " x ".join(str(n) for n in output.shape[1:]), count(module)))

    leaves = [module for module in model.modules() if not list(module.children())]
    handles = [module.register_forward_hook(note) for module in leaves]
    was_training = model.training
    try:
        model.eval()
        model(torch.zeros(1, *shape, device=next(model.parameters()).device))
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return tuple(rows)
