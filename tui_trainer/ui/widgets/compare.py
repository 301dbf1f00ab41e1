"""Runs side by side: the chart with a curve a run, and the table with a column a run."""

import math
from collections.abc import Sequence

from textual.content import Content
from textual.widget import Widget

from tui_trainer.run.scores import LOSS, figure
from tui_trainer.run.series import Series
from tui_trainer.runs.comparison import LETTERS, TRAINING, VALIDATION, Line, differing, figures, short_names
from tui_trainer.runs.listing import Summary
from tui_trainer.text import clock
from tui_trainer.ui.widgets.charts import STYLES, Curve, bucketed, plot
from tui_trainer.ui.widgets.panel import MUTED
from tui_trainer.ui.widgets.run_table import cut

_STEPS = tuple(m * 10**e for e in range(10) for m in (1, 2, 5))
_TIMES = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 4 * 3600, 8 * 3600)


class CompareChart(Widget):
    """A curve a run, each in its own colour and with its letter on it."""

    DEFAULT_CSS = """
    CompareChart {
        height: 3fr;
        border: round $foreground 25%;
        border-title-color: $primary;
        border-subtitle-color: $text-muted;
    }
    """

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self.measure = VALIDATION
        self.by_time = False
        self.log_scale = True
        self.lines: list[dict[str, Line]] | None = None
        """The curves of each run by measure; None before they are read."""
        self.show_again()

    def show_again(self) -> None:
        """Draw with another measure, axis or scale, and say which in the frame."""
        self.border_title = Content(f"{self.measure} over {'time' if self.by_time else 'steps'}")
        self.border_subtitle = Content("log y" if self.is_log else "linear y")
        self.refresh()

    @property
    def is_log(self) -> bool:
        """True when y is drawn by its logarithm; a score never is."""
        return self.log_scale and self.of_loss

    @property
    def of_loss(self) -> bool:
        """True when what is shown is a loss."""
        return self.measure in (VALIDATION, TRAINING)

    @property
    def measures(self) -> list[str]:
        """What can be shown: the losses, and the result of each run."""
        return list(dict.fromkeys([VALIDATION, TRAINING, *(name for lines in self.lines or () for name in lines)]))

    def render(self) -> Content:
        width, height = self.content_size
        if self.lines is None:
            return Content.styled("reading the journals …", MUTED)
        shown = [lines.get(self.measure, Line()) for lines in self.lines]
        places = [line.times if self.by_time else line.steps for line in shown]
        right = max((xs[-1] for xs in places if xs), default=0.0)
        if not right or width < 20 or height < 4:
            return Content.styled("none of these runs has got that far" if width >= 20 else "", MUTED)
        head = self._legend(shown, width)
        curves: list[Curve] = []
        letters: list[Curve] = []
        for i, (xs, line) in enumerate(zip(places, shown, strict=True)):
            scaled = (
                [100 * y for y in line.values] if line.score and line.score.unit == "percent" else list(line.values)
            )
            thin, ys = bucketed(Series(xs=list(xs), ys=scaled, weights=list(line.weights)), 2 * width)
            if self.is_log:
                thin, ys = [x for x, y in zip(thin, ys, strict=True) if y > 0], [y for y in ys if y > 0]
            curves.append(Curve(thin, ys, i + 1))
            letters += self._letters(thin, ys, i, right, width)
        ticks = time_ticks(right, width) if self.by_time else step_ticks(right, width)
        chart = plot([*curves, *letters], width, height - 1, ticks=ticks, right=right, log=self.is_log)
        return Content("\n").join([head, chart])

    def _letters(self, xs: Sequence[float], ys: Sequence[float], i: int, right: float, width: int) -> list[Curve]:
        """The run's letter at its curve's end and, on the way, where those of other runs are not."""
        if not xs:
            return []
        wanted = [right * (n + (i + 1) / (len(self.lines or ()) + 1)) / 4 for n in range(4)]
        marks = {min(range(len(xs)), key=lambda k: abs(xs[k] - place)) for place in wanted if place < xs[-1]}
        spots = sorted(marks | {len(xs) - 1})
        return [Curve([xs[k] for k in spots], [ys[k] for k in spots], i + 1, points=True, mark=LETTERS[i])]

    def _legend(self, shown: Sequence[Line], width: int) -> Content:
        """Every letter in its colour, with the newest value."""
        parts: list[tuple[str, str]] = []
        for i, line in enumerate(shown):
            newest = line.values[-1] if line.values else None
            value = figure(newest, line.score or LOSS) if line.values else "-"
            parts.append((f"{LETTERS[i]} {value}   ", STYLES[i + 1]))
        room = width // max(1, len(shown))
        if any(len(text) > room for text, _ in parts):
            parts = [(f"{LETTERS[i]}  ", STYLES[i + 1]) for i in range(len(shown))]
        return Content.assemble(*parts)


