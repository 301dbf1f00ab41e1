"""Data sets of torchvision: found, downloaded where they are not, and taken out of torchvision's own classes."""

import importlib.util
import inspect
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tui_trainer.catalog import DATASETS, DatasetFacts
from tui_trainer.errors import DataError, SettingsError
from tui_trainer.own.arguments import arguments
from tui_trainer.run.events import Event, Preparing
from tui_trainer.settings.schema import Settings
from tui_trainer.text import clean, did_you_mean
from tui_trainer.training.data.examples import Examples, Source, Tensors
from tui_trainer.training.data.readers.download import download
from tui_trainer.training.data.readers.files import Files, Form, Names
from tui_trainer.training.data.readers.patches import Patches

Arguments = Mapping[str, object]
Splits = Mapping[str, Any]
"""Something for each of the splits train, valid and test that there are."""

PATHS: dict[str, Callable[[Any], list[str]]] = {
    "Caltech101": lambda made: [
        f"{made.root}/101_ObjectCategories/{made.categories[y]}/image_{n:04d}.jpg"
        for n, y in zip(made.index, made.y, strict=True)
    ],
    "Caltech256": lambda made: [
        f"{made.root}/256_ObjectCategories/{made.categories[y]}/{y + 1:03d}_{n:04d}.jpg"
        for n, y in zip(made.index, made.y, strict=True)
    ],
    "CelebA": lambda made: [f"{made.root}/{made.base_folder}/img_align_celeba/{name}" for name in made.filename],
    "Omniglot": lambda made: [
        f"{made.target_folder}/{made._characters[y]}/{name}" for name, y in made._flat_character_images
    ],
}
"""The image files of classes that keep no paths, only what these are made of."""


def read(settings: Settings, name: str) -> Generator[Event, None, Source]:
    """The data set `name`; downloaded when it is not in the data folder.

    Raises:
        DataError: it cannot be had, or its files are damaged; the message names the folder.
    """
    from torchvision import datasets  # 0.4 s

    facts, root = DATASETS[name], Path(settings.data_dir).expanduser()
    recipe = facts.recipe
    given = typed(settings, recipe.options)
    require(name, recipe.needs)
    yield Preparing(what=f"data: {name}")
    splits = {"train": recipe.train, "valid": recipe.valid, "test": recipe.test}
    wanted = {split: usual for split, usual in splits.items() if usual is not None}
    kind = getattr(datasets, facts.torchvision)
    there = all((root / path).exists() for path in recipe.present)
    found, source = made(name, kind, root, wanted, given) if there else None, f"found in {clean(root)}"
    if found is None and recipe.by_hand:
        raise DataError(
            f"{name} is not in {clean(root, 600)}, and torchvision does not download it. Put there: {recipe.by_hand}.\n"
            "Nothing was trained."
        )
    if found is None:
        require(name, recipe.download_needs)
        yield from download(name, facts, root, list(wanted.values()), total=facts.download_bytes)
        found, source = made(name, kind, root, wanted, given), "downloaded"
    if found is None:
        raise DataError(f"{name} was downloaded to {clean(root, 600)}, but torchvision does not find it there.")
    names, targets = _names(found["train"], facts), {split: _targets(made, facts) for split, made in found.items()}
    form = Form.of(settings, facts.shape)
    examples = {}
    for split, labels in targets.items():
        if labels is not None:
            examples[split] = _examples(found[split], facts, form, labels, root)
            _judge(name, split, examples[split], facts.kind, len(names))
    if "train" not in examples:
        raise DataError(f"{name}: the training split in {clean(root, 600)} has no labels.")
    return Source(
        name=name,
        source=f"{name} {source}",
        classes=names,
        kind=facts.kind,
        train=examples["train"],
        valid=examples.get("valid"),
        test=examples.get("test"),
    )


def typed(settings: Settings, options: Sequence[str]) -> dict[str, object]:
    """The arguments of dataset_arg, when all of them are among `options`.

    Raises:
        DataError: one is not.
    """
    try:
        given = arguments(settings.dataset_arg, "dataset_arg")
    except SettingsError as error:
        raise DataError(str(error)) from None
    shown, takes = clean(settings.dataset, 200), f"It takes: {', '.join(options)}." if options else "It takes none."
    for name in given:
        if name not in options:
            raise DataError(f"{shown}: takes no {clean(repr(name), 60)}.{did_you_mean(name, options)} {takes}")
    return given


def require(name: str, packages: Sequence[str]) -> None:
    """Refuse to go on without packages that torchvision needs for the data set.

    Raises:
        DataError: one is not installed.
    """
    if missing := [package for package in packages if importlib.util.find_spec(package) is None]:
        what = " and ".join(missing)
        raise DataError(
            f"torchvision needs {what} for {name}, which {'is' if len(missing) == 1 else 'are'} not installed. "
            f"Install: pip install {' '.join(missing)}\nNothing was trained."
        )


