"""The columns of a table in a file: those that are numbers, and texts as codes. CSV is read piece by piece."""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tui_trainer.catalog.table_file import KINDS, names_of, rows_of
from tui_trainer.errors import DataError
from tui_trainer.text import clean

PIECE = 20_000
"""Rows that are held as text at once."""
MISSING = frozenset(("", "na", "n/a", "#n/a", "<na>", "nan", "null", "none", "?"))
"""What stands for a missing value, in small letters."""
LARGEST = 3e38
"""The largest number that float32 holds, nearly."""


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """A column of N values: numbers, texts, or neither."""

    name: str
    numbers: NDArray[np.float64] | None = None
    """[N], NaN where a value is missing."""
    codes: NDArray[np.int64] | None = None
    """[N], which of `texts`; -1 where a value is missing."""
    texts: tuple[str, ...] = ()
    other: str = ""
    """What the values are when they are neither numbers nor texts."""

    def at(self, rows: NDArray[np.bool_]) -> "Column":
        """Only the rows where a mask [N] is true."""
        if self.numbers is not None:
            return replace(self, numbers=self.numbers[rows])
        return self if self.codes is None else replace(self, codes=self.codes[rows])

    def missing(self) -> NDArray[np.bool_]:
        """A mask [N]."""
        if self.numbers is not None:
            return np.isnan(self.numbers)
        assert self.codes is not None
        return np.less(self.codes, 0)


def read_columns(path: Path) -> Generator[int, None, list[Column]]:
    """The columns of a .csv, .tsv or .parquet file; how many rows are read so far.

    Raises:
        DataError: it is missing, damaged or no table; the message names the file, and the line where there is one.
    """
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise DataError(f"{clean(path)}: a table must end in {', '.join(KINDS[:-1])} or {KINDS[-1]}.")
    try:
        if kind == ".parquet":
            return _parquet(path)
        return (yield from _csv(path))
    except (OSError, ValueError) as error:  # a path may be no path at all
        raise DataError(f"{clean(path)}: {getattr(error, 'strerror', None) or clean(error)}.") from error


def _csv(path: Path) -> Generator[int, None, list[Column]]:
    """Each column is taken for numbers until a text is met in it: then the file is read again from its beginning."""
    texts: set[int] = set()
    while True:
        rows = rows_of(path)
        names = names_of(next(rows, []), path)
        makers = [Texts() if i in texts else Numbers() for i in range(len(names))]
        count = 0
        while piece := list(islice(rows, PIECE)):
            taken = [maker.add(cells) for maker, cells in zip(makers, zip(*piece, strict=True), strict=True)]
            if not all(taken):
                texts |= {i for i, good in enumerate(taken) if not good}
                break
            count += len(piece)
            yield count
        else:
            return [maker.made(name) for maker, name in zip(makers, names, strict=True)]


class Numbers:
    """A column of numbers in the making."""

    def __init__(self) -> None:
        self._pieces: list[NDArray[np.float64]] = []

    def add(self, cells: Sequence[str]) -> bool:
        """Take the next values; False when one of them is a text."""
        try:
            if "_" in "".join(cells):  # Python reads 1_000 as a number
                return False
            try:
                values = [float(cell) for cell in cells]
            except ValueError:  # the exception, and three times as slow
                values = [math.nan if cell.strip().lower() in MISSING else float(cell) for cell in cells]
        except ValueError:
            return False
        self._pieces.append(np.array(values, np.float64))
        return True

    def made(self, name: str) -> Column:
        return Column(name, numbers=_finite(np.concatenate([np.empty(0), *self._pieces])))


def _finite(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Numbers that float32 cannot hold count as missing."""
    return np.where(np.abs(numbers) < LARGEST, numbers, np.nan)


class Texts:
    """A column of texts in the making: each different one gets a code when it is first met."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._pieces: list[NDArray[np.int64]] = []

    def add(self, cells: Sequence[str]) -> bool:
        codes = self._codes
        stripped = map(str.strip, cells)
        found = [-1 if cell.lower() in MISSING else codes.setdefault(cell, len(codes)) for cell in stripped]
        self._pieces.append(np.array(found, np.int64))
        return True

    def made(self, name: str) -> Column:
        codes = np.concatenate([np.empty(0, np.int64), *self._pieces])
        return Column(name, codes=codes, texts=tuple(self._codes))


def _parquet(path: Path) -> list[Column]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise DataError(
            f"{clean(path)}: Parquet files need the package pyarrow, which is not installed here.\n"
            "Install with: pip install 'tui-trainer[table]'"
        ) from None
    try:
        table = parquet.ParquetFile(path).read()
    except pyarrow.ArrowException as error:
        raise DataError(f"{clean(path)}: not a Parquet file, or a damaged one ({clean(error)}).") from error
    names = names_of(table.column_names, path)
    return [_arrow_column(pyarrow, name, values) for name, values in zip(names, table, strict=True)]


def _arrow_column(pyarrow: Any, name: str, values: Any) -> Column:
    """A column of an Arrow table. Whole numbers and decimals become floating-point numbers, booleans texts."""
    types, kind = pyarrow.types, values.type
    if types.is_dictionary(kind):
        kind = kind.value_type
        values = values.cast(kind)
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        numbers = values.cast(pyarrow.float64(), safe=False).to_numpy()
        return Column(name, numbers=_finite(np.array(numbers, np.float64)))
    if types.is_string(kind) or types.is_large_string(kind) or types.is_boolean(kind):
        maker = Texts()
        maker.add([value or "" for value in values.cast(pyarrow.string()).to_pylist()])
        return maker.made(name)
    return Column(name, other=str(kind))
