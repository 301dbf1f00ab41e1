"""Folders of images, a folder for each class: where their splits, classes and files are, found without opening one."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""What is taken for an image, as torchvision takes it."""

VALID_NAMES = ("valid", "val", "validation")


@dataclass(frozen=True, slots=True)
class Split:
    """One folder of class folders."""

    path: str
    classes: Mapping[str, str]
    """The path of each class folder by its name, in the order of the names."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a folder of images is divided."""

    train: Split
    valid: Split | None = None
    test: Split | None = None
    unread: tuple[str, ...] = ()
    """Names of folders beside the splits, which belong to none."""


def layout_of(path: str) -> Layout:
    """The splits and classes below `path`: `train/CLASS`, `valid/CLASS`, `test/CLASS`, or `CLASS` alone.

    A folder `train` that holds no folders is a class of that name.

    Raises:
        OSError: a folder cannot be read.
    """
    inside = _folders(path)
    whole = Split(path, inside)
    if "train" not in inside or not (classes := _folders(inside["train"])):
        return Layout(whole)
    valid = next((name for name in VALID_NAMES if name in inside), None)
    read = {"train", "test", valid}
    return Layout(
        Split(inside["train"], classes),
        Split(inside[valid], _folders(inside[valid])) if valid else None,
        Split(inside["test"], _folders(inside["test"])) if "test" in inside else None,
        tuple(name for name in inside if name not in read),
    )


def images_in(folder: str) -> Iterator[str | None]:
    """The paths of all images below `folder`, in order; links are followed, each folder once.

    None comes for each folder that is opened, so that a search which finds nothing can be given up.

    Raises:
        OSError: a folder cannot be read.
    """
    seen: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        known = os.stat(here)
        if (known.st_dev, known.st_ino) in seen:
            continue
        seen.add((known.st_dev, known.st_ino))
        yield None
        folders = []
        with os.scandir(here) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.startswith("."):
                    continue
                if _is_folder(entry):
                    folders.append(entry.path)
                elif entry.name.lower().endswith(ENDINGS) and _is_file(entry):
                    yield entry.path
        waiting += reversed(folders)


def _folders(path: str) -> dict[str, str]:
    """The folders in `path` by name, in the order of the names, less those that are hidden or left by an archive."""
    with os.scandir(path) as entries:
        names = [e.name for e in entries if e.name[0] != "." and e.name != "__MACOSX" and _is_folder(e)]
    return {name: os.path.join(path, name) for name in sorted(names)}


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    """False for links that lead nowhere or in a circle."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_file(entry: "os.DirEntry[str]") -> bool:
    """True for files, and for links that lead nowhere; a pipe would be waited for when it is read."""
    try:
        return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))
    except OSError:
        return True
