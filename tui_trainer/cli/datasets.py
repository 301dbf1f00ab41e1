"""`tui-trainer datasets`: all data sets that can be named, as a list or as JSON. Without torch."""

import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any

from cyclopts import Parameter
from rich.text import Text

from tui_trainer.catalog import DATASETS, DatasetFacts
from tui_trainer.cli.console import json_line, on_stdout, print_line
from tui_trainer.cli.gather import gather
from tui_trainer.cli.options import option
from tui_trainer.text import clean, did_you_mean

RIGHT = ("images", "classes")
"""Columns that are flush right."""


def datasets_command(
    pattern: Annotated[
        str, Parameter(help="A part of the name, or a pattern such as 'emnist*', quoted for the shell.")
    ] = "",
    /,
    *,
    data_dir: Annotated[str | None, option("Where data sets are looked for [default: the setting data_dir].")] = None,
    json: Annotated[bool, option("One JSON object a line on stdout.")] = False,
) -> int:
    """The data sets that can be trained on by their names: their size, and whether they are here."""
    found = rows(pattern, data_dir or gather({}).settings.data_dir)
    if json:
        show_as_json(found)
    elif found:
        show(found)
    else:
        known = list(DATASETS)
        hint = did_you_mean(pattern, known)
        print(f"None of the {len(known)} data sets match: {clean(pattern)}.{hint}", file=sys.stderr)
    return 0


def rows(pattern: str, data_dir: str) -> list[dict[str, Any]]:
    """The data sets whose name or title has `pattern` in it, or matches it where it has `*` or `?`."""
    return [_row(name, facts, data_dir) for name, facts in DATASETS.items() if _matches(name, facts, pattern.lower())]


def _matches(name: str, facts: DatasetFacts, pattern: str) -> bool:
    texts = (name, facts.title.lower())
    if set("*?") & set(pattern):
        return any(fnmatchcase(text, pattern) for text in texts)
    return any(pattern in text for text in texts)


def _row(name: str, facts: DatasetFacts, data_dir: str) -> dict[str, Any]:
    from tui_trainer.outlook.data import is_here, lacking, state_of

    return {
        "name": name,
        "title": facts.title,
        "kind": facts.kind,
        "train_examples": facts.train_examples,
        "valid_examples": facts.valid_examples,
        "test_examples": facts.test_examples,
        "outputs": facts.outputs,
        "classes": list(facts.classes),
        "shape": list(facts.shape) if facts.shape else None,
        "download_bytes": facts.download_bytes,
        "torchvision": facts.torchvision,
        "here": facts.reader == "fake" or is_here(name, data_dir),
        "state": state_of(name, data_dir),
        "lacks": list(lacking(name, data_dir)),
    }


def show(found: Sequence[dict[str, Any]]) -> None:
    """A line a data set on stdout; in a terminal coloured, and cut at its edge."""
    texts = {
        "name": [row["name"] for row in found],
        "images": [f"{row['train_examples'] + row['valid_examples'] + row['test_examples']:,}" for row in found],
        "classes": [f"{row['outputs']:,}" + ("" if row["kind"] == "class" else " labels") for row in found],
        "size": [_size(row["shape"]) for row in found],
        "state": [row["state"] + "*" * bool(row["lacks"]) for row in found],
        "what": [row["title"] for row in found],
    }
    wide = {name: max(len(name), *map(len, cells)) for name, cells in texts.items()}
    out = on_stdout()

    def line(cells: dict[str, str]) -> str:
        return "  ".join(f"{cells[n]:>{wide[n]}}" if n in RIGHT else f"{cells[n]:<{wide[n]}}" for n in texts).rstrip()

    print_line(out, Text(line({name: name for name in texts}), "dim"))
    for i, row in enumerate(found):
        text = Text(line({name: cells[i] for name, cells in texts.items()}))
        text.stylize("bold" if row["here"] else "", 0, len(row["name"]))
        begin = sum(wide[name] + 2 for name in ("name", "images", "classes", "size"))
        style = "green" if row["here"] else "yellow" if row["state"].startswith("put") else ""
        text.stylize(style, begin, begin + len(row["state"]))
        print_line(out, text)
    for note in ("", *_notes(found)):
        print_line(out, Text(note, "dim"))


def _notes(found: Sequence[dict[str, Any]]) -> list[str]:
    notes = ["Images: of all splits together. Your own: folder:PATH, table:FILE, FILE.py:NAME."]
    packages = sorted({package for row in found for package in row["lacks"]})
    if packages:
        notes.append(f"* torchvision needs more for it: pip install {' '.join(packages)}")
    return notes


def _size(shape: list[int] | None) -> str:
    """`28 x 28 grey`; height before width as everywhere in PyTorch."""
    if shape is None:
        return "differs"
    return f"{shape[1]} x {shape[2]}{' grey' if shape[0] == 1 else ''}"


def show_as_json(found: Sequence[dict[str, Any]]) -> None:
    """One object a line."""
    for row in found:
        print(json_line(row))
