"""Predicted numbers: against the true ones as a heat map, and what they are off by as a histogram."""

import itertools
import math
from collections.abc import Sequence

from textual.content import Content

from tui_trainer.run.events import Evaluated
from tui_trainer.run.scores import figure, title
from tui_trainer.run.state import RunState
from tui_trainer.text import clean
from tui_trainer.ui.widgets.charts import axis_number
from tui_trainer.ui.widgets.evaluation import Picture, Room, counted, counts, scores_below
from tui_trainer.ui.widgets.header import BLOCKS
from tui_trainer.ui.widgets.panel import MUTED

AXIS = 7
"""Cells of the numbers at the left of a picture and its line."""
SHADES = "░▒▓█"
"""From few examples to many."""
FINEST = 200
"""Steps of a heat map that are looked at; a terminal shows no more."""


def picture(seen: Evaluated, state: RunState, room: Room) -> Picture:
    """The heat map with the scores beside it, and the residuals below or at the right where there is room."""
    width, height = room.width, room.height
    if width < AXIS + 12 or height < 6:
        return Picture(Content.styled("too small for this; z zooms", MUTED), why="There is no room; z zooms.")
    table, off = counts(seen.density), [counted(n) for n in seen.residuals]
    has_map, has_residuals = any(map(any, table)), any(off)
    if not has_map and not has_residuals:
        return Picture(Content.styled("nothing could be counted", MUTED), why="Nothing could be counted.")
    if not (has_map and has_residuals):
        lines = _map(table, seen, state, width, height) if has_map else _residuals(off, seen, state, width, height)
        return Picture(_joined(lines, height), why="There is just one picture.")
    if height >= 20:
        below = max(7, height * 3 // 10)
        lines = [*_map(table, seen, state, width, height - below - 1), Content("")]
        lines += _residuals(off, seen, None, width, below)
        return Picture(_joined(lines, height), why="Predictions and residuals are both in sight.")
    if width >= 72 and height >= 10:
        left = min(width - 30, AXIS + 3 * (height - 3))
        return Picture(
            _beside(
                _map(table, seen, state, left, height, scores=False),
                _at_the_right(off, seen, state, width - left - 2, height),
            ),
            why="Predictions and residuals are both in sight.",
        )
    lines = _residuals(off, seen, state, width, height) if room.other else _map(table, seen, state, width, height)
    return Picture(
        _joined(lines, height),
        "residuals" if room.other else "predicted against true",
        "Predictions" if room.other else "Residuals",
    )


def _joined(lines: Sequence[Content], height: int) -> Content:
    return Content("\n").join(lines[:height])


def _beside(left: Sequence[Content], right: Sequence[Content]) -> Content:
    """Two pictures side by side."""
    wide = max(len(line) for line in left) + 2
    empty = [Content("")] * abs(len(left) - len(right))
    pairs = zip([*left, *empty], [*right, *empty], strict=False)
    lines = [(a.pad_right(wide - len(a)) if len(a) < wide else a) + b for a, b in pairs]
    return Content("\n").join(lines[: max(len(left), len(right))])


def _at_the_right(off: list[int], seen: Evaluated, state: RunState, width: int, height: int) -> list[Content]:
    """The scores, and the residuals beneath them."""
    figures = _figures(seen, state)
    return [*figures, Content(""), *_residuals(off, seen, None, width, height - len(figures) - 1)]


def _figures(seen: Evaluated, state: RunState) -> list[Content]:
    """The scores under each other."""
    names = [title(score.name) for score in state.scores]
    label = max(map(len, names))
    return [
        Content.assemble((f"{name:<{label}}  ", MUTED), (figure(seen.score(score.name), score), "bold"))
        for name, score in zip(names, state.scores, strict=True)
    ]


def _map(
    table: list[list[int]], seen: Evaluated, state: RunState, width: int, height: int, *, scores: bool = True
) -> list[Content]:
    """Predicted numbers upwards over true ones to the right; the scores at its right, or above where it is narrow."""
    figures = _figures(seen, state) if scores else []
    taken = max((len(line) for line in figures), default=0) + 2
    beside = bool(figures) and width - taken >= AXIS + 16
    above = [_heading(state, width)]
    if figures and not beside:
        above += scores_below(seen, state, width, 1) or figures[:1]
    rows = height - len(above) - 2
    columns = min(width - AXIS - (taken if beside else 0), 4 * rows)
    cells = resampled(table, columns, rows)
    most = max(max(column) for column in cells)
    steps = max(1, len(table))
    alone = 1 / (max(1, columns / steps) * max(1, rows / steps))  # what one example alone is in a cell
    numbers = _numbers(seen.low, seen.high, rows)
    lines = list(above)
    for row in range(rows):
        up = rows - 1 - row
        parts = [(f"{numbers[row]:>{AXIS - 1}}┤" if numbers[row] else " " * (AXIS - 1) + "│", MUTED)]
        for column in range(columns):
            line = _diagonal(column, up, columns, rows)
            value = cells[column][up]
            if value >= 0.3 * alone:
                shade = SHADES[min(3, int(4 * math.sqrt(value / most)))]
                parts.append((shade, "$warning" if line else "$secondary"))
            else:
                parts.append((line or " ", "$warning"))
        line_of_cells = _drawn(parts)
        if beside and row < len(figures):
            line_of_cells += Content("  ") + figures[row]
        lines.append(line_of_cells)
    return [*lines, *_x_axis(seen.low, seen.high, columns)]


def _drawn(cells: Sequence[tuple[str, str]]) -> Content:
    """Cells of a line with their styles, neighbours of the same style as one: a line has dozens, and few styles."""
    runs = itertools.groupby(cells, key=lambda cell: cell[1])
    return Content.assemble(*(("".join(text for text, _ in run), style) for style, run in runs))


def _heading(state: RunState, width: int) -> Content:
    """What is predicted, and which way."""
    what = clean(state.classes[0], 40) if len(state.classes) == 1 else f"{len(state.classes)} numbers"
    ways = "predicted ↑  true →"
    text = f"{what}: {ways}" if state.classes and len(what) + 2 + len(ways) <= width else ways
    return Content.styled(text[:width], MUTED)


def _diagonal(column: int, up: int, columns: int, rows: int) -> str:
    """The part of the line on which predictions are true that runs through a cell, in dots; empty where it does not."""
    dots = 0
    for half in (0, 1):
        at = (2 * column + half + 0.5) / (2 * columns) * rows * 4
        quarter = int(at) - 4 * up
        if 0 <= quarter < 4:
            dots |= ((0x40, 0x04, 0x02, 0x01), (0x80, 0x20, 0x10, 0x08))[half][quarter]
    return chr(0x2800 + dots) if dots else ""


def resampled(table: list[list[int]], columns: int, rows: int) -> list[list[float]]:
    """Counts in another number of steps: what lies across two of them is shared out."""
    group = -(-len(table) // FINEST)
    if group > 1:
        table = [
            [sum(sum(row[j : j + group]) for row in table[i : i + group]) for j in range(0, len(table), group)]
            for i in range(0, len(table), group)
        ]
    tall = [shared_out(row, rows) for row in table]
    return [list(column) for column in zip(*(shared_out(row, columns) for row in zip(*tall, strict=True)), strict=True)]


def shared_out(values: Sequence[float], steps: int) -> list[float]:
    """The values in `steps` steps that take as much room in all."""
    size, found = len(values) / steps, []
    for i in range(steps):
        start, end = i * size, (i + 1) * size
        inside = range(int(start), min(len(values), math.ceil(end)))
        found.append(sum(values[k] * (min(end, k + 1) - max(start, k)) for k in inside))
    return found


def _numbers(low: float, high: float, rows: int) -> list[str]:
    """The numbers at an axis, from its top down; of a range that is none there are none."""
    numbers = [""] * rows
    if _is_range(low, high):
        numbers[0], numbers[-1] = axis_number(high), axis_number(low)
        if rows >= 7:
            numbers[(rows - 1) // 2] = axis_number(high + (low - high) * ((rows - 1) // 2 + 0.5) / rows)
    return numbers


def _is_range(low: float, high: float) -> bool:
    return abs(low) < 1e300 and abs(high) < 1e300 and low < high


def _x_axis(low: float, high: float, columns: int) -> list[Content]:
    """The line under a picture and its numbers: the ends, and the middle where there is room."""
    line = "└" + "─" * columns
    left, right, middle = "", "", ""
    if _is_range(low, high):
        left, right, middle = axis_number(low), axis_number(high), axis_number((low + high) / 2)
    if low == -high:
        middle = "0"
    text = left + right.rjust(max(0, columns - len(left)))
    place = (columns - len(middle)) // 2
    if middle and place > len(left) + 1 and place + len(middle) + 1 < columns - len(right):
        text = text[:place] + middle + text[place + len(middle) :]
    return [Content.styled(" " * (AXIS - 1) + line, MUTED), Content.styled(" " * AXIS + text, MUTED)]


def _residuals(off: list[int], seen: Evaluated, state: RunState | None, width: int, height: int) -> list[Content]:
    """How often predictions are off by how much: too low at the left, too high at the right."""
    columns = width - AXIS
    each = columns // len(off)
    bars = [n for n in off for _ in range(each)] if each else [math.ceil(n - 1e-9) for n in shared_out(off, columns)]
    columns = len(bars)
    text = "residuals: predicted less true"
    lines = [Content.styled(text if len(text) <= width else "residuals", MUTED)]
    lines += scores_below(seen, state, width, 1) if state else []
    rows = max(1, height - len(lines) - 2)
    most = max(1, *bars)
    eighths = [0 if n == 0 else max(1, round(8 * rows * n / most)) for n in bars]
    middle = (columns - 1) / 2
    for row in range(rows):
        up = rows - 1 - row
        label = f"{most if most < 10**6 else axis_number(most):>{AXIS - 1}}┤" if row == 0 else " " * (AXIS - 1) + "│"
        parts = [(label, MUTED)]
        for place, high in enumerate(eighths):
            part = max(0, min(8, high - 8 * up))
            at_zero = abs(place - middle) <= 0.5
            parts.append((BLOCKS[part - 1] if part else " ", "$warning" if at_zero else "$secondary"))
        lines.append(_drawn(parts))
    return [*lines, *_x_axis(-seen.spread, seen.spread, columns)]