def step_ticks(right: float, width: int) -> dict[float, str]:
    """Round numbers of steps, as many as fit."""
    each = next((step for step in _STEPS if right / step * 9 <= width - 8), _STEPS[-1])
    return {float(n): short_count(n) for n in range(each, int(right) + 1, each)}


def short_count(n: int) -> str:
    """`900`, `1,500`, `20k`, `2.5M`."""
    for size, unit in ((10**9, "G"), (10**6, "M")):
        if n >= size:
            return f"{n / size:g}{unit}"
    return f"{n / 1000:g}k" if n >= 10_000 or (n and n % 1000 == 0) else f"{n:,}"


def time_ticks(right: float, width: int) -> dict[float, str]:
    """Round times, as many as fit."""
    each = next((t for t in _TIMES if right / t * 9 <= width - 8), None)
    each = each or 86400 * math.ceil(right / 86400 / max(1, (width - 8) // 9))
    write = clock if each < 86400 else lambda n: f"{n // 86400} d"
    return {float(n): write(n) for n in range(each, int(right) + 1, each)}


class CompareTable(Widget):
    """A column a run: what came out, and below the settings that differ."""

    DEFAULT_CSS = """
    CompareTable {
        height: 2fr;
        border: round $foreground 25%;
        border-title-color: $text-muted;
        border-subtitle-color: $text-muted;
    }
    """

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self.runs: list[Summary] = []
        self._rows: list[tuple[str, Sequence[str]]] = []
        self._results = 0
        """Rows of what came out; those of settings follow."""
        self.top = 0
        """Lines scrolled away."""
        self.border_title = Content("what came out · settings that differ")

    def show(self, runs: list[Summary]) -> None:
        """Other runs, or what has become of them."""
        self.runs = runs
        self._rows = list(figures(runs).items())
        self._results = len(self._rows)
        self._rows += differing(runs).items()
        self.scroll_lines(0)

    def scroll_lines(self, lines: int) -> None:
        """Move by so many lines, up when negative."""
        room = max(1, self.content_size.height - 1)
        self.top = max(0, min(self.top + lines, len(self._rows) - room))
        below = len(self._rows) - self.top - room
        same = "" if len(self._rows) > self._results else "no setting differs"
        self.border_subtitle = Content(f"{below} more below" if below > 0 else same)
        self.refresh()

    def on_resize(self) -> None:
        self.scroll_lines(0)

    def render(self) -> Content:
        width, height = self.content_size
        if not self.runs or height < 2:
            return Content("")
        label = min(20, max(len(name) for name, _ in self._rows)) + 1
        column = max(6, min(40, (width - label) // len(self.runs)))
        names = short_names([run.name for run in self.runs], column - 3)
        head: list[tuple[str, str]] = [(" " * label, "")]
        head += [(f"{f'{LETTERS[i]} {name}':<{column}}", f"bold {STYLES[i + 1]}") for i, name in enumerate(names)]
        lines = [Content.assemble(*head)]
        for n, (name, cells) in enumerate(self._rows[self.top : self.top + height - 1], self.top):
            text = "".join(f"{cut(cell, column - 1):<{column}}" for cell in cells)
            differs = "bold" if n >= self._results else ""
            lines.append(Content.assemble((f"{cut(name, label - 1):<{label}}", MUTED), (text, differs)))
        return Content("\n").join(lines)

    def on_mouse_scroll_up(self) -> None:
        self.scroll_lines(-3)

    def on_mouse_scroll_down(self) -> None:
        self.scroll_lines(3)
