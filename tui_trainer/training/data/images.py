"""Image files as what a model takes: decoded by Pillow, in the run's colours and size."""

import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from tui_trainer.errors import DataError
from tui_trainer.text import clean

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
"""What is taken for an image in a folder; a file that is named itself may have any ending."""
_DECODERS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
"""Pillow's decoders that start no other program."""
_MODES = {1: "L", 3: "RGB"}
_WORDS = {"L": "made grey", "RGB": "made RGB"}


@dataclass(frozen=True, slots=True)
class Pixels:
    """An image as bytes, and what had to be done to it. No torch: any thread may read one."""

    pixels: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]"
    """[H, W, C]."""
    changes: tuple[str, ...]
    before: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """An image as a tensor, and what had to be done to it."""

    pixels: Tensor
    """[C, H, W] uint8."""
    changes: tuple[str, ...]
    """Such as `made grey` and `resized to 28 x 28`, in the order in which they were made."""
    before: str
    """What it was, such as `RGB 640 x 480`."""


def files_in(names: Iterable[str]) -> Iterator[str]:
    """The paths of images: files as they are named, and every image in the folders that are named, in order.

    A folder without any image, or that may not be read, is given as it is: reading it says so.
    """
    for name in names:
        if not os.path.isdir(name):
            yield name
            continue
        empty, closed = True, list[OSError]()
        for folder, folders, files in os.walk(name, onerror=closed.append):
            folders.sort()
            for file in sorted(files):
                if file.lower().endswith(ENDINGS) and not file.startswith("."):
                    empty = False
                    yield os.path.join(folder, file)
        yield from (error.filename for error in closed)
        if empty and not closed:
            yield name


def read_image(path: str, channels: int, size: tuple[int, int]) -> Decoded:
    """The image in a file with so many channels and of `size` [height, width].

    Raises:
        DataError: there is no such file, or it holds no image that can be read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of images that are large, or oddly made
        read = read_pixels(path, channels, size)
    return Decoded(torch.from_numpy(read.pixels).permute(2, 0, 1).contiguous(), read.changes, read.before)


def read_pixels(path: str, channels: int, size: tuple[int, int]) -> Pixels:
    """The same as an array.

    Raises:
        DataError: there is no such file, or it holds no image that can be read.
    """
    shown, mode = clean(path, 600), _MODES.get(channels)
    if mode is None:
        raise DataError(f"The model takes images of {channels} channels; files are read as grey or RGB only.")
    if os.path.isdir(path):
        try:
            os.scandir(path).close()
        except OSError as error:
            raise DataError(f"{shown}: this folder cannot be read: {error.strerror}.") from error
        raise DataError(f"{shown}: there is no image in this folder.")
    if not os.path.isfile(path):
        raise DataError(f"{shown}: there is no such file." if not os.path.lexists(path) else f"{shown}: is no file.")
    with opened(path) as image:
        image.load()
        return fit(image, mode, size)


@contextmanager
def opened(path: str) -> Iterator[Image.Image]:
    """The image in a file, its header read. What its decoder trips over later, inside, is told in the same way.

    Raises:
        DataError: it is no image that can be read.
    """
    shown = clean(path, 600)
    Image.init()
    formats = [name for name in _DECODERS if name in Image.OPEN]  # a Pillow may be built without one of them
    try:
        with Image.open(path, formats=formats) as image:
            yield image
    except UnidentifiedImageError:
        raise DataError(f"{shown}: is not an image that can be read (PNG, JPEG, WebP, GIF, TIFF, BMP).") from None
    except DataError:
        raise
    except Exception as error:  # decoders of broken files raise whatever they trip over
        reason = getattr(error, "strerror", None) or str(error).split("\n")[0] or type(error).__name__
        raise DataError(f"{shown}: cannot be read: {clean(reason, 120)}.") from error


def fit(image: Image.Image, mode: str, size: tuple[int, int]) -> Pixels:
    """An image in `mode` L or RGB and of `size` [height, width]."""
    before, changes = f"{image.mode} {image.width} x {image.height}", []
    image = ImageOps.exif_transpose(image)  # a photograph that lies on its side
    if image.mode.startswith("I;16"):
        image = image.point(lambda value: value * (1 / 257))  # 16 bits would be cut at 255, not scaled
        image = image.convert("L")
    if image.mode != mode:
        image = image.convert(mode)
    if not before.startswith(f"{mode} "):
        changes.append(_WORDS[mode])
    height, width = size
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        changes.append(f"resized to {width} x {height}")
    return Pixels(np.array(image, dtype=np.uint8).reshape(height, width, -1), tuple(changes), before)
