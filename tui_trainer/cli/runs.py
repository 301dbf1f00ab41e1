"""Runs and models as lines, or as JSON: `tui-trainer runs`, `compare` and `models` without a screen."""

import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from rich.text import Text

from tui_trainer.cli.console import json_line, on_stdout, print_line
from tui_trainer.cli.models import CLASSES, SIDE
from tui_trainer.runs.comparison import LETTERS, differing, figures
from tui_trainer.runs.listing import LIVE, Summary
from tui_trainer.text import ago, clean, fixed, number, size

COLUMNS: dict[str, Callable[[Summary], str]] = {
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
STYLES |= {state: "cyan" for state in LIVE if state != "paused"}


def show_runs(runs: Sequence[Summary]) -> None:
    """A line a run on stdout; in a terminal coloured, and cut at its edge."""
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
        text.stylize(STYLES.get(run.state, ""), begin, begin + wide["state"])
        print_line(out, text)


def show_comparison(runs: Sequence[Summary]) -> None:
    """A column a run: what came out, then the settings that differ."""
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


def show_runs_as_json(runs: Sequence[Summary]) -> None:
    """One object a line."""
    for run in runs:
        print(json_line(as_plain(run)))


def show_comparison_as_json(runs: Sequence[Summary]) -> None:
    """One object: the runs, and the settings that differ with the value in each of them."""
    differs = {name: [run.settings.get(name) for run in runs] for name in differing(runs)}
    print(json_line({"runs": [as_plain(run) for run in runs], "differs": differs}))


def as_plain(run: Summary) -> dict[str, Any]:
    """A summary as plain values; `age` is seconds since it began."""
    plain = {f.name: getattr(run, f.name) for f in fields(run) if f.name != "losses"}
    return plain | {"path": str(run.path), "age": round(max(0.0, time.time() - run.started), 3)}


def nothing(found: int, words: Sequence[str], output_dir: str) -> str:
    """What is said when no run is shown."""
    if found:
        return f"None of the {found} runs in {clean(output_dir)} match: {clean(' '.join(words))}"
    return f"There are no runs in {clean(output_dir)}. Start one with: tui-trainer"


def show_models(rows: Sequence[dict[str, Any]], images: str = "") -> None:
    """A line a model on stdout, a second where it does not take the `images`, and at the end what the figures are."""
    texts = {
        "model": [row["name"] for row in rows],
        "title": ["the program's own" if row["source"] == "tui-trainer" else row["title"] for row in rows],
        "parameters": [f"{row['parameters']:,}" if row["parameters"] else "" for row in rows],
        "image side": [row["sides"] for row in rows],
        "weights": [size(row["weights_bytes"]) if row["weights_bytes"] else "-" for row in rows],
    }
    wide = {name: max(len(name), *map(len, cells)) for name, cells in texts.items()}
    out = on_stdout()

    def line(cells: dict[str, str]) -> str:
        right = ("parameters", "weights")
        return "  ".join(f"{cells[n]:>{wide[n]}}" if n in right else f"{cells[n]:<{wide[n]}}" for n in texts)

    print_line(out, Text(line({name: name for name in texts}), "dim"))
    for i, row in enumerate(rows):
        text = Text(line({name: cells[i] for name, cells in texts.items()}) + ("*" if row["license"] else ""))
        text.stylize("dim" if row["wants"] else "bold", 0, len(row["name"]))
        print_line(out, text)
        if row["wants"]:
            print_line(out, Text(f"  takes {row['wants']}: --image-size {row['image_size']}", "yellow"))
    sides = images or f"3x{SIDE}x{SIDE}"
    notes = ["", f"Parameters: for {CLASSES} classes and images of {sides}, or the next size that fits."]
    if any(row["weights_bytes"] for row in rows):
        notes.append("Weights: trained on ImageNet, downloaded when a run wants them.")
    notes += [f"* {text}" for text in sorted({row["license"] for row in rows} - {""})]
    for note in notes:
        print_line(out, Text(note, "dim"))


def show_models_as_json(rows: Sequence[dict[str, Any]]) -> None:
    """One object a line."""
    for row in rows:
        print(json_line(row))
