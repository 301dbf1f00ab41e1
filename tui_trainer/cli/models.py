"""All models that can be named, as plain rows: the program's own and torchvision's, without torch."""

from fnmatch import fnmatchcase
from typing import Any

from tui_trainer.catalog import MODELS, own_models
from tui_trainer.catalog.zoo import ZOO, ZooFacts
from tui_trainer.errors import UsageError
from tui_trainer.text import clean

SIDE = 32
"""Side of the images that parameters are told for when nothing else is said, pixels, where a model takes them."""
CLASSES = 10


def rows(pattern: str = "", images: str = "") -> list[dict[str, Any]]:
    """The models whose name or title has `pattern` in it, or matches it where it has `*` or `?`.

    `images` is their shape as in 1x28x28. Where a model does not take them, `wants` says which it takes, and
    `image_size` is the side of square ones that fit; its parameters are told for these.

    Raises:
        UsageError: `images` is no shape.
    """
    shape = _shape(images) if images else (3, SIDE, SIDE)
    own = [_own(name, shape) for name in own_models()]
    found = own + [_torchvisions(facts, shape) for facts in ZOO.values()]
    return [row if images else row | {"wants": ""} for row in found if _matches(row, pattern.lower())]


def _own(name: str, shape: tuple[int, int, int]) -> dict[str, Any]:
    facts = MODELS.get(name)
    least = 2 ** len(facts.channels) if facts else 1  # every pooling halves the image
    return {
        "name": name,
        "title": facts.title if facts else "",
        "source": "tui-trainer",
        "parameters": facts.parameters(shape, CLASSES) if facts else None,
        "sides": f"from {least}",
        "least": least,
        "step": 1,
        "weights_bytes": 0,
        "license": "",
        "image_size": max(least, *shape[1:]),
        "wants": "",
    }


def _torchvisions(facts: ZooFacts, shape: tuple[int, int, int]) -> dict[str, Any]:
    wants, side = facts.wants(shape), facts.side(max(shape[1:]))
    return {
        "name": facts.name,
        "title": facts.title,
        "source": "torchvision",
        "parameters": facts.parameters((shape[0], side, side) if wants else shape, CLASSES),
        "sides": facts.sides(),
        "least": facts.least,
        "step": facts.step,
        "weights_bytes": facts.weights_bytes,
        "license": facts.license,
        "image_size": side,
        "wants": wants,
    }


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
