"""Examples to learn from: inputs with their targets, in memory or fetched when they are wanted."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from tui_trainer.catalog import Shape

Batch = tuple[Tensor, Tensor]
"""X [B, ...] float32, images from 0 to 1; y [B] int64 class indices, or [B, K] float32."""


def rows_of(tensor: Tensor, rows: Tensor | slice) -> Tensor:
    """The rows at these places. On a CPU `tensor[rows]` copies byte by byte, which takes four times as long."""
    return tensor.index_select(0, rows) if isinstance(rows, Tensor) else tensor[rows]


class Examples(Dataset[Batch]):
    """Inputs and targets, given out a whole batch at a time.

    `targets` are [N] int64 class indices, [N, K] float32 numbers, or [N, K] float32 shares from 0 to 1.
    """

    targets: Tensor
    shape: Shape
    """One input: [C, H, W] of an image, [F] of a row of numbers."""
    in_memory = True
    """All inputs are at hand as one tensor, which can be held on the device."""

    def __len__(self) -> int:
        return len(self.targets)

    def raw(self, indices: Tensor) -> Batch:
        """The examples at `indices` [B] as they are kept: uint8 from 0 to 255, or float32."""
        raise NotImplementedError

    def part(self, indices: Tensor) -> "Examples":
        """Those at `indices`, or where a mask [N] is true."""
        raise NotImplementedError

    @property
    def nbytes(self) -> int:
        """What the inputs take, or would take, in memory."""
        raise NotImplementedError

    def none(self) -> Batch:
        """A batch of no examples."""
        return torch.empty(0, *self.shape), self.targets[:0]

    def checksum(self, crc: int) -> int:
        """Goes on from `crc` over all that tells these examples from others."""
        return zlib.crc32(self.targets.contiguous().numpy().data, crc)


class Tensors(Examples):
    """Examples in memory. `inputs` [N, ...] uint8 or float32."""

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        self.inputs, self.targets = inputs, targets
        self.shape = tuple(inputs.shape[1:])

    def __getitem__(self, indices: Tensor) -> Batch:
        """The examples at `indices` [B]; bytes are scaled to 0 to 1 as torchvision's ToTensor does."""
        inputs, y = self.raw(indices)
        return (inputs.float().div_(255) if inputs.dtype == torch.uint8 else inputs), y

    def raw(self, indices: Tensor) -> Batch:
        return rows_of(self.inputs, indices), rows_of(self.targets, indices)

    def part(self, indices: Tensor) -> "Tensors":
        return Tensors(self.inputs[indices], self.targets[indices])

    @property
    def nbytes(self) -> int:
        return self.inputs.nbytes

    def checksum(self, crc: int) -> int:
        crc = zlib.crc32(self.inputs.contiguous().numpy().data, crc)
        return super().checksum(crc)

    def to(self, device: torch.device) -> "Tensors":
        return Tensors(self.inputs.to(device), self.targets.to(device))

    def padded(self, pad: int) -> "Tensors":
        """Images with a black border of `pad` pixels."""
        return Tensors(F.pad(self.inputs, [pad] * 4), self.targets) if pad else self

    def resized(self, side: int) -> "Tensors":
        """Images of `side` x `side` pixels, smoothed where they become smaller."""
        if not side or self.shape[1:] == (side, side):
            return self
        from torchvision.transforms.v2.functional import resize  # 0.4 s

        parts = [resize(part, [side, side], antialias=True) for part in self.inputs.split(1024)]  # type: ignore[no-untyped-call]
        return Tensors(torch.cat(parts), self.targets)


class Items(Examples):
    """Examples that are made one by one, by a data set of torch's map style; `fetch` makes a tensor of an item's input.

    Worker processes get a copy: it must be possible to pickle the data set and `fetch`.
    """

    in_memory = False

    def __init__(
        self,
        dataset: Any,
        targets: Tensor,
        shape: Shape,
        fetch: Callable[[Any], Tensor],
        numbers: Tensor | None = None,
        dtype: torch.dtype = torch.uint8,
    ) -> None:
        """`targets` [N] are those of the items `numbers` [N], all of them when None; `dtype` is what `fetch` gives."""
        self._dataset, self._fetch, self._dtype = dataset, fetch, dtype
        self._numbers = torch.arange(len(targets)) if numbers is None else numbers
        self.targets, self.shape = targets, shape

    def raw(self, indices: Tensor) -> Batch:
        items = [self._fetch(self._dataset[number]) for number in self._numbers[indices].tolist()]
        return torch.stack(items), self.targets[indices]

    def part(self, indices: Tensor) -> "Items":
        numbers = self._numbers[indices]
        return Items(self._dataset, self.targets[indices], self.shape, self._fetch, numbers, self._dtype)

    @property
    def nbytes(self) -> int:
        return len(self) * int(np.prod(self.shape)) * self._dtype.itemsize


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a data set gives before it is split."""

    name: str
    """The data set really used; not the one asked for when that could not be had."""
    source: str
    """Where it came from, as a phrase."""
    classes: tuple[str, ...]
    """The names of the classes, labels or predicted numbers."""
    kind: str
    """What its targets are: class ([N] int64), labels ([N, K] of 0 and 1), number ([N, K]) or share ([N, K])."""
    train: Examples
    valid: Examples | None = None
    """Set when the data set has its own examples to measure on after each epoch."""
    test: Examples | None = None
    categories: tuple[int, ...] = ()
    """Of a table: how many values each of its last columns has, which hold whole numbers from 0."""
    columns: tuple[str, ...] = ()
    """Of a table: what each column of the inputs is called."""
    recipe: tuple[dict[str, Any], ...] = ()
    """And how it is made of a column of the file: plain values that JSON can hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """The splits of a run."""

    name: str
    source: str
    classes: tuple[str, ...]
    kind: str
    """As in `Source`."""
    shape: Shape
    """One input, without its batch."""
    train: Examples
    valid: Examples
    test: Examples | None
    """None when validation already uses the test split, or there is none."""
    valid_is_test: bool = False
    """Validation uses the test split, so no test is left for the end."""
    categories: tuple[int, ...] = ()
    columns: tuple[str, ...] = ()
    recipe: tuple[dict[str, Any], ...] = ()
    mean: tuple[float, ...] = ()
    """Of each channel or column, and its standard deviation: what inputs are normalised by; empty when they are not."""
    std: tuple[float, ...] = ()
    target_mean: tuple[float, ...] = ()
    """Of each number to be predicted, and its standard deviation: what targets are standardised by on their way to the
    loss; empty when they are not."""
    target_std: tuple[float, ...] = ()

    @property
    def parts(self) -> list[Examples]:
        """The splits that there are: train, valid and perhaps test."""
        return [part for part in (self.train, self.valid, self.test) if part is not None]

    def fingerprint(self) -> dict[str, int]:
        """What tells whether these are the examples that a run has learned from: their numbers, and a checksum."""
        crc = self.valid.checksum(self.train.checksum(0))
        return {"train examples": len(self.train), "validation examples": len(self.valid), "checksum": crc}


def moments(targets: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each number of `targets` [N, K]; the deviation of what never changes is 1."""
    std, mean = torch.std_mean(targets.double(), 0, correction=0)
    return mean, torch.where(std > 1e-9 * (1 + mean.abs()), std, 1.0)
