"""The models that can be named, built from the widths in the catalog."""

import copy
from collections.abc import Callable
from math import prod

import torch
from torch import Tensor, nn

from tui_trainer.catalog import MODELS, ModelFacts, ResNetFacts
from tui_trainer.settings import Settings


def build(name: str, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """The model called `name`: images [N, C, H, W] of `shape` in, raw outputs [N, classes] out."""
    facts = MODELS[name]
    if isinstance(facts, ResNetFacts):
        return resnet(facts, shape, classes)
    return cnn(facts, shape, classes) if facts.channels else mlp(facts, shape, classes)


def mlp(facts: ModelFacts, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """The tutorial's network: flatten, then linear layers with ReLU between them (784-512-512-10 on FashionMNIST)."""
    layers: list[nn.Module] = [nn.Flatten()]
    width = prod(shape)
    for hidden in facts.hidden:
        layers += [nn.Linear(width, hidden), nn.ReLU()]
        width = hidden
    return nn.Sequential(*layers, nn.Linear(width, classes))


def cnn(facts: ModelFacts, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """3x3 convolutions, each halved by pooling, then linear layers with dropout before the last."""
    layers: list[nn.Module] = []
    channels, height, width = shape
    for outputs in facts.channels:
        layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        channels, height, width = outputs, height // 2, width // 2
    layers.append(nn.Flatten())
    features = channels * height * width
    for hidden in facts.hidden:
        layers += [nn.Linear(features, hidden), nn.ReLU(), nn.Dropout(0.25)]
        features = hidden
    return nn.Sequential(*layers, nn.Linear(features, classes))


def resnet(facts: ResNetFacts, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """torchvision's residual network, its first convolution made for the images' channels."""
    from torchvision.models.resnet import BasicBlock, ResNet  # 0.4 s, and only this model needs it

    model = ResNet(BasicBlock, list(facts.blocks), num_classes=classes)
    if shape[0] != 3:
        first = model.conv1 = nn.Conv2d(shape[0], facts.widths[0], 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")
    return model  # type: ignore[no-any-return]


def compiled(
    model: nn.Module, shape: tuple[int, int, int], settings: Settings, device: torch.device
) -> Callable[[Tensor], Tensor]:
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
def layers_of(model: nn.Module, shape: tuple[int, int, int]) -> tuple[tuple[str, str, int], ...]:
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
