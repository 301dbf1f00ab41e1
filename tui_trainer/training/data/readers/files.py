"""Examples that are image files: decoded when they are wanted, or all at once into memory."""

import os
import warnings
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tui_trainer.errors import DataError
from tui_trainer.run.events import Event, Preparing
from tui_trainer.settings.schema import Settings
from tui_trainer.training.data.examples import Items, Tensors
from tui_trainer.training.data.images import read_image, read_pixels

MIXED_SIDE = 224
"""Side of images whose sizes differ, as models of torchvision like it."""

DECODERS = 8
"""Threads that decode images at the most; Pillow lets them run at the same time."""

TOGETHER = 128
"""Images that are handed to the threads at once."""


class Names:
    """Very many paths in little memory: bytes in one piece, which worker processes share rather than copy."""

    def __init__(self, paths: Sequence[str], root: str) -> None:
        """`root` is where all of them are."""
        self.root = root
        before = os.path.join(root, "")
        parts = [os.fsencode(path.removeprefix(before)) for path in paths]
        self._bytes = np.frombuffer(b"".join(parts), np.uint8)
        self._ends = np.cumsum([len(part) for part in parts], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, number: int) -> str:
        begin = int(self._ends[number - 1]) if number else 0
        return os.path.join(self.root, os.fsdecode(self._bytes[begin : int(self._ends[number])].tobytes()))

    def checksum(self, crc: int) -> int:
        """Goes on from `crc` over the paths below the root: the same when the whole is moved elsewhere."""
        return zlib.crc32(self._bytes.data, zlib.crc32(self._ends.data, crc))


@dataclass(frozen=True, slots=True)
class Form:
    """What images are made into."""

    channels: int
    height: int
    width: int
    pad: int = 0
    """Black pixels added on every side."""

    @classmethod
    def of(cls, settings: Settings, shape: tuple[int, int, int] | None, channels: int = 3) -> "Form":
        """The one that the settings want for images of `shape`, or of different sizes when that is None."""
        channels, height, width = shape or (channels, MIXED_SIDE, MIXED_SIDE)
        if settings.image_size:
            height = width = settings.image_size
        return cls(channels, height, width, settings.pad)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, self.height + 2 * self.pad, self.width + 2 * self.pad

    @property
    def nbytes(self) -> int:
        """Of one image."""
        channels, height, width = self.shape
        return channels * height * width

    def __call__(self, path: str) -> Tensor:
        """The image in the file [C, H, W] uint8, as `predict` reads it.

        Raises:
            DataError: it cannot be read; the message names the file.
        """
        pixels = read_image(path, self.channels, (self.height, self.width)).pixels
        return F.pad(pixels, [self.pad] * 4) if self.pad else pixels


class Files(Items):
    """Image files, decoded when they are wanted."""

    def __init__(self, names: Names, targets: Tensor, form: Form, numbers: Tensor | None = None) -> None:
        super().__init__(names, targets, form.shape, form, numbers)
        self._names, self._form = names, form

    def part(self, indices: Tensor) -> "Files":
        return Files(self._names, self.targets[indices], self._form, self._numbers[indices])

    def checksum(self, crc: int) -> int:
        crc = zlib.crc32(self._numbers.contiguous().numpy().data, self._names.checksum(crc))
        return super().checksum(crc)


T = TypeVar("T")


def side_by_side(work: Callable[[str], T], paths: Sequence[str]) -> Iterator[T]:
    """What `work` gives for each of the paths, in their order, done by several threads. It must not use torch."""
    with ThreadPoolExecutor(max(1, min(DECODERS, os.cpu_count() or 1))) as threads:
        for first in range(0, len(paths), TOGETHER):
            with warnings.catch_warnings():  # the threads' as well
                warnings.simplefilter("ignore")  # of images that are large, or oddly made
                done = list(threads.map(work, paths[first : first + TOGETHER]))
            yield from done


Broken = list[tuple[str, str]]
"""Files that are no images: path, and why."""


def decoded(
    paths: Sequence[str], targets: Tensor, form: Form, progress: Callable[[], str]
) -> Generator[Event, None, tuple[Tensors, Broken]]:
    """All images that can be read, in memory and without a border, and those that cannot.

    `progress` counts one more and says how far it is.
    """
    held = torch.empty(len(paths), form.channels, form.height, form.width, dtype=torch.uint8)
    pixels = held.numpy()
    whole: list[int] = []
    broken = Broken()

    def read(path: str) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]] | DataError":
        try:
            return read_pixels(path, form.channels, (form.height, form.width)).pixels
        except DataError as error:
            return error

    for number, image in enumerate(side_by_side(read, paths)):
        if isinstance(image, DataError):
            broken.append((paths[number], str(image)))
        else:
            pixels[len(whole)] = image.transpose(2, 0, 1)
            whole.append(number)
        if told := progress():
            yield Preparing(what=told)
    return Tensors(held[: len(whole)], targets[whole]), broken
