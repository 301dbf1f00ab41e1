"""The confusion table: what the model takes for what."""

from dataclasses import dataclass

from textual.content import Content

from tui_trainer.run.events import Evaluated
from tui_trainer.run.state import RunState
from tui_trainer.text import clean
from tui_trainer.ui.widgets.evaluation import Picture, Room, counts, scores_below
from tui_trainer.ui.widgets.header import BLOCKS, bar
from tui_trainer.ui.widgets.panel import MUTED


def short_names(names: tuple[str, ...], width: int) -> list[str]:
    """Names cut to `width` letters; where two would be alike, the last letter is one that tells them apart."""
    plain = [clean(name, 40).replace("-", "").replace(" ", "") or "?" for name in names]
    taken: set[str] = set()
    result = []
    for name in plain:
        options = [name[:width]] + [name[: width - 1] + letter for letter in name[width:]]
        options += [f"{name[: max(0, width - len(str(n)))]}{n}" for n in range(len(names))]
        chosen = next(option for option in options if option not in taken)
        taken.add(chosen)
        result.append(chosen)
    return result


FEW = 4
"""Classes whose columns are as wide as their names."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Widths of a confusion table, in cells."""

    label: int
    cell: int
    recall: int
    """0 leaves the recall out."""
    totals: bool
    counts: bool
    """Show counts; else each row's percentages."""


def picture(seen: Evaluated, state: RunState, room: Room) -> Picture:
    """Rows are true classes, columns what they were taken for: row percentages, counts, or both where they fit."""
    table = counts(seen.confusion)
    names = state.classes if len(state.classes) == len(table) else ()
    names = names or tuple(str(i) for i in range(len(table)))
    width, height = room.width, room.height
    most = max(max(row) for row in table)
    needed = len(str(most)) + 1 if room.other else 3
    few = len(names) <= FEW
    label = min(14 if few else 10, max(len(clean(name, 40)) for name in names))
    label = max(6, min(label, width - 1 - 9 - needed * len(names)))
    recall = 9 if width >= label + 1 + needed * len(names) + 9 else 0
    roomy = min((width - label - 14) // len(names), 13, max(len(clean(name, 40)) for name in names) + 1)
    widest = max(roomy if few else 6, 6, len(str(max(map(sum, zip(*table, strict=True))))) + 1)
    cell = min(widest, (width - label - 1 - recall) // len(names))
    if cell == 5 and len(str(most)) <= 3:
        cell = 4  # room for a longer bar
    if recall:
        recall = min(24, width - label - 1 - cell * len(names))
    if cell < needed or height < len(names) + 1:
        return Picture(_without_table(table, names, width, height), why="There is no room for the table; z zooms.")
    both = not room.other and height >= 2 * (len(names) + 2) + 2 and cell > len(str(most))
    modes = [False, True] if both else [room.other]
    lines: list[Content] = []
    for as_counts in modes:
        totals = as_counts and recall >= (7 if both else 16)
        if as_counts and both:
            layout = _Layout(label, cell, 0, totals, as_counts)  # the recall stands in the table above
        else:
            layout = _Layout(label, cell, recall - 7 if totals else recall, totals, as_counts)
        lines += [Content("")] if lines else []
        lines += _table(table, names, layout)
    left = height - len(lines)
    if left >= 1:
        lines += ([Content("")] if left >= 4 else []) + most_confused(table, names, width, min(3, left))
    lines += scores_below(seen, state, width, height - len(lines))
    mode = "row % and counts" if both else ["row %", "counts"][room.other]
    return Picture(Content("\n").join(lines[:height]), mode, "Percent" if room.other else "Counts")


def _table(table: list[list[int]], names: tuple[str, ...], layout: _Layout) -> list[Content]:
    """Head, a row a class, and totals where they are wanted."""
    short = short_names(names, max(2, layout.cell - 1))
    head = " " * (layout.label + 1) + "".join(f"{name:>{layout.cell - 1}} " for name in short)
    head += f" {'recall':<{layout.recall - 1}}" if layout.recall else ""
    head += f"{'total':>7}" if layout.totals else ""
    lines = [Content.styled(head, MUTED)]
    lines += [_row(table[i], i, name, layout) for i, name in enumerate(names)]
    if layout.totals:
        sums = [sum(column) for column in zip(*table, strict=True)]
        total = f"{'total':>{layout.label}} " + "".join(f"{n:>{layout.cell - 1}} " for n in sums)
        lines.append(Content.styled(total, MUTED))
    return lines


def _row(row: list[int], index: int, name: str, layout: _Layout) -> Content:
    total, cell = sum(row), layout.cell
    shown = clean(name, 40)
    shown = shown if len(shown) <= layout.label else shown[: layout.label - 1] + "…"
    parts: list[tuple[str, str]] = [(f"{shown:>{layout.label}} ", "")]
    for column, count in enumerate(row):
        share = count / total if total else 0.0
        text = str(count) if layout.counts else f"{100 * share:.0f}"
        if count == 0 or (not layout.counts and share < 0.005):
            text = "·"
        parts.append((f"{text:>{cell - 1}} "[: max(cell, len(text))], shade(share, right=column == index)))
    pieces = [Content.assemble(*parts)]
    if layout.recall:
        right = row[index] / total if total else 0.0
        cells = layout.recall - 7
        block = bar(right, cells, "$secondary") if cells > 1 else Content(f" {BLOCKS[min(7, int(right * 8))]}")
        pieces += [Content(" "), block, Content(f" {100 * right:>3.0f} %")]
    if layout.totals:
        pieces.append(Content.styled(f"{total:>7,}", MUTED))
    return Content("").join(pieces)


def _without_table(table: list[list[int]], names: tuple[str, ...], width: int, height: int) -> Content:
    """For a panel too small for all classes: the mistakes, most frequent first."""
    text = f"too small for {len(names)} classes; z zooms. Most confused:"
    lines = [Content.styled(text if len(text) <= width else "too small; z zooms", MUTED)]
    lines += [Content(text) for text in pairs(table, names, max(1, height - 1))]
    return Content("\n").join(lines[:height])


def shade(share: float, *, right: bool) -> str:
    """The background of a cell: stronger for a larger share of its row."""
    if share < 0.005:
        return MUTED
    strength = min(70, 8 + round(share * 62))
    return f"on $secondary {strength}%" if right else f"on $warning {min(70, strength * 2)}%"


def pairs(table: list[list[int]], names: tuple[str, ...], most: int) -> list[str]:
    """The most frequent mistakes: `Shirt→T-shirt 112`."""
    found = [
        (count, true, guess)
        for true, row in enumerate(table)
        for guess, count in enumerate(row)
        if true != guess and count
    ]
    found.sort(key=lambda item: (-item[0], item[1], item[2]))
    return [f"{clean(names[t], 40)}→{clean(names[g], 40)} {n:,}" for n, t, g in found[:most]]


def most_confused(table: list[list[int]], names: tuple[str, ...], width: int, lines: int) -> list[Content]:
    """The three most frequent mistakes on as few of `lines` lines as they fit."""
    three = pairs(table, names, 3)
    if not three:
        return [Content.styled("no mistakes", "$success")]
    head = "most confused  "
    on_one_line = head + "  ".join(three)
    if len(on_one_line) <= width or lines == 1:
        while len(on_one_line) > width and len(three) > 1:
            three.pop()
            on_one_line = head + "  ".join(three)
        return [Content.assemble((head, MUTED), ("  ".join(three), ""))]
    rest = [Content(" " * len(head) + text) for text in three[1:]]
    return [Content.assemble((head, MUTED), (three[0], "")), *rest][:lines]
