"""3x3 convolutions, each halved by pooling, then linear layers with dropout before the last."""

from torch import nn

from tui_trainer.catalog import Shape

REPEATABLE = True
"""As for mlp."""


def build(
    shape: Shape,
    outputs: int,
    channels: tuple[int, ...] = (32, 64),
    hidden: tuple[int, ...] = (128,),
    dropout: float = 0.25,
) -> nn.Module:
    """Images [N, C, H, W] in, raw outputs [N, outputs] out."""
    layers: list[nn.Module] = []
    inputs, height, width = shape
    for wide in channels:
        layers += [nn.Conv2d(inputs, wide, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        inputs, height, width = wide, height // 2, width // 2
    layers.append(nn.Flatten())
    features = inputs * height * width
    for wide in hidden:
        layers += [nn.Linear(features, wide), nn.ReLU(), nn.Dropout(dropout)]
        features = wide
    return nn.Sequential(*layers, nn.Linear(features, outputs))
