"""What is to be predicted from a table: which kind of target its columns make."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tui_trainer.errors import DataError
from tui_trainer.text import clean
from tui_trainer.training import tasks
from tui_trainer.training.data.columns import Column

FEW = 20
"""So many different whole numbers are classes; more are numbers to be predicted."""
YES_OR_NO = {"false": 0.0, "true": 1.0, "no": 0.0, "yes": 1.0}
"""Texts that stand for 0 and 1 where labels are wanted."""


@dataclass(frozen=True, slots=True)
class Target:
    """What each row of a table should give."""

    kind: str
    """As in `Source.kind`."""
    names: tuple[str, ...]
    """Of the classes, labels or numbers."""
    y: Tensor
    """[N] int64 class indices, else [N, K] float32."""


def target_of(columns: list[Column], task: str, shown: str) -> Target:
    """The target that columns without missing values make, for the task of that name or the one that fits.

    Texts and few whole numbers are classes, several columns of 0 and 1 are labels, all others are numbers.

    Raises:
        DataError: they do not fit the task, or are all the same; `shown` names the file.
    """
    wanted = "" if task == "auto" else tasks.named(task).kind
    names = tuple(column.name for column in columns)
    named = f"{shown}: {clean(', '.join(names), 100)}"
    if wanted == "class" or (not wanted and len(columns) == 1 and _are_classes(columns[0])):
        if len(columns) > 1:
            raise DataError(f"{named} are {len(columns)} columns, and {task} predicts one. Name one as --target.")
        return _classes(columns[0], named)
    answers = [answer for column in columns if (answer := _answers(column)) is not None]
    if wanted == "labels" or (not wanted and len(columns) > 1 and len(answers) == len(columns)):
        if len(answers) < len(columns):
            raise DataError(f"{named} must hold 0 and 1 only, or yes and no, to be labels.")
        return Target("labels", names, _tensor(answers))
    for column in columns:
        if column.numbers is None:
            wants = task if wanted else "several targets"
            raise DataError(f"{shown}: {clean(column.name, 60)} holds texts, and {wants} must be numbers.")
    y = _tensor([column.numbers for column in columns if column.numbers is not None])
    if wanted == "share":
        return Target("share", names, _shares(y, named))
    for name, flat in zip(names, (y == y[0]).all(0).tolist(), strict=True):
        if flat:
            raise DataError(f"{shown}: {clean(name, 60)} is the same in every row. There is nothing to learn.")
    return Target("number", names, y)


def _are_classes(column: Column) -> bool:
    """True for texts, and for few whole numbers."""
    if column.numbers is None:
        return True
    different = np.unique(column.numbers)
    return len(different) <= FEW and bool((different == np.round(different)).all())


def _classes(column: Column, named: str) -> Target:
    """The different values, sorted, as classes."""
    if column.numbers is not None:
        values, y = np.unique(column.numbers, return_inverse=True)
        names = tuple(f"{value:.0f}" if value == round(value) else f"{value:g}" for value in values.tolist())
    else:
        used = np.unique(column.codes)  # type: ignore[arg-type]
        order = sorted(used.tolist(), key=lambda code: column.texts[code])
        place = np.zeros(len(column.texts), np.int64)
        place[order] = np.arange(len(order))
        names, y = tuple(column.texts[code] for code in order), place[column.codes]
    if len(names) < 2:
        raise DataError(f"{named} is the same in every row. There is nothing to learn.")
    if len(names) > max(FEW, len(y) // 2):
        raise DataError(f"{named} has {len(names):,} different values in {len(y):,} rows: these are no classes.")
    return Target("class", names, torch.from_numpy(np.asarray(y, np.int64).reshape(-1)))


def _answers(column: Column) -> NDArray[np.float64] | None:
    """0 or 1 for each row, from numbers or from yes and no; None when the column holds anything else."""
    if column.numbers is not None:
        return column.numbers if np.isin(column.numbers, (0, 1)).all() else None
    meant = [YES_OR_NO.get(text.lower(), np.nan) for text in column.texts]
    answers = np.array([*meant, np.nan])[column.codes]
    return None if np.isnan(answers).any() else answers


def _tensor(columns: list[NDArray[np.float64]]) -> Tensor:
    return torch.from_numpy(np.stack(columns, 1).astype(np.float32))


def _shares(y: Tensor, named: str) -> Tensor:
    """Shares of each row's sum, from shares or from counts.

    Raises:
        DataError: a number is negative, a row is all 0, or there is only one column.
    """
    if y.shape[1] < 2:
        raise DataError(f"{named} is one column: shares need one for each class.")
    if float(y.min()) < 0:
        raise DataError(f"{named}: a share is negative ({float(y.min()):g}).")
    if not bool((y.sum(1) > 0).all()):
        raise DataError(f"{named}: in a row all shares are 0.")
    return y / y.sum(1, keepdim=True)
