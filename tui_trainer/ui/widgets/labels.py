"""How well each label is found, of examples that may have several."""

from typing import NamedTuple

from textual.content import Content

from tui_trainer.run.events import Evaluated
from tui_trainer.run.state import RunState
from tui_trainer.text import clean, percent
from tui_trainer.ui.widgets.evaluation import Picture, Room, counted, scores_below
from tui_trainer.ui.widgets.header import bar
from tui_trainer.ui.widgets.panel import MUTED

_FIGURES = (("F1", 8), ("precision", 10), ("recall", 8), ("examples", 9))
"""The columns behind the bar and their cells; the last ones go first where there is no room."""


class Found(NamedTuple):
    """How well a label is found; None where a journal holds what is no fraction."""

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    examples: int
    """That have it."""


def picture(seen: Evaluated, state: RunState, room: Room) -> Picture:
    """A row a label, in their order or the worst first, and below the worst ones in words."""
    names = state.classes if len(state.classes) == len(seen.labels) else ()
    names = names or tuple(str(i) for i in range(len(seen.labels)))
    rows = [
        Found(clean(name, 40), _share(precision), _share(recall), _share(f1), counted(examples))
        for name, (precision, recall, f1, examples) in zip(names, seen.labels, strict=True)
    ]
    by_f1 = sorted(rows, key=lambda row: -1.0 if row.f1 is None else row.f1)
    width, height = room.width, room.height
    if width < 20 or height < 3:
        return Picture(Content.styled("too small for the labels; z zooms", MUTED), why="There is no room; z zooms.")
    below = [_worst(by_f1, width)] if height >= 6 and len(rows) > 1 else []
    fit = height - 1 - len(below) - (height >= 8 and len(state.scores) > 1)
    top = max(0, min(room.top, len(rows) - fit))
    shown = (by_f1 if room.other else rows)[top : top + fit]
    lines = _table(shown, max(len(row.name) for row in rows), width)
    if below and height - len(lines) > 2 + len(state.scores):
        lines.append(Content(""))
    lines += below
    lines += scores_below(seen, state, width, height - len(lines))
    place = f" · {top + 1}-{top + len(shown)} of {len(rows)}, ↑ ↓" if len(shown) < len(rows) else ""
    mode = ("worst first" if room.other else "in order") + place
    key = "In order" if room.other else "Worst first"
    if len(rows) == 1:
        return Picture(Content("\n").join(lines[:height]), why="There is just one label.")
    return Picture(Content("\n").join(lines[:height]), mode, key, top=top, scrolls=len(shown) < len(rows))


def _share(value: float) -> float | None:
    """A fraction, or None for what cannot be one."""
    return value if 0 <= value <= 1 else None


def _table(rows: list[Found], longest: int, width: int) -> list[Content]:
    """Head and rows, as wide as there is room for."""
    columns = list(_FIGURES)
    label = max(6, min(longest, 24, width // 3))
    while len(columns) > 1 and label + sum(cells for _, cells in columns) > width:
        columns.pop()
    taken = label + sum(cells for _, cells in columns)
    cells = min(40, width - taken - 1)
    cells = cells if cells >= 4 else 0
    head = " " * (label + (cells + 1 if cells else 0)) + "".join(f"{name:>{wide}}" for name, wide in columns)
    lines = [Content.styled(head, MUTED)]
    for name, precision, recall, f1, examples in rows:
        short = name if len(name) <= label else name[: label - 1] + "…"
        figures = (percent(f1), percent(precision), percent(recall), f"{examples:,}")
        text = "".join(f"{figure:>{wide}}" for figure, (_, wide) in zip(figures, columns, strict=False))
        block = Content(" ") + bar(f1 or 0.0, cells, "$secondary") if cells else Content("")
        lines.append(Content(f"{short:>{label}}") + block + Content(text))
    return lines


def _worst(rows: list[Found], width: int) -> Content:
    """The labels that are found least well, as many as a line holds."""
    head = "worst F1  "
    parts = [f"{name} {percent(f1)}" for name, _, _, f1, _ in rows[:3]]
    while len(parts) > 1 and len(head + "  ".join(parts)) > width:
        parts.pop()
    return Content.assemble((head, MUTED), ("  ".join(parts), ""))[:width]
