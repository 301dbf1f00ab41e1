"""A data set of the user's own: what his class or factory gives, as examples.

It may give one data set of torch's map style, whose items are (x, y), or a pair (X, y) of arrays; or two or three of
them: to train, to measure on after each epoch, to test at the end.
"""

from collections.abc import Generator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from tui_trainer.errors import DataError, TrainerError
from tui_trainer.own import arguments, loading
from tui_trainer.run.events import Event, Preparing
from tui_trainer.settings.schema import Settings
from tui_trainer.text import clean
from tui_trainer.training import tasks
from tui_trainer.training.data.examples import Examples, Items, Source, Tensors
from tui_trainer.training.models import own

SOME = 2_000
"""Items whose targets are read between two reports."""


def read(settings: Settings, name: str) -> Generator[Event, None, Source]:
    """The data set at the place `name`.

    Raises:
        ModelError: the code fails, or does not take these arguments.
        DataError: what it gives is no data set.
    """
    plugin = loading.load(name, "dataset")
    typed = arguments.arguments(settings.dataset_arg, "--dataset-arg")
    given = own.make(plugin, {"settings": settings, "data_dir": settings.data_dir, "seed": settings.seed}, typed)
    shown = clean(plugin.name, 60)
    parts, named = split(given, shown), getattr(given, "classes", None)
    found: list[Examples] = []
    kind = ""
    for part in parts:
        inputs, targets = yield from taken_apart(part, shown)
        kind = kind or kind_of(targets, settings.task)
        targets = in_kind(targets, kind, shown)
        if isinstance(inputs, Tensor):
            found.append(Tensors(inputs, targets))
        else:
            first = as_input(inputs[0])
            found.append(Items(inputs, targets, tuple(first.shape), as_input, dtype=first.dtype))
        named = getattr(part, "classes", None) if named is None else named
    shapes = {examples.shape for examples in found}
    if len(shapes) > 1:
        raise DataError(f"{shown} gives inputs of different shapes: {' and '.join(map(str, sorted(shapes)))}.")
    classes = class_names(named, kind, [examples.targets for examples in found], shown)
    train, *others = found
    return Source(
        name=name,
        source=f"{shown}, of your own",
        classes=classes,
        kind=kind,
        train=train,
        valid=others[0] if others else None,
        test=others[1] if len(others) > 1 else None,
    )


def split(given: Any, shown: str) -> list[Any]:
    """The data sets in what the user's code gives: one to three of them."""
    is_pair = isinstance(given, tuple) and len(given) == 2 and all(map(_is_array, given))
    parts = list(given) if isinstance(given, tuple | list) and not is_pair else [given]
    if not 1 <= len(parts) <= 3:
        raise DataError(f"{shown} gives {len(parts)} things; it must give a data set, or two or three of them.")
    return parts


def _is_array(value: object) -> bool:
    return isinstance(value, Tensor | np.ndarray)


def taken_apart(part: Any, shown: str) -> Generator[Event, None, tuple[Any, Tensor]]:
    """Inputs and targets of a data set: a tensor [N, ...], or the data set itself when its items are made one by one.

    Raises:
        DataError: it is none, is empty, or an item of it cannot be made.
    """
    if isinstance(part, TensorDataset) and len(part.tensors) == 2:
        part = part.tensors  # the same every time: it may as well be held
    if isinstance(part, tuple) and len(part) == 2 and all(map(_is_array, part)):
        X, y = (torch.as_tensor(value) for value in part)
        if len(X) != len(y):
            raise DataError(f"{shown} gives {len(X):,} inputs and {len(y):,} targets.")
        if not len(X):
            raise DataError(f"{shown} gives no examples.")
        return X if X.dtype == torch.uint8 else X.float(), y
    try:
        count = len(part)
        known = getattr(part, "targets", None)
        if count:
            first = part[0]
    except Exception as error:
        what = f"{type(error).__name__}: {clean(error, 200)}"
        raise DataError(f"{shown} gives {type(part).__name__}, not a data set of items (x, y): {what}") from error
    if not count:
        raise DataError(f"{shown} gives no examples.")
    if not (isinstance(first, tuple | list) and len(first) == 2):
        raise DataError(f"{shown}: item 0 is {type(first).__name__}, not a pair (x, y).")
    if known is not None and len(known) == count:
        return part, torch.as_tensor(np.asarray(known))
    targets = []
    for number in range(count):
        if number and number % SOME == 0:
            yield Preparing(what=f"targets: {number:,} of {count:,}")
        try:
            targets.append(torch.as_tensor(part[number][1]))
        except TrainerError:
            raise
        except Exception as error:
            what = f"{type(error).__name__}: {clean(error, 200)}"
            raise DataError(f"{shown}: item {number:,} cannot be made. {what}") from error
    shapes = {tuple(target.shape) for target in targets}
    if len(shapes) > 1:
        raise DataError(f"{shown}: targets have different shapes: {' and '.join(map(str, sorted(shapes)))}.")
    return part, torch.stack(targets)


def as_input(item: Any) -> Tensor:
    """The input of an item (x, y): a tensor, an array or a picture, as a tensor uint8 or float32."""
    x = item[0]
    if not _is_array(x) and hasattr(x, "getbands"):
        array = np.array(x)  # a picture of Pillow's: height, width and perhaps channels
        return torch.from_numpy(array[None] if array.ndim == 2 else array.transpose(2, 0, 1).copy())
    x = torch.as_tensor(x)
    return x if x.dtype == torch.uint8 else x.float()


def kind_of(targets: Tensor, task: str) -> str:
    """What targets are, as in `Source.kind`: by the task where one is named, else by their form."""
    if task != "auto":
        return tasks.named(task).kind
    if targets.dim() == 1:
        return "number" if targets.is_floating_point() else "class"
    if bool(((targets == 0) | (targets == 1)).all()):
        return "labels"
    numbers = targets.float()
    if bool((numbers >= 0).all()) and bool(((numbers.sum(1) - 1).abs() < 1e-3).all()):
        return "share"
    return "number"


def in_kind(targets: Tensor, kind: str, shown: str) -> Tensor:
    """Targets as `Examples` hold them.

    Raises:
        DataError: they cannot be of this kind, or are not finite.
    """
    if kind == "class":
        if targets.dim() != 1 or (targets.is_floating_point() and not bool((targets == targets.round()).all())):
            raise DataError(f"{shown}: targets {tuple(targets.shape)} are no classes: one whole number an example.")
        if int(targets.min()) < 0:
            raise DataError(f"{shown}: class {int(targets.min())} is below 0. Classes are counted from 0.")
        return targets.long()
    if targets.dim() > 2:
        raise DataError(f"{shown}: targets {tuple(targets.shape)} must be one number, or one row of them, an example.")
    numbers = targets.float().reshape(len(targets), -1)
    if not bool(torch.isfinite(numbers).all()):
        raise DataError(f"{shown}: a target is not finite. Leave such examples out.")
    return numbers


def class_names(named: Any, kind: str, targets: list[Tensor], shown: str) -> tuple[str, ...]:
    """The names of classes, labels or numbers: those that the data set says, else their numbers.

    Raises:
        DataError: there are fewer names than classes.
    """
    most = max(int(t.max()) + 1 if kind == "class" else t.shape[1] for t in targets)
    names = tuple(str(name) for name in named) if isinstance(named, list | tuple) else ()
    if names and len(names) < most:
        raise DataError(f"{shown} names {len(names)} classes, and its targets have {most}.")
    return names or tuple(str(number) for number in range(most))
