"""What the pictures of an evaluation have in common: what asks for them, what they tell, the scores below."""

from dataclasses import dataclass

from textual.content import Content

from tui_trainer.run.events import Evaluated
from tui_trainer.run.scores import figure, title
from tui_trainer.run.state import RunState
from tui_trainer.ui.widgets.header import bar
from tui_trainer.ui.widgets.panel import MUTED

MOST_COUNTED = 10**12
"""Counts beyond are shown as this many: a journal from elsewhere may hold anything."""


@dataclass(frozen=True, slots=True)
class Room:
    """How a picture is to be drawn."""

    width: int
    height: int
    other: bool = False
    """As it looks after the key that changes it."""
    top: int = 0
    """Rows scrolled away."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An evaluation as it looks, and what can be done with it."""

    content: Content
    mode: str = ""
    """Which of two ways it is drawn."""
    key: str = ""
    """The other way, as the label of a key; empty for the usual one of its kind."""
    why: str = ""
    """Why there is no other way."""
    top: int = 0
    """Rows that are scrolled away in fact."""
    scrolls: bool = False
    """There are more rows than it has room for."""


def counts(rows: tuple[tuple[int, ...], ...]) -> list[list[int]]:
    """A square of counts from one that may be ragged, negative or beyond all bounds."""
    side = len(rows)
    return [[counted(n) for n in row[:side]] + [0] * (side - len(row)) for row in rows]


def counted(count: int) -> int:
    """A count that can be one."""
    return max(0, min(MOST_COUNTED, count))


def scores_below(seen: Evaluated, state: RunState, width: int, room: int) -> list[Content]:
    """All scores of a run that has several: with bars where there is room, else one after the other."""
    if len(state.scores) < 2 or room < 1:
        return []
    if room > len(state.scores):
        return [Content(""), *score_rows(seen, state, width)][-room:]
    lines = [""]
    for score in state.scores:
        part = f"{title(score.name)} {figure(seen.score(score.name), score)}"
        if lines[-1] and len(lines[-1]) + 2 + len(part) > width:
            lines.append("")
        lines[-1] += f"  {part}" if lines[-1] else part
    return [Content.styled(line[:width], MUTED) for line in lines[:room]]


def score_rows(seen: Evaluated, state: RunState, width: int) -> list[Content]:
    """A line a score: its name, its figure, and of a fraction a bar."""
    names = [title(score.name) for score in state.scores]
    figures = [figure(seen.score(score.name), score) for score in state.scores]
    label, wide = max(map(len, names)), max(map(len, figures))
    cells = min(30, width - label - wide - 3)
    lines = []
    for score, name, text in zip(state.scores, names, figures, strict=True):
        value = seen.score(score.name)
        block = Content("")
        if score.unit == "percent" and value is not None and value == value and cells >= 4:
            block = bar(value, cells, "$secondary")
        lines.append(Content.assemble((f"{name:>{label}} ", MUTED), f"{text:>{wide}}  ", block)[:width])
    return lines
