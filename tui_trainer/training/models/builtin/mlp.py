"""The tutorial's network: flatten, then linear layers with ReLU between them (784-512-512-10 on FashionMNIST)."""

from math import prod

import torch
from torch import Tensor, nn

from tui_trainer.catalog import Shape

REPEATABLE = True
"""Every step does the same operations, whatever the numbers: forward and backward pass may be replayed."""


def build(
    shape: Shape,
    outputs: int,
    hidden: tuple[int, ...] = (512, 512),
    dropout: float = 0.0,
    categories: tuple[int, ...] = (),
) -> nn.Module:
    """Inputs [N, *shape] in, raw outputs [N, outputs] out; `hidden` are the widths between.

    The last columns of a table may hold `categories`: how many values each has. They are embedded.
    """
    first = Embedded(shape[0], categories) if categories else nn.Flatten()
    layers: list[nn.Module] = [first]
    width = first.width if isinstance(first, Embedded) else prod(shape)
    for wide in hidden:
        layers += [nn.Linear(width, wide), nn.ReLU()]
        if dropout:
            layers.append(nn.Dropout(dropout))
        width = wide
    return nn.Sequential(*layers, nn.Linear(width, outputs))


class Embedded(nn.Module):
    """Rows [N, F] with each of their last columns, whole numbers from 0, as a vector: [N, width]."""

    def __init__(self, columns: int, categories: tuple[int, ...]) -> None:
        super().__init__()
        self._numbers = columns - len(categories)
        widths = [min(50, (values + 1) // 2) for values in categories]
        self.embeddings = nn.ModuleList(nn.Embedding(n, w) for n, w in zip(categories, widths, strict=True))
        self.width = self._numbers + sum(widths)

    def forward(self, X: Tensor) -> Tensor:
        codes = X[:, self._numbers :].long()
        embedded = [embed(codes[:, column]) for column, embed in enumerate(self.embeddings)]
        return torch.cat([X[:, : self._numbers], *embedded], 1)
