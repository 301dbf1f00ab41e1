"""Mixup and cutmix: examples of a batch mixed with others of it, drawn by (seed, epoch, batch) alone."""

import math

import numpy as np
import torch
from torch import Tensor

from tui_trainer.errors import ModelError
from tui_trainer.settings.schema import Settings
from tui_trainer.training.data.examples import Batch, Data

Box = tuple[int, int, int, int]
"""Rows from and to, columns from and to; the ends are outside."""


class Mixing:
    """Mixes the batches that are learned from; of several ways one is drawn for each batch.

    Targets become shares of each class [B, C], or stay numbers and are mixed as such.
    """

    def __init__(self, settings: Settings, data: Data, outputs: int, device: torch.device) -> None:
        """`outputs` are the numbers C that the model gives.

        Raises:
            ModelError: pieces are to be cut out of what is no image, or categories are to be mixed.
        """
        if data.categories:
            raise ModelError(f"mixup mixes numbers, and columns of {data.name} are categories. Set it to 0.")
        if settings.cutmix and len(data.shape) != 3:
            raise ModelError(f"cutmix cuts pieces out of images, and {data.name} holds none: use --mixup instead.")
        self._alphas = {"mixup": settings.mixup, "cutmix": settings.cutmix}
        self._ways = [way for way, alpha in self._alphas.items() if alpha]
        self._seed, self._size = settings.seed or 0, data.shape[-2:]
        self._one_hot = torch.eye(outputs, device=device)

    def __call__(self, X: Tensor, y: Tensor, epoch: int, batch: int) -> Batch:
        """Batch number `batch` of `epoch`, mixed. X is [B, ...]; y [B] int64 or [B, K] float, as the loss takes it."""
        random = np.random.default_rng((0x313, self._seed, epoch, batch))
        way = self._ways[int(random.integers(len(self._ways)))]
        share = float(random.beta(self._alphas[way], self._alphas[way]))
        others = torch.from_numpy(random.permutation(len(X))).to(X.device)
        if not y.is_floating_point():
            y = self._one_hot[y]  # torch's one_hot would wait for the device
        if way == "mixup":
            return mixup(X, y, share, others)
        return cutmix(X, y, box(share, self._size, random), others)


def mixup(X: Tensor, y: Tensor, share: float, others: Tensor) -> Batch:
    """Each example at `share`, and the one of the batch that `others` [B] names at what is left."""
    return _mixed(X, share, others), _mixed(y, share, others)


def cutmix(X: Tensor, y: Tensor, box: Box, others: Tensor) -> Batch:
    """Each image with the piece `box` of another; targets are mixed by their areas."""
    top, bottom, left, right = box
    share = 1 - (bottom - top) * (right - left) / (X.shape[-2] * X.shape[-1])
    mixed = X.clone()
    mixed[..., top:bottom, left:right] = X[others, ..., top:bottom, left:right]
    return mixed, _mixed(y, share, others)


def _mixed(part: Tensor, share: float, others: Tensor) -> Tensor:
    return part[others].mul_(1 - share).add_(part * share)


def box(share: float, size: tuple[int, ...], random: np.random.Generator) -> Box:
    """A piece of images of `size` (height, width) that leaves about `share` of them, its middle anywhere."""
    ends: list[int] = []
    for length in size:
        middle, half = int(random.integers(length)), int(0.5 * math.sqrt(1 - share) * length)
        ends += [max(0, middle - half), min(length, middle + half)]
    return ends[0], ends[1], ends[2], ends[3]
