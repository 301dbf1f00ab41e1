"""What a trained model says of image files, or of a split of its run's data."""

from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tui_trainer.errors import DataError
from tui_trainer.training import devices
from tui_trainer.training.images import files_in, read_image
from tui_trainer.training.trained import Trained, measured, splits

TOGETHER = 64
"""Files that are decoded and predicted at once."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says of one example."""

    of: str | int
    """The file, or the example's number in its split, from 0."""
    top: tuple[tuple[int, float], ...]
    """Class indices with their probabilities, the most probable first."""
    label: int | None = None
    """The class it is of; None when nobody has said."""


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
    devices.tune(trained.settings)
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
    found: Iterator[tuple[tuple[int, float], ...]] = iter(())
    if images:
        with devices.without_denormals():
            found = iter(_top(trained, trained(trained.inputs(torch.stack(images))), top))
    for entry in waiting:
        yield entry if isinstance(entry, Unreadable) else Prediction(entry[0], next(found))


def predict_split(trained: Trained, split: str, top: int) -> Generator[str | Prediction, None, list[list[int]]]:
    """Every example of `valid` or `test` as the run's evaluation takes it; the counts, [true][predicted].

    Lines of text in between say what getting the data takes.

    Raises:
        DataError: the run's data is not here.
        ModelError, DeviceError: the model fails.
    """
    devices.tune(trained.settings)
    found = yield from splits(trained)
    classes = len(trained.classes)
    confusion = torch.zeros(classes * classes, dtype=torch.int64)
    number = 0
    with devices.without_denormals():
        for X, y in measured(trained, found, split):
            outputs, labels = trained(X), y.cpu()
            places = labels * classes + outputs.argmax(1).cpu()
            confusion += torch.bincount(places, minlength=classes * classes)
            for label, tops in zip(labels.tolist(), _top(trained, outputs, top), strict=True):
                yield Prediction(number, tops, label)
                number += 1
    return confusion.view(classes, classes).tolist()


def _top(trained: Trained, outputs: Tensor, top: int) -> list[tuple[tuple[int, float], ...]]:
    """The most probable classes of each row of raw outputs [N, C]; the first is the one that an evaluation counts."""
    first = outputs.argmax(1, keepdim=True)  # where outputs are equal, sorting may choose another
    order = outputs.scatter(1, first, torch.inf).argsort(1, descending=True)[:, :top]
    probabilities = trained.probabilities(outputs.float()).gather(1, order)
    return [tuple(zip(a, b, strict=True)) for a, b in zip(order.tolist(), probabilities.tolist(), strict=True)]
