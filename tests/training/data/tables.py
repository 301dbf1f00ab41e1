"""Tables made of the embedded images: how bright 4 x 4 parts of each are, with something of each kind to predict."""

import csv
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from tests.training.plain_loop import mini

PARTS = [f"part_{number}" for number in range(16)]
SHOES, UPPER = (5, 7, 9), (0, 2, 3, 4, 6)
"""Classes of FashionMNIST: worn on the feet, worn above the waist."""


def write(path: Path, columns: dict[str, list[Any]]) -> Path:
    """A CSV file of these columns, None as nothing."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def columns_of(rows: int) -> dict[str, list[Any]]:
    """The first images as columns: their parts, and beside them targets of each kind."""
    X, y = (part[:rows] for part in mini("train"))
    parts = F.avg_pool2d(X, 7).flatten(1)
    lower = X[:, 0, 14:].mean((1, 2))
    thirds = torch.stack([part.mean((1, 2)) + 0.01 for part in X[:, 0].split((10, 9, 9), 1)], 1)
    return {
        **dict(zip(PARTS, parts.T.tolist(), strict=True)),
        "class": [f"class {label}" for label in y.tolist()],
        "worn": ["feet" if label in SHOES else "elsewhere" for label in y.tolist()],
        "shoe": [int(label in SHOES) for label in y.tolist()],
        "upper": [int(label in UPPER) for label in y.tolist()],
        "bright": [int(value > 0.3) for value in X.mean((1, 2, 3)).tolist()],
        "lower": [1000 + 100 * value for value in lower.tolist()],
        "ink": [value / 1000 for value in X.mean((1, 2, 3)).tolist()],
        **dict(zip(("top", "middle", "bottom"), (thirds / thirds.sum(1, keepdim=True)).T.tolist(), strict=True)),
    }


def table(path: Path, target: str, rows: int = 400) -> Path:
    """A CSV file with the parts, and of the targets only those that are named."""
    columns = columns_of(rows)
    return write(path, {name: columns[name] for name in (*PARTS, *target.split(","))})
