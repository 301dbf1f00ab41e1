"""`tui-trainer runs` and `compare`: runs as lines or as JSON, without a screen."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.text import Text

from tui_trainer.cli import screens
from tui_trainer.cli.console import json_line, on_stdout, print_line
from tui_trainer.cli.gather import output_dir_of
from tui_trainer.cli.options import OutputDir, no_such_option, option
from tui_trainer.errors import UsageError
from tui_trainer.settings.sources import resolve
from tui_trainer.text import ago, clean, fixed, number

if TYPE_CHECKING:
    from tui_trainer.runs.listing import Summary

COLUMNS: dict[str, Callable[["Summary"], str]] = {
    "name": lambda run: run.name,
    "state": lambda run: run.state.replace("_", " "),
    "age": lambda run: ago(time.time() - run.started),
    "model": lambda run: run.model,
    "data": lambda run: run.dataset,
    "optimizer": lambda run: run.optimizer,
    "lr": lambda run: number(run.lr, 3),
    "epoch": lambda run: f"{run.epoch}/{run.epochs}",
    "score": lambda run: run.headline,
    "loss": lambda run: fixed(run.best_loss),
}
NUMBERS = ("lr", "epoch", "score", "loss")
"""Columns that are flush right."""
STYLES = {"failed": "red", "diverged": "red", "lost": "red", "unreadable": "red", "paused": "yellow"}
STYLES |= dict.fromkeys(("stopped", "interrupted"), "yellow") | dict.fromkeys(("finished", "out_of_patience"), "green")


def runs_command(
    *query: Annotated[
        str,
        Parameter(
            help="Which runs: state:live, model:cnn, 'lr<0.01', 'accuracy>90%', 'mae<0.4', 'age<2d', any setting, or "
            "a part of the name. All must hold; -model:cnn is the opposite. Quote < and >, which mean something to the "
            "shell.",
            allow_leading_hyphen=True,
        ),
    ],
    sort: Annotated[
        str, option("age (the newest first), score, loss, name, state, lr, or a score such as mae.")
    ] = "age",
    output_dir: OutputDir = None,
    json: Annotated[bool, option("One JSON object a line on stdout.")] = False,
) -> int:
    """The runs in a folder: their state, settings and best score."""
    from tui_trainer.runs.listing import list_runs
    from tui_trainer.runs.query import measured_in, ordered, parse

    if mistyped := [word for word in query if word.startswith("--")]:
        raise UsageError(no_such_option(mistyped[0], runs_command))
    place = output_dir_of(output_dir)
    if output_dir and not os.path.isdir(os.path.expanduser(output_dir)):
        raise UsageError(f"There is no folder {clean(output_dir)}.")
    found = list_runs(place)
    measured = measured_in(found)
    shown = ordered(filter(parse(query, measured), found), sort, measured)
    if json:
        show_runs_as_json(shown)
    elif shown:
        show_runs(shown)
    else:
        print(nothing(len(found), query, place), file=sys.stderr)
    return 0


def compare_command(
    *runs: Annotated[str, Parameter(help="From 2 to 8 runs: folders, names, beginnings of names, or `last`.")],
    no_ui: Annotated[bool, option("A table instead of the screen.")] = False,
    output_dir: OutputDir = None,
    json: Annotated[bool, option("One JSON object on stdout: the runs, and the settings that differ.")] = False,
) -> int:
    """Runs side by side: their curves, what came out, and the settings that differ."""
    from tui_trainer.run import folder
    from tui_trainer.runs.comparison import to_compare

    place = output_dir_of(output_dir)
    found = [folder.find(run, place) for run in runs]
    compared = to_compare(found)
    if json:
        show_comparison_as_json(compared)
        return 0
    if no_ui or not screens.has_terminal():
        show_comparison(compared)
        return 0

    return screens.open_screens(resolve([]), compared=[run.folder for run in compared])


def show_runs(runs: Sequence["Summary"]) -> None:
    """A line a run on stdout; in a terminal coloured, and cut at its edge."""
    from tui_trainer.runs.listing import LIVE

    styles = dict.fromkeys(LIVE, "cyan") | STYLES
    texts = {name: [show(run) or "-" for run in runs] for name, show in COLUMNS.items()}
    wide = {name: max(len(name), *map(len, cells)) for name, cells in texts.items()}
    out = on_stdout()

    def line(cells: dict[str, str]) -> str:
        parts = [f"{cells[n]:>{wide[n]}}" if n in NUMBERS else f"{cells[n]:<{wide[n]}}" for n in texts]
        return "  ".join(parts).rstrip()

    print_line(out, Text(line({name: name for name in texts}), "dim"))
    for i, run in enumerate(runs):
        text = Text(line({name: cells[i] for name, cells in texts.items()}))
        begin = wide["name"] + 2
        text.stylize(styles.get(run.state, ""), begin, begin + wide["state"])
        print_line(out, text)


def show_comparison(runs: Sequence["Summary"]) -> None:
    """A column a run: what came out, then the settings that differ."""
    from tui_trainer.runs.comparison import LETTERS, differing, figures

    rows = figures(runs)
    differs = differing(runs)
    label = max(map(len, (*rows, *differs)))
    wide = [
        max(len(run.name) + 3, *(len(cells[i]) for cells in (*rows.values(), *differs.values())))
        for i, run in enumerate(runs)
    ]
    out = on_stdout()

    def line(name: str, cells: Sequence[str], style: str = "") -> None:
        parts = [f"{cell:<{width}}" for cell, width in zip(cells, wide, strict=True)]
        print_line(out, Text("  ".join([f"{name:<{label}}", *parts]).rstrip(), style))

    line("", [f"{letter}  {run.name}" for letter, run in zip(LETTERS, runs, strict=False)], "bold")
    for name, cells in rows.items():
        line(name, cells)
    print_line(out, Text(""))
    print_line(out, Text("settings that differ" if differs else "the settings do not differ", "dim"))
    for name, found in differs.items():
        line(name, found)


def show_runs_as_json(runs: Sequence["Summary"]) -> None:
    """One object a line."""
    for run in runs:
        print(json_line(as_plain(run)))


def show_comparison_as_json(runs: Sequence["Summary"]) -> None:
    """One object: the runs, and the settings that differ with the value in each of them."""
    from tui_trainer.runs.comparison import differing

    differs = {name: [run.settings.get(name) for run in runs] for name in differing(runs)}
    print(json_line({"runs": [as_plain(run) for run in runs], "differs": differs}))


def as_plain(run: "Summary") -> dict[str, Any]:
    """A summary as plain values; `age` is seconds since it began."""
    plain = {f.name: getattr(run, f.name) for f in fields(run) if f.name != "losses"}
    return plain | {"path": str(run.path), "age": round(max(0.0, time.time() - run.started), 3)}


def nothing(found: int, words: Sequence[str], output_dir: str) -> str:
    """What is said when no run is shown."""
    if found:
        return f"None of the {found} runs in {clean(output_dir)} match: {clean(' '.join(words))}"
    return f"There are no runs in {clean(output_dir)}. Start one with: tui-trainer"
