"""A table in a CSV file as text: its rows, what its columns are called, and how many rows there are at a short look."""

import csv
import os
from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tui_trainer.errors import DataError
from tui_trainer.text import clean

KINDS = (".csv", ".tsv", ".parquet")
"""The endings of files that are tables."""
MOST_COUNTED = 64 << 20
"""Bytes in which line ends are counted at the most, 50 ms of them: a form must not wait."""


def rows_of(path: Path) -> Iterator[list[str]]:
    """The rows of a CSV file, all as long as the first, which names the columns; empty lines are passed over.

    Raises:
        DataError: it is no text, or no CSV, or a row is of another length; the message names the line.
    """
    shown, columns, line = clean(path), 0, 0
    marks = "\t" if path.suffix.lower() == ".tsv" else ",;\t"
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=max(marks, key=first.count), strict=True)
            for row in reader:
                line = reader.line_num
                if not row:
                    continue
                if columns and len(row) != columns:
                    raise DataError(
                        f"{shown}: line {line:,} has {len(row):,} values, and there are {columns:,} columns. Mend the "
                        "line; a value that holds the separator needs quotes."
                    )
                columns = len(row)
                yield row
    except UnicodeDecodeError as error:
        raise DataError(f"{shown}: line {_not_utf8(path):,} is not UTF-8 text. Save the file as UTF-8.") from error
    except csv.Error as error:
        raise DataError(f"{shown}: the row behind line {line:,} is not CSV: {clean(error)}.") from error


def _not_utf8(path: Path) -> int:
    """The number of the first line that is no UTF-8 text."""
    with open(path, "rb") as file:
        return next((number for number, line in enumerate(file, 1) if not _is_utf8(line)), 0)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def names_of(first: list[str], path: Path) -> list[str]:
    """The names of the columns, from the first row of a file.

    Raises:
        DataError: it does not name them.
    """
    names = [name.strip() for name in first]
    twice = [name for name in names if name and names.count(name) > 1]
    if not names:
        raise DataError(f"{clean(path)} is empty.")
    if twice:
        raise DataError(f"{clean(path)} has two columns called {clean(twice[0], 60)}. Rename one.")
    if all(map(_is_number, names)):
        raise DataError(f"{clean(path)}: the first line must name the columns, and holds numbers only.")
    return names


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def path_of(dataset: str) -> Path:
    """The file of `table:FILE`."""
    return Path(os.path.expanduser(dataset.partition(":")[2]))


def targets_of(target: str, columns: Container[str]) -> list[str]:
    """The columns that the setting `target` names, with commas between them; one with a comma in its name alone."""
    return [target] if target in columns else [name.strip() for name in target.split(",") if name.strip()]


@dataclass(frozen=True, slots=True)
class Glance:
    """A table at a short look."""

    rows: int | None
    """About: a text of several lines counts as several rows. None when there are too many to count, or one cannot."""
    columns: tuple[str, ...] = ()
    """Empty where only reading the whole file tells them."""


def glance(path: Path) -> Glance:
    """What a short look at a table shows: a millisecond for a small one.

    Raises:
        DataError: it is no table; the message is a sentence.
        OSError: it cannot be read.
    """
    if path.suffix.lower() not in KINDS:
        raise DataError(f"{clean(path)}: a table must end in {', '.join(KINDS[:-1])} or {KINDS[-1]}.")
    state = path.stat()
    return _glance(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=8)
def _glance(path: Path, _changed: int, size: int) -> Glance:
    if path.suffix.lower() == ".parquet":  # the package that reads it takes 0.7 s to import
        with open(path, "rb") as file:
            file.read(1)
        return Glance(None)
    columns = tuple(names_of(next(rows_of(path), []), path))
    if size > MOST_COUNTED:
        return Glance(None, columns)
    lines, last = 0, b"\n"
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            lines, last = lines + block.count(b"\n"), block[-1:]
    return Glance(lines + (last != b"\n") - 1, columns)


def describe_table(path: Path, target: str) -> tuple[str, int | None]:
    """A table in a few words, with what is wrong with it or the target, and its rows when they are known."""
    shown = clean(path.name, 60)
    try:
        found = glance(path)
    except DataError as error:
        return clean(error), None
    except (OSError, ValueError) as error:  # a path may be no path at all
        return f"{shown}: {getattr(error, 'strerror', None) or clean(error)}", None
    if not found.columns:
        return f"{shown}: its rows and columns are known when it is read", found.rows
    rows = f"{found.rows:,} rows" if found.rows is not None else "many rows"
    names = targets_of(target, found.columns)
    missing = [name for name in names if name not in found.columns]
    wanted = f"predicting {clean(', '.join(names), 60)}"
    if missing:
        wanted = f"there is no column {clean(missing[0], 40)}"
    elif not names:
        wanted = "which column is the target?"
    return f"{shown}: {rows}, {len(found.columns):,} columns, {wanted}", found.rows
