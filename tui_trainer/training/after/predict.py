"""What a trained model says of image files, or of a split of its run's data."""

from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from tui_trainer.errors import DataError, ModelError
from tui_trainer.text import clean
from tui_trainer.training import devices
from tui_trainer.training.after.trained import Trained, measured, splits
from tui_trainer.training.data.images import files_in, read_image

TOGETHER = 64
"""Files that are decoded and predicted at once."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says of one example."""

    of: str | int
    """The file, or the example's number in its split, from 0."""
    top: tuple[tuple[int, float], ...] = ()
    """Indices of classes or labels with their probabilities, the most probable first; of numbers there are none."""
    numbers: tuple[float, ...] = ()
    """The numbers, where such are predicted."""
    true: tuple[float, ...] = ()
    """What would have been right: the index of a class, or 0 or 1 for each label, or the numbers, or shares."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file without a prediction."""

    of: str
    why: str
    """A sentence that names the file."""


@dataclass
class Notes:
    """What had to be done to images so that the model could take them."""

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    """For each the first file, and what that was before."""


def predict_files(trained: Trained, names: Iterable[str], top: int, notes: Notes) -> Iterator[Prediction | Unreadable]:
    """A prediction for every image among files and folders, in their order. `notes` is filled on the way.

    Raises:
        ModelError, DeviceError: the model fails.
    """
    devices.tune(trained.settings, trained.device)
    if len(trained.shape) != 3:
        raise ModelError(
            f"The model of {clean(trained.run)} takes no images. Predict a split of its data: --split valid"
        )
    waiting: list[tuple[str, Tensor] | Unreadable] = []
    for path in files_in(names):
        try:
            decoded = read_image(path, trained.shape[0], trained.image_size)
        except DataError as error:
            waiting.append(Unreadable(path, str(error)))
        else:
            waiting.append((path, decoded.pixels))
            for change in decoded.changes:
                notes.counts[change] += 1
                notes.first.setdefault(change, f"{path}, {decoded.before}")
        if len(waiting) == TOGETHER:
            yield from _predict(trained, waiting, top)
            waiting = []
    yield from _predict(trained, waiting, top)


def _predict(
    trained: Trained, waiting: list[tuple[str, Tensor] | Unreadable], top: int
) -> Iterator[Prediction | Unreadable]:
    images = [entry[1] for entry in waiting if not isinstance(entry, Unreadable)]
    found: Iterator[Prediction] = iter(())
    if images:
        with devices.without_denormals():
            found = iter(_said(trained, trained(trained.inputs(torch.stack(images))), top))
    for entry in waiting:
        yield entry if isinstance(entry, Unreadable) else replace(next(found), of=entry[0])


def predict_split(trained: Trained, split: str, top: int) -> Generator[str | Prediction, None, dict[str, Any]]:
    """Every example of `valid` or `test` as the run's evaluation takes it; what it measures, by `Evaluated`'s names.

    Lines of text in between say what getting the data takes.

    Raises:
        DataError: the run's data is not here.
        ModelError, DeviceError: the model fails.
    """
    devices.tune(trained.settings, trained.device)
    found = yield from splits(trained)
    meter = trained.task.meter(found, trained.device)
    number = 0
    with devices.without_denormals():
        for X, y in measured(trained, found, split):
            outputs = trained(X)
            meter.add(outputs, trained.task.targets(y))
            for said, true in zip(_said(trained, outputs, top), y.reshape(len(y), -1).tolist(), strict=True):
                yield replace(said, of=number, true=tuple(true))
                number += 1
    return meter.figures()


def _said(trained: Trained, outputs: Tensor, top: int) -> list[Prediction]:
    """What each row of raw outputs [N, K] says; the first class is the one that an evaluation counts."""
    meant = trained.probabilities(outputs.float())
    if trained.task.kind == "number":
        return [Prediction("", numbers=tuple(row)) for row in meant.tolist()]
    ranked = outputs.float() if outputs.shape == meant.shape else meant
    if trained.task.said is not None:  # where outputs are equal, sorting may choose another
        ranked = ranked.scatter(1, trained.task.said(outputs)[:, None], torch.inf)
    order = ranked.argsort(1, descending=True)[:, :top]
    rows = zip(order.tolist(), meant.gather(1, order).tolist(), strict=True)
    return [Prediction("", top=tuple(zip(places, values, strict=True))) for places, values in rows]
