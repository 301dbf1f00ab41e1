"""What is known of a run's data before it is read: from the catalog, or from the names in its folder. No torch."""

import importlib.util
import os
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tui_trainer.catalog import DATASETS, MINI_FOLDER, DatasetFacts, Shape, find_files
from tui_trainer.catalog.fake import figures_of
from tui_trainer.catalog.image_folder import images_in, layout_of
from tui_trainer.catalog.table_file import describe_table, path_of
from tui_trainer.errors import SettingsError
from tui_trainer.own.arguments import arguments
from tui_trainer.settings.schema import Settings
from tui_trainer.text import clean, size

LONGEST_COUNT = 0.3
"""Seconds for which files are counted at the most: a form must not wait for a slow disk."""


@dataclass(frozen=True, slots=True)
class DataOutlook:
    """The data of a run to come."""

    text: str
    """Where it is, or what must be done to have it; or what is wrong with it."""
    train: int | None = None
    """Examples to learn from, those that may be held out included; None when it is known only once they are read."""
    valid: int = 0
    """0 when there is no split of its own to measure on."""
    test: int = 0
    shape: Shape | None = None
    """None when it is known only once they are read."""
    outputs: int | None = None
    """Classes, labels or numbers to predict; None when it is known only once they are read."""


def describe(settings: Settings) -> DataOutlook:
    """The data of the settings. Whatever they name, it is described."""
    name = settings.dataset
    try:
        if name == "fake":
            return _of_fake(settings)
        if name in DATASETS:
            return _of_facts(settings)
        if name.startswith("folder:"):
            return _of_folder(settings)
    except (OSError, ValueError) as error:  # a path with a NUL, a disk that does not answer
        return DataOutlook(f"{clean(name, 60)}: {clean(getattr(error, 'strerror', None) or error, 100)}")
    if name.startswith("table:"):
        return DataOutlook(*describe_table(path_of(name), settings.target))
    return DataOutlook(f"{clean(name, 60)}, your own: known when it is loaded")


def state_of(name: str, data_dir: str) -> str:
    """Whether a named data set is here: `here`, `downloads 170.5 MB`, `put there by hand`."""
    facts = DATASETS[name]
    if facts.reader == "fake":
        return "made here"
    if is_here(name, data_dir):
        return "part of the program" if name == "fashion-mnist-mini" else "here"
    if facts.recipe.by_hand:
        return "put there by hand"
    return f"downloads {size(facts.download_bytes)}" if facts.download_bytes else "downloads, size unsaid"


def lacking(name: str, data_dir: str) -> tuple[str, ...]:
    """Packages that torchvision needs for a named data set, and that are not installed."""
    recipe = DATASETS[name].recipe
    needed = (*recipe.needs, *(() if recipe.by_hand or is_here(name, data_dir) else recipe.download_needs))
    return tuple(package for package in needed if not importlib.util.find_spec(package))


def is_here(name: str, data_dir: str) -> bool:
    """True when the files of a named data set are on this machine."""
    facts = DATASETS[name]
    try:
        if facts.reader == "idx":
            return find_files(name, data_dir) is not None
        root = Path(data_dir).expanduser()
        return bool(facts.recipe.present) and all((root / path).exists() for path in facts.recipe.present)
    except (OSError, ValueError, RuntimeError):  # no such user, a NUL in the path
        return False


def describe_files(name: str, data_dir: str) -> str:
    """Where the files of a named data set are, or how they come here, as a sentence."""
    facts, shown = DATASETS[name], clean(data_dir, 60)
    if facts.reader == "fake":
        return f"{name} is noise, made while training"
    try:
        folder = find_files(name, data_dir) if facts.reader == "idx" else Path(data_dir).expanduser()
    except (OSError, ValueError, RuntimeError):
        folder = None
    if folder == MINI_FOLDER:
        return f"{name} is part of the program"
    if packages := lacking(name, data_dir):
        return f"{name} needs {' and '.join(packages)}, not installed; its files: {state_of(name, data_dir)}"
    if folder is not None and is_here(name, data_dir):
        return f"{name} found in {clean(folder, 60)}"
    if facts.recipe.by_hand:
        return f"{name} is not in {shown} and must be put there by hand"
    how_much = f" ({size(facts.download_bytes)})" if facts.download_bytes else ""
    return f"{name} will be downloaded{how_much} to {shown}"


def _of_facts(settings: Settings) -> DataOutlook:
    facts = DATASETS[settings.dataset]
    side = settings.image_size or 224
    differ = f" · sizes differ: {side} x {side}" if facts.shape is None else ""
    return DataOutlook(
        f"{describe_files(settings.dataset, settings.data_dir)}{differ}",
        facts.train_examples,
        facts.valid_examples,
        facts.test_examples,
        shape_of(facts, settings),
        None if settings.dataset_arg else facts.outputs,  # other families of aeroplanes
    )


def shape_of(facts: DatasetFacts, settings: Settings) -> tuple[int, int, int]:
    """The images [C, H, W] as the model sees them, without their border."""
    channels, height, width = facts.shape or (3, 224, 224)
    side = settings.image_size
    return (channels, side, side) if side else (channels, height, width)


def _of_fake(settings: Settings) -> DataOutlook:
    try:
        count, classes, (channels, height, width) = figures_of(arguments(settings.dataset_arg, "dataset_arg"))
    except SettingsError as error:
        return DataOutlook(f"fake: {clean(error, 100)}")
    side = settings.image_size
    shape = (channels, side, side) if side else (channels, height, width)
    return DataOutlook(describe_files("fake", ""), count, shape=shape, outputs=classes)


def _of_folder(settings: Settings) -> DataOutlook:
    """A folder of images by the names in it: their sizes are known when they are read."""
    shown = clean(settings.dataset.removeprefix("folder:"), 4000)
    shown = shown if len(shown) <= 40 else f"…{shown[-39:]}"
    root = os.path.expanduser(settings.dataset.removeprefix("folder:"))
    if not os.path.isdir(root):
        return DataOutlook(f"{shown}: there is no such folder")
    layout = layout_of(root)
    classes = len(layout.train.classes)
    if not classes:
        return DataOutlook(f"{shown}: there is no folder of images in it")
    splits = (layout.train, layout.valid, layout.test)
    train, valid, test, whole = _count(
        tuple(tuple(split.classes.values()) if split else () for split in splits), _now()
    )
    more = "" if whole else "more than "
    side = settings.image_size
    sides = f"made {side} x {side}" if side else "size known when read"
    text = f"{shown}: {more}{train + valid + test:,} images of {classes:,} classes, {sides}"
    return DataOutlook(text, None if more else train, valid, test, None, classes)


def _now() -> int:
    """Changes every ten seconds: what is typed on a form meanwhile does not have files counted again."""
    return int(time.monotonic() / 10)


@lru_cache(maxsize=8)
def _count(splits: tuple[tuple[str, ...], ...], _: int) -> tuple[int, int, int, bool]:
    """The images below the folders of train, valid and test, and whether all were counted.

    Raises:
        OSError: a folder cannot be read.
    """
    counts, until = [0, 0, 0], time.monotonic() + LONGEST_COUNT
    for number, folders in enumerate(splits):
        for folder in folders:
            for path in images_in(folder):
                counts[number] += path is not None
                if path is None and time.monotonic() > until:
                    return counts[0], counts[1], counts[2], False
    return counts[0], counts[1], counts[2], True
