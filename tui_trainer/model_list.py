"""All models that can be named, as plain rows: the program's own and torchvision's, without torch."""

from fnmatch import fnmatchcase
from typing import Any

from tui_trainer.catalog import MODELS
from tui_trainer.errors import UsageError
from tui_trainer.text import clean
from tui_trainer.zoo import ZOO

SIDE = 32
"""Side of the images that parameters are told for when nothing else is said, pixels, where a model takes them."""
CLASSES = 10


def rows(pattern: str = "", images: str = "") -> list[dict[str, Any]]:
    """The models whose name or title has `pattern` in it, or matches it where it has `*` or `?`.

    `images` is their shape as in 1x28x28. Where a model refuses them, `problem` says why, and its parameters are told
    for the next size that fits.

    Raises:
        UsageError: `images` is no shape.
    """
    channels, height, width = _shape(images) if images else (3, SIDE, SIDE)
    found: list[dict[str, Any]] = []
    for name, facts in MODELS.items():
        if name not in ZOO:
            row: dict[str, Any] = {
                "name": name,
                "title": facts.title,
                "source": "tui-trainer",
                "sides": "any",
                "least": 1,
                "step": 1,
            }
            parameters = facts.parameters((channels, height, width), CLASSES)
            found.append(row | {"parameters": parameters, "weights_bytes": 0, "license": "", "problem": ""})
    for name, zoo in ZOO.items():
        problem = zoo.refuses((channels, height, width))
        side = zoo.side(max(height, width))
        shape = (channels, side, side) if problem else (channels, height, width)
        found.append(
            {"name": name, "title": zoo.title, "source": "torchvision", "sides": zoo.sides()}
            | {"least": zoo.least, "step": zoo.step, "parameters": zoo.parameters(shape, CLASSES)}
            | {"weights_bytes": zoo.weights_bytes, "license": zoo.license, "problem": problem if images else ""}
        )
    return [row for row in found if _matches(row, pattern.lower())]


def _matches(row: dict[str, Any], pattern: str) -> bool:
    words = (row["name"].lower(), row["title"].lower())
    if any(sign in pattern for sign in "*?["):
        return any(fnmatchcase(word, pattern) for word in words)
    return any(pattern in word for word in words)


def _shape(images: str) -> tuple[int, int, int]:
    parts = images.lower().split("x")
    if len(parts) != 3 or not all(part.isdecimal() and len(part) < 6 and int(part) for part in parts):
        raise UsageError(f"--images: must be channels, height and width such as 1x28x28 (got {clean(images, 40)})")
    channels, height, width = map(int, parts)
    return channels, height, width
