"""Folders of images, `folder:PATH`: a folder for each class, below train, valid and test or alone.

Every file is opened before the first step, so that a broken one is told of then and not in the third epoch.
"""

import os
import time
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tui_trainer.catalog.image_folder import ENDINGS, Layout, Split, images_in, layout_of
from tui_trainer.errors import DataError
from tui_trainer.run.events import Event, Preparing, Warned
from tui_trainer.settings.schema import Settings
from tui_trainer.text import clean
from tui_trainer.training.data.batches import free_memory
from tui_trainer.training.data.examples import Examples, Source
from tui_trainer.training.data.images import opened
from tui_trainer.training.data.readers.files import Broken, Files, Form, Names, decoded, side_by_side
from tui_trainer.training.data.readers.torchvision import typed

MOST_SHOWN = 5
"""Files and classes that a message names."""

GREY = ("1", "L", "LA", "I;16", "I;16B", "I;16L", "I;16N")
"""Pillow's modes of images without colour."""

ORIENTATION = 0x0112
"""The Exif tag that says how a photograph lies; from 5 on on its side."""


@dataclass(frozen=True, slots=True)
class Found:
    """The images of a split, before one is decoded."""

    word: str
    """train, valid or test."""
    paths: list[str]
    targets: list[int]

    def without(self, left_out: set[str]) -> "Found":
        kept = [n for n, path in enumerate(self.paths) if path not in left_out]
        return replace(self, paths=[self.paths[n] for n in kept], targets=[self.targets[n] for n in kept])

    @property
    def labels(self) -> Tensor:
        return torch.tensor(self.targets, dtype=torch.int64)


