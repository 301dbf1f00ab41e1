"""`tui-trainer models`: all models that can be named, the program's own and torchvision's. Without torch."""

import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any

from cyclopts import Parameter
from rich.text import Text

from tui_trainer.catalog import MODELS, own_models
from tui_trainer.catalog.zoo import ZOO, ZooFacts
from tui_trainer.cli.console import json_line, on_stdout, print_line
from tui_trainer.cli.options import option
from tui_trainer.errors import UsageError
from tui_trainer.text import clean, did_you_mean, size

SIDE = 32
"""Side of the images that parameters are told for when nothing else is said, pixels, where a model takes them."""
CLASSES = 10


def models_command(
    pattern: Annotated[
        str, Parameter(help="A part of the name, or a pattern such as 'resnet*', quoted for the shell.")
    ] = "",
    /,
    *,
    images: Annotated[
        str | None, option("Channels, height and width such as 1x28x28: the models that do not take them say why.")
    ] = None,
    json: Annotated[bool, option("One JSON object a line on stdout.")] = False,
) -> int:
    """The models that can be trained: their size, the images they take, and the weights that can be had."""
    found = rows(pattern, images or "")
    if json:
        show_as_json(found)
    elif found:
        show(found, images or "")
    else:
        known = [row["name"] for row in rows()]
        print(
            f"None of the {len(known)} models match: {clean(pattern)}.{did_you_mean(pattern, known)}", file=sys.stderr
        )
    return 0


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


def show(found: Sequence[dict[str, Any]], images: str = "") -> None:
    """A line a model on stdout, a second where it does not take the `images`, and at the end what the figures are."""
    texts = {
        "model": [row["name"] for row in found],
        "title": ["the program's own" if row["source"] == "tui-trainer" else row["title"] for row in found],
        "parameters": [f"{row['parameters']:,}" if row["parameters"] else "" for row in found],
        "image side": [row["sides"] for row in found],
        "weights": [size(row["weights_bytes"]) if row["weights_bytes"] else "-" for row in found],
    }
    wide = {name: max(len(name), *map(len, cells)) for name, cells in texts.items()}
    out = on_stdout()

    def line(cells: dict[str, str]) -> str:
        right = ("parameters", "weights")
        return "  ".join(f"{cells[n]:>{wide[n]}}" if n in right else f"{cells[n]:<{wide[n]}}" for n in texts)

    print_line(out, Text(line({name: name for name in texts}), "dim"))
    for i, row in enumerate(found):
        text = Text(line({name: cells[i] for name, cells in texts.items()}) + ("*" if row["license"] else ""))
        text.stylize("dim" if row["wants"] else "bold", 0, len(row["name"]))
        print_line(out, text)
        if row["wants"]:
            print_line(out, Text(f"  takes {row['wants']}: --image-size {row['image_size']}", "yellow"))
    sides = images or f"3x{SIDE}x{SIDE}"
    notes = ["", f"Parameters: for {CLASSES} classes and images of {sides}, or the next size that fits."]
    if any(row["weights_bytes"] for row in found):
        notes.append("Weights: trained on ImageNet, downloaded when a run wants them.")
    notes += [f"* {text}" for text in sorted({row["license"] for row in found} - {""})]
    for note in notes:
        print_line(out, Text(note, "dim"))


def show_as_json(found: Sequence[dict[str, Any]]) -> None:
    """One object a line."""
    for row in found:
        print(json_line(row))
