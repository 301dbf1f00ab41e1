"""Tables: a row an example, a column a number or a category, and one column or several to be predicted.

What is learned from the data to make inputs of it, such as the median that stands for a missing number, is learned from
the rows that the model learns from. So the rows are split here.
"""

from collections.abc import Generator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tui_trainer.catalog.table_file import path_of, targets_of
from tui_trainer.errors import DataError
from tui_trainer.run.events import Event, Preparing, Warned
from tui_trainer.settings.schema import Settings
from tui_trainer.text import clean, did_you_mean
from tui_trainer.training.data.columns import Column, read_columns
from tui_trainer.training.data.examples import Source, Tensors
from tui_trainer.training.data.splits import held_out_part
from tui_trainer.training.data.target import target_of

MOST_TEXTS = 10_000
"""Different texts in a column that are still categories; and they are at most half as many as the rows."""
FEW = 50
"""So many different texts are always categories."""
OFTEN = 2
"""Rows to learn from that a text must be in to have a code of its own."""


def read(settings: Settings, name: str) -> Generator[Event, None, Source]:
    """The table `table:FILE`, its rows split into those to learn from and those to measure on.

    Raises:
        DataError: the file is missing, damaged or no table, or has no such target; the message says which.
    """
    path = path_of(name)
    reading = read_columns(path)
    while True:
        try:
            rows = next(reading)
        except StopIteration as done:
            columns: list[Column] = done.value
            break
        yield Preparing(what=f"reading the table: {rows:,} rows")
    shown = clean(path)
    target_columns = chosen(columns, settings.target, shown)
    missing = np.logical_or.reduce([column.missing() for column in target_columns])
    if missing.all():
        where = "has no rows" if not len(missing) else f"has no row with a {clean(settings.target, 60)}"
        raise DataError(f"{shown} {where}.")
    if missing.any():
        yield Warned(text=f"{missing.sum():,} rows of {shown} have no target; they are left out")
    target = target_of([column.at(~missing) for column in target_columns], settings.task, shown)
    features = [column.at(~missing) for column in columns if column not in target_columns]
    learned_from = torch.ones(len(target.y), dtype=torch.bool)
    if not settings.overfit_batches:
        learned_from = ~held_out_part(settings, target.kind, target.y)
    features, warnings = usable(features, learned_from.numpy())
    for warning in warnings:
        yield Warned(text=f"{shown}: {warning}")
    if not features:
        raise DataError(f"{shown} has no column to predict from, beside {clean(settings.target, 60)}.")
    inputs, categories, recipe = inputs_of(features, learned_from.numpy())
    train = Tensors(inputs[learned_from], target.y[learned_from])
    valid = None if settings.overfit_batches else Tensors(inputs[~learned_from], target.y[~learned_from])
    texts = f", {len(categories)} of them categories" if categories else ""
    several = f" ({len(target.names)} classes)" if target.kind == "class" else ""
    return Source(
        name=name,
        source=f"{shown}, {len(features)} columns{texts}, predicting {clean(settings.target, 60)}{several}",
        classes=target.names,
        kind=target.kind,
        train=train,
        valid=valid,
        categories=categories,
        columns=tuple(f"{made['column']}{' is missing' if 'is_missing' in made else ''}" for made in recipe),
        recipe=recipe,
    )


def chosen(columns: list[Column], target: str, shown: str) -> list[Column]:
    """The columns that `target` names, with commas between them.

    Raises:
        DataError: none is named, or one that is not there.
    """
    by_name = {column.name: column for column in columns if column.name}
    listed = [clean(name, 40) for name in by_name]
    there = f"Its columns: {', '.join(listed[:20])}{f' and {len(listed) - 20} more' if len(listed) > 20 else ''}."
    names = targets_of(target, by_name)
    if not names:
        raise DataError(f"Which column of {shown} is to be predicted? Name it with --target. {there}")
    for name in names:
        if name not in by_name:
            raise DataError(f"{shown} has no column {clean(name, 60)}.{did_you_mean(name, by_name)} {there}")
        if by_name[name].other:
            raise DataError(f"{shown}: {clean(name, 60)} is {clean(by_name[name].other, 40)}, which is not predicted.")
    return [by_name[name] for name in dict.fromkeys(names)]


def usable(columns: list[Column], learned_from: NDArray[np.bool_]) -> tuple[list[Column], list[str]]:
    """The columns that a model can learn from, and why others are left out."""
    kept, warnings = [], []
    for column in columns:
        name, rows = clean(column.name, 60), int(learned_from.sum())
        reason = ""
        if not column.name:
            reason = "a column without a name"
        elif column.other:
            reason = f"{name}, whose values are {clean(column.other, 40)},"
        elif column.missing()[learned_from].all():
            reason = f"{name}, which has no values in the rows to learn from,"
        elif column.codes is not None:
            different = len(np.unique(column.codes[learned_from]))
            if different > MOST_TEXTS or different > max(FEW, rows // 2):
                reason = f"{name}, with {different:,} different texts in {rows:,} rows,"
        if reason:
            warnings.append(f"{reason} is left out")
        else:
            kept.append(column)
    return kept, warnings


def inputs_of(
    columns: list[Column], learned_from: NDArray[np.bool_]
) -> tuple[Tensor, tuple[int, ...], tuple[dict[str, Any], ...]]:
    """Inputs [N, F] float32, how many values each of the last columns has, and how all F are made.

    A missing number is the median, and a column of its own says that it was missing. Texts are codes: 0 stands for
    those that are missing, rare or never seen in the rows to learn from.
    """
    numbers, gaps, codes = [], [], []
    for column in columns:
        missing = column.missing()
        if column.numbers is not None:
            middle = float(np.median(column.numbers[learned_from & ~missing]))
            numbers.append(({"column": column.name, "missing": middle}, np.where(missing, middle, column.numbers)))
            if missing[learned_from].any():
                gaps.append(({"column": column.name, "is_missing": 1}, missing))
        else:
            assert column.codes is not None
            often = np.bincount(column.codes[learned_from & ~missing], minlength=len(column.texts)) >= OFTEN
            known = sorted(np.flatnonzero(often).tolist(), key=lambda code: column.texts[code])
            place = np.zeros(len(column.texts) + 1, np.int64)  # the last is where -1 leads
            place[known] = np.arange(1, len(known) + 1)
            texts = [column.texts[code] for code in known]
            codes.append(({"column": column.name, "codes_from_1": texts}, place[column.codes]))
    made: list[tuple[dict[str, Any], NDArray[Any]]] = [*numbers, *gaps, *codes]
    inputs = torch.from_numpy(np.stack([values for _, values in made], 1).astype(np.float32))
    categories = tuple(len(how["codes_from_1"]) + 1 for how, _ in codes)
    return inputs, categories, tuple(how for how, _ in made)