class Progress:
    """Says now and then how many of all images are read."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total, self._done, self._told = what, total, 0, 0.0

    def __call__(self) -> str:
        """Counts one more; what to tell, or nothing when something was told just now."""
        self._done += 1
        now = time.monotonic()
        if now - self._told < 0.2 and self._done != self._total:
            return ""
        self._told = now
        return f"{self._what}: {self._done:,} of {self._total:,}"


def read(settings: Settings, name: str) -> Generator[Event, None, Source]:
    """The images in the folder of `folder:PATH`: in memory when they fit in half of what is free, else file by file.

    Raises:
        DataError: folders or files are missing or cannot be read; the message names them.
    """
    root = os.path.expanduser(name.removeprefix("folder:"))
    typed(settings, ())
    yield Preparing(what="looking for images")
    layout = _layout(root)
    names = list(layout.train.classes)
    splits = []
    for word, split in (("train", layout.train), ("valid", layout.valid), ("test", layout.test)):
        if split is not None:
            splits.append((yield from _found(word, split, names)))
    _judge(root, splits, names)
    if layout.unread:
        yield Warned(text=f"not read: {_some(layout.unread)} in {clean(root)}, which is neither train, valid nor test")

    shapes, broken = yield from _headers(splits)
    readable = [found.without({path for path, _ in broken}) for found in splits]
    form = Form.of(settings, *_common(shapes))
    fits = form.nbytes * shapes.total() <= free_memory(torch.device("cpu")) / 2
    examples: dict[str, Examples] = {}
    if fits:
        progress = Progress("reading images", shapes.total())
        for found in readable:
            examples[found.word], failed = yield from decoded(found.paths, found.labels, form, progress)
            broken += failed
    else:
        broken += yield from _verify(readable)
    left = yield from _leave_out(settings, root, splits, names, broken)
    if not fits:
        examples = {found.word: Files(Names(found.paths, root), found.labels, form) for found in left}
    return Source(
        name=name,
        source=f"images found in {clean(root)}",
        classes=tuple(clean(name, 100) for name in names),
        kind="class",
        train=examples["train"],
        valid=examples.get("valid"),
        test=examples.get("test"),
    )


def _layout(root: str) -> Layout:
    """Raises: DataError."""
    shown = clean(root, 600)
    if not os.path.isdir(root):
        raise DataError(
            f"{shown}: there is no such folder." if not os.path.lexists(root) else f"{shown}: is no folder."
        )
    try:
        layout = layout_of(root)
        images = [entry.name for entry in os.scandir(root) if entry.name.lower().endswith(ENDINGS)]
    except OSError as error:
        raise _closed(error) from error
    if layout.train.classes:
        return layout
    if images:
        raise DataError(
            f"{shown}: there are {len(images):,} images and no folders. Put the images of each class into a folder of "
            "its own; the folder's name is the class."
        )
    raise DataError(
        f"{shown}: there is no folder of images in it. Wanted is {shown}/CLASS/*.png, or {shown}/train/CLASS/*.png."
    )


def _found(word: str, split: Split, names: Sequence[str]) -> Generator[Event, None, Found]:
    """The images of a split.

    Raises:
        DataError: a folder cannot be read, a class has no images, or is none that training knows.
    """
    if unknown := [name for name in split.classes if name not in names]:
        raise DataError(
            f"{clean(split.path, 600)}: {_some(unknown)} {_is(unknown)} not among the classes of train: {_some(names)}."
        )
    found = Found(word, [], [])
    told = time.monotonic()
    try:
        for name, folder in split.classes.items():
            label = names.index(name)
            for path in images_in(folder):
                if path is not None:
                    found.paths.append(path)
                    found.targets.append(label)
                elif (now := time.monotonic()) - told > 0.2:
                    told = now
                    yield Preparing(what=f"looking for images: {len(found.paths):,} in {word}")
    except OSError as error:
        raise _closed(error) from error
    return found


def _closed(error: OSError) -> DataError:
    return DataError(f"{clean(error.filename, 600)}: this folder cannot be read: {error.strerror}.")


def _judge(root: str, splits: Sequence[Found], names: Sequence[str]) -> None:
    """Refuse what cannot be learned from.

    Raises:
        DataError: there is one class only, or a class or split without images.
    """
    shown = clean(root, 600)
    if not any(found.paths for found in splits):
        raise DataError(f"{shown}: there are no images in its folders ({', '.join(ENDINGS)}).")
    there = Counter(splits[0].targets)
    if empty := [name for label, name in enumerate(names) if not there[label]]:
        raise DataError(
            f"{shown}: there is no image to learn from in {_some(empty)}. Put images there, or remove the "
            f"{'folders' if len(empty) > 1 else 'folder'}."
        )
    if len(names) == 1:
        raise DataError(f"{shown}: there is one class only, {clean(names[0], 100)}. At least two can be told apart.")
    for found in splits[1:]:
        if not found.paths:
            raise DataError(f"{shown}: there are no images in {found.word}. Put images there, or remove the folder.")


def _headers(splits: Sequence[Found]) -> Generator[Event, None, tuple[Counter[tuple[int, int, int]], Broken]]:
    """How many images there are of each shape [C, H, W], grey ones with one channel; those that cannot be opened."""
    shapes: Counter[tuple[int, int, int]] = Counter()
    broken = Broken()
    paths = [path for found in splits for path in found.paths]
    progress = Progress("looking at images", len(paths))
    for path, shape in zip(paths, side_by_side(_shape, paths), strict=True):
        if isinstance(shape, DataError):
            broken.append((path, str(shape)))
        else:
            shapes[shape] += 1
        if told := progress():
            yield Preparing(what=told)
    return shapes, broken


def _shape(path: str) -> "tuple[int, int, int] | DataError":
    """The shape [C, H, W] of an image by its header alone, as it is when it stands upright."""
    try:
        with opened(path) as image:
            width, height = image.size
            tagged = "exif" in image.info or image.format == "TIFF"  # to look for tags would decode a PNG
            if tagged and image.getexif().get(ORIENTATION, 1) >= 5:
                width, height = height, width
            return (1 if image.mode in GREY else 3), height, width
    except DataError as error:
        return error


def _common(shapes: Counter[tuple[int, int, int]]) -> tuple[tuple[int, int, int] | None, int]:
    """The shape that all images have or can have, None when their sizes differ; and their channels."""
    channels = max((shape[0] for shape in shapes), default=1)
    sizes = {shape[1:] for shape in shapes}
    return ((channels, *sizes.pop()) if len(sizes) == 1 else None), channels


def _verify(splits: Sequence[Found]) -> Generator[Event, None, Broken]:
    """The files whose own checksums say that they are damaged; what these do not see is found when it is decoded."""
    paths = [path for found in splits for path in found.paths]
    progress, broken = Progress("checking images", len(paths)), Broken()
    for path, error in zip(paths, side_by_side(_damage, paths), strict=True):
        if error is not None:
            broken.append((path, str(error)))
        if told := progress():
            yield Preparing(what=told)
    return broken


def _damage(path: str) -> DataError | None:
    try:
        with opened(path) as image:
            image.verify()
    except DataError as error:
        return error
    return None


def _leave_out(
    settings: Settings, root: str, splits: Sequence[Found], names: Sequence[str], broken: Broken
) -> Generator[Event, None, list[Found]]:
    """The splits without the files that are broken, when the settings want to go on without them.

    Raises:
        DataError: they do not, or too little is left.
    """
    if not broken:
        return list(splits)
    broken = sorted(broken)
    total, count = sum(len(found.paths) for found in splits), len(broken)
    more = f"\n... and {count - MOST_SHOWN:,} more" if count > MOST_SHOWN else ""
    if not settings.skip_broken:
        shown = "\n".join(reason for _, reason in broken[:MOST_SHOWN])
        what = "image cannot" if count == 1 else "images cannot"
        raise DataError(
            f"{count:,} of {total:,} {what} be read. Replace or remove them, or go on without them: --skip-broken\n"
            f"{shown}{more}"
        )
    left = [found.without({path for path, _ in broken}) for found in splits]
    _judge(root, left, names)
    paths = [os.path.relpath(path, root) for path, _ in broken]
    what = "is left out" if count == 1 else "are left out"
    yield Warned(text=f"{count:,} of {total:,} images cannot be read and {what}: {_some(paths)}")
    return left


def _some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(clean(name, 100) for name in names[:MOST_SHOWN])
    return f"{shown} and {len(names) - MOST_SHOWN:,} more" if len(names) > MOST_SHOWN else shown


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"