def made(
    name: str, kind: Any, root: Path, wanted: Mapping[str, Arguments], given: Arguments | None = None
) -> Splits | None:
    """torchvision's data sets of the files in `root`, one a split; None when they are not there, or not whole.

    `wanted` are the usual arguments of each split, `given` those of the user, which win.

    Raises:
        DataError: they are there, and cannot be read, or not with what is `given`.
    """
    stays = {"download": False} if "download" in inspect.signature(kind).parameters else {}
    try:
        return {split: kind(root=str(root), **stays, **{**usual, **(given or {})}) for split, usual in wanted.items()}
    except (RuntimeError, FileNotFoundError, NotADirectoryError) as error:  # torchvision's words for a missing file
        if given:
            raise DataError(
                f"{name}: its files in {clean(root, 600)} have nothing for {_shown(given)}, or are not whole."
            ) from error
        return None
    except ImportError as error:
        require(name, (error.name or "",))
        raise
    except Exception as error:  # files that are cut short or altered, or an argument that is none of its
        text = clean(str(error).split("\n")[0], 200)
        if given and isinstance(error, TypeError | ValueError):
            raise DataError(f"{name}: cannot be had with {_shown(given)}: {text}") from error
        raise DataError(
            f"{name}: its files in {clean(root, 600)} cannot be read ({type(error).__name__}: {text}). Remove "
            "them, and they are downloaded again."
        ) from error


def _shown(given: Arguments) -> str:
    return clean(" ".join(f"{name}={value}" for name, value in given.items()), 100)


def _names(made: Any, facts: DatasetFacts) -> tuple[str, ...]:
    """What the classes are called."""
    names = facts.classes
    if facts.recipe.names:
        found = getattr(made, facts.recipe.names)  # some classes have several names for one
        names = tuple(clean(name[0] if isinstance(name, tuple) else name, 100) for name in found if name)
    return tuple(sorted(names)) if facts.recipe.as_on_disk else names


def _targets(made: Any, facts: DatasetFacts) -> Tensor | None:
    """The targets of a split, [N] int64 from 0 or [N, K] float32 of 0 and 1; None when it has none."""
    recipe = facts.recipe
    if facts.torchvision == "PCAM":
        return Patches.labels(made)
    kept = getattr(made, recipe.targets)
    if isinstance(kept, list) and kept and isinstance(kept[0], tuple):
        kept = [pair[-1] for pair in kept]
    if isinstance(kept, list) and None in kept:
        return None
    targets = torch.as_tensor(kept)
    if facts.kind == "labels":
        return targets.float()
    targets = targets.long()
    targets = targets[:, 0] if targets.dim() == 2 else targets  # QMNIST keeps more than the class
    if recipe.as_on_disk:
        names = getattr(made, recipe.names)
        place = {name: number for number, name in enumerate(sorted(names))}
        targets = torch.tensor([place[name] for name in names])[targets]
    return targets - recipe.first


def _examples(made: Any, facts: DatasetFacts, form: Form, targets: Tensor, root: Path) -> Examples:
    """A split: in memory where torchvision holds its images there, else decoded file by file."""
    recipe = facts.recipe
    if facts.torchvision == "PCAM":
        return Patches.of(made, targets, form)
    if recipe.pixels:
        return Tensors(_pixels(getattr(made, recipe.pixels), recipe.layout), targets)
    if recipe.files:
        entries = getattr(made, recipe.files)
        paths = [str(entry[0] if isinstance(entry, tuple) else entry) for entry in entries]
    else:
        paths = PATHS[facts.torchvision](made)
    if recipe.as_on_disk:
        order = sorted(range(len(paths)), key=paths.__getitem__)
        paths, targets = [paths[n] for n in order], targets[order]
    return Files(Names(paths, str(root)), targets, form)


def _pixels(kept: Any, layout: str) -> Tensor:
    """Images [N, C, H, W] uint8 from what torchvision keeps: an array in that layout, or pairs of image and target."""
    images = torch.stack([image for image, _ in kept]) if isinstance(kept, list) else torch.as_tensor(kept)
    if layout == "NWH":
        images = images.transpose(1, 2)
    if layout == "NHWC":
        images = images.permute(0, 3, 1, 2)
    return (images.unsqueeze(1) if images.dim() == 3 else images).contiguous()


def _judge(name: str, split: str, examples: Examples, kind: str, classes: int) -> None:
    """Raises: DataError when a split is empty, or its labels are not those of the classes."""
    targets = examples.targets
    if not len(targets):
        raise DataError(f"{name}: the {split} split has no examples. Remove its files, and they are downloaded again.")
    several = kind == "labels"
    if targets.shape[1] != classes if several else not 0 <= int(targets.min()) <= int(targets.max()) < classes:
        raise DataError(f"{name}: the labels of the {split} split are not those of its {classes} classes.")
