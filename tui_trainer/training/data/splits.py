"""The data of a run: read by the reader that its name asks for, split, and brought to the size it is wanted in."""

import importlib
from collections.abc import Generator
from dataclasses import replace

import torch
from torch import Tensor

from tui_trainer.catalog import DATASETS
from tui_trainer.errors import DataError
from tui_trainer.run.events import Event, Preparing
from tui_trainer.settings.schema import Settings
from tui_trainer.training.data.examples import Data, Examples, Source, Tensors, moments

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of ImageNet's channels, which torchvision's weights have learned with."""


def load(settings: Settings) -> Generator[Event, None, Data]:
    """The data set of the settings, split; downloaded when it is not on this machine.

    Raises:
        DataError: the data is missing or damaged; the message names the file.
    """
    found = yield from read(settings)
    train, valid, held_out = found.train, found.valid, found.test
    if settings.overfit_batches:
        few = torch.arange(min(len(train), settings.overfit_batches * settings.batch_size))
        train = valid = train.part(few)
    elif valid is None and (settings.valid_fraction > 0 or held_out is None):
        chosen = held_out_part(settings, found.kind, train.targets)
        train, valid = train.part(~chosen), train.part(chosen)
    elif valid is None:
        valid, held_out = held_out, None
    assert valid is not None
    mean, std = yield from normalisation(settings, found, train)
    target_mean, target_std = standardisation(settings, found, train)
    return Data(
        name=found.name,
        source=found.source,
        classes=found.classes,
        kind=found.kind,
        shape=train.shape,
        train=train,
        valid=valid,
        test=held_out,
        valid_is_test=valid is found.test,
        categories=found.categories,
        columns=found.columns,
        recipe=found.recipe,
        mean=mean,
        std=std,
        target_mean=target_mean,
        target_std=target_std,
    )


def read(settings: Settings) -> Generator[Event, None, Source]:
    """The data set of the settings, whole, its images in the size that is wanted."""
    prefix, colon, _ = settings.dataset.partition(":")
    if settings.dataset in DATASETS:
        reader = DATASETS[settings.dataset].reader
    else:
        reader = prefix if colon and prefix in ("folder", "table") else "own"
    module = importlib.import_module(f"tui_trainer.training.data.readers.{reader}")
    found: Source = yield from module.read(settings, settings.dataset)
    if settings.image_size or settings.pad:
        if len(found.train.shape) != 3:
            raise DataError(f"{found.name} holds no images: image_size and pad must be 0, its inputs have no size.")
        found = replace(
            found,
            train=_sized(found.train, settings),
            valid=found.valid and _sized(found.valid, settings),
            test=found.test and _sized(found.test, settings),
        )
    return found


def _sized(examples: Examples, settings: Settings) -> Examples:
    """Images in memory, resized and with their border; those fetched one by one have it from their reader."""
    if not isinstance(examples, Tensors):
        return examples
    return examples.resized(settings.image_size).padded(settings.pad)


def held_out_part(settings: Settings, kind: str, targets: Tensor) -> Tensor:
    """A mask [N] that is true for the examples to measure on: of every class alike where there are classes.

    Raises:
        DataError: there would be none, or none left to learn from.
    """
    fraction = settings.valid_fraction or 0.1
    labels = targets if kind == "class" else torch.zeros(len(targets), dtype=torch.int64)
    chosen = stratified(labels, fraction, settings.seed or 0)
    if chosen.all() or not chosen.any():
        raise DataError(
            f"valid_fraction {fraction:g} leaves no examples on one side of {len(targets):,}. Choose another."
        )
    return chosen


def stratified(labels: Tensor, fraction: float, seed: int) -> Tensor:
    """A mask [N] that is true for `fraction` of the examples of every class, drawn by `seed`."""
    generator = torch.Generator().manual_seed(seed % 2**63)
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label in torch.unique(labels):
        members = (labels == label).nonzero()[:, 0]
        shuffled = members[torch.randperm(len(members), generator=generator)]
        chosen[shuffled[: round(fraction * len(members))]] = True
    return chosen


Numbers = tuple[float, ...]


def normalisation(
    settings: Settings, found: Source, train: Examples
) -> Generator[Event, None, tuple[Numbers, Numbers]]:
    """Mean and standard deviation of each channel or column, measured on the training part only; none when not wanted.

    Raises:
        DataError: ImageNet's are wanted for what is no image.
    """
    wanted, images = settings.normalize, len(train.shape) == 3
    if wanted == "auto":
        wanted = (
            "imagenet" if settings.pretrained and images else "data" if settings.dataset[:6] == "table:" else "none"
        )
    if wanted == "none":
        return (), ()
    if wanted == "imagenet":
        if not images:
            raise DataError(f"{found.name} holds no images: normalize imagenet does not fit it. Use data or none.")
        if train.shape[0] == 3:
            return IMAGENET
        return tuple((sum(part) / 3,) * train.shape[0] for part in IMAGENET)  # type: ignore[return-value]
    yield Preparing(what="mean and deviation of the data")
    channels = train.shape[0]
    count, total, squares = 0, torch.zeros(channels, dtype=torch.float64), torch.zeros(channels, dtype=torch.float64)
    for indices in torch.arange(len(train)).split(1024):  # type: ignore[no-untyped-call]
        inputs, _ = train.raw(indices)
        values = inputs.double().div(255) if inputs.dtype == torch.uint8 else inputs.double()
        values = values.reshape(len(values), channels, -1)
        count += len(values) * values.shape[2]
        total += values.sum((0, 2))
        squares += values.square().sum((0, 2))
    mean = total / count
    std = (squares / count - mean.square()).clamp_min(0).sqrt()
    std[std < 1e-6] = 1.0  # what never changes stays 0
    if found.categories:
        mean[-len(found.categories) :], std[-len(found.categories) :] = 0.0, 1.0
    return tuple(mean.tolist()), tuple(std.tolist())


def standardisation(settings: Settings, found: Source, train: Examples) -> tuple[Numbers, Numbers]:
    """Mean and standard deviation of each number to be predicted, in the training part; none when not wanted.

    With targets of that size the usual learning rates fit, whether they are prices or millimetres.
    """
    if found.kind != "number" or settings.normalize == "none":
        return (), ()
    mean, std = moments(train.targets)
    return tuple(mean.tolist()), tuple(std.tolist())
