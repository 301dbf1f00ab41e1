"""Runs side by side: their curves in one chart, what came out, and the settings that differ."""

import math
from collections.abc import Sequence

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Container
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from tui_trainer.run.comparison import FIGURES, LETTERS, Curves, Line, differing, short_names
from tui_trainer.run.folder import RunFolder
from tui_trainer.run.listing import Summary, summarise
from tui_trainer.run.state import Series
from tui_trainer.text import clock, fixed, percent
from tui_trainer.ui.dialogs import Help
from tui_trainer.ui.widgets.charts import STYLES, Curve, bucketed, plot
from tui_trainer.ui.widgets.keys import KeyLine
from tui_trainer.ui.widgets.panel import MUTED
from tui_trainer.ui.widgets.run_table import cut

EVERY = 2.0
"""Seconds from one look at the journals to the next."""
MEASURES = ("validation loss", "training loss", "accuracy")
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
        self.measure = MEASURES[0]
        self.by_time = False
        self.log_scale = True
        self.lines: list[dict[str, Line]] | None = None
        """The curves of each run by measure; None before they are read."""

    def render(self) -> Content:
        width, height = self.content_size
        axis = "time" if self.by_time else "steps"
        self.border_title = Content(f"{self.measure} over {axis}")
        scale = "linear y" if self.measure == "accuracy" or not self.log_scale else "log y"
        self.border_subtitle = Content(scale)
        if self.lines is None:
            return Content.styled("reading the journals …", MUTED)
        shown = [lines[self.measure] for lines in self.lines]
        places = [line.times if self.by_time else line.steps for line in shown]
        right = max((xs[-1] for xs in places if xs), default=0.0)
        if not right or width < 20 or height < 4:
            return Content.styled("none of these runs has got that far" if width >= 20 else "", MUTED)
        head = self._legend(shown, width)
        curves: list[Curve] = []
        letters: list[Curve] = []
        for i, (xs, line) in enumerate(zip(places, shown, strict=True)):
            scaled = [100 * y for y in line.values] if self.measure == "accuracy" else list(line.values)
            thin, ys = bucketed(Series(xs=list(xs), ys=scaled), 2 * width)
            if self.log_scale and self.measure != "accuracy":
                thin, ys = [x for x, y in zip(thin, ys, strict=True) if y > 0], [y for y in ys if y > 0]
            curves.append(Curve(thin, ys, i + 1))
            letters += self._letters(thin, ys, i, right, width)
        log = self.log_scale and self.measure != "accuracy"
        ticks = time_ticks(right, width) if self.by_time else step_ticks(right, width)
        chart = plot([*curves, *letters], width, height - 1, ticks=ticks, right=right, log=log)
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
        write = percent if self.measure == "accuracy" else fixed
        parts: list[tuple[str, str]] = []
        for i, line in enumerate(shown):
            value = write(line.values[-1]) if line.values else "-"
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
    """`900`, `1,500`, `20k`, `3M`."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if n >= 10 * size or (n >= size and n % size == 0):
            return f"{n / size:g}{unit}"
    return f"{n:,}"


def time_ticks(right: float, width: int) -> dict[float, str]:
    """Round times, as many as fit."""
    each = next((t for t in _TIMES if right / t * 9 <= width - 8), None)
    each = each or 86400 * math.ceil(right / 86400 / max(1, (width - 8) // 9))
    return {float(n): clock(n) for n in range(each, int(right) + 1, each)}


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
        self.top = 0
        """Lines scrolled away."""
        self.border_title = Content("what came out · settings that differ")

    def scroll_lines(self, lines: int) -> None:
        self.top += lines
        self.refresh()

    def render(self) -> Content:
        width, height = self.content_size
        if not self.runs or height < 2:
            return Content("")
        differs = differing(self.runs)
        rows: list[tuple[str, Sequence[str]]] = [(name, [show(r) for r in self.runs]) for name, show in FIGURES.items()]
        rows += list(differs.items())
        label = min(20, max(len(name) for name, _ in rows)) + 1
        column = max(6, min(40, (width - label) // len(self.runs)))
        names = short_names([run.name for run in self.runs], column - 3)
        head: list[tuple[str, str]] = [(" " * label, "")]
        head += [(f"{f'{LETTERS[i]} {name}':<{column}}", f"bold {STYLES[i + 1]}") for i, name in enumerate(names)]
        room = height - 1
        self.top = max(0, min(self.top, len(rows) - room))
        lines = [Content.assemble(*head)]
        for n, (name, cells) in enumerate(rows[self.top : self.top + room], self.top):
            text = "".join(f"{cut(cell, column - 1):<{column}}" for cell in cells)
            changed = n >= len(FIGURES)
            lines.append(
                Content.assemble((f"{cut(name, label - 1):<{label}}", MUTED), (text, "bold" if changed else ""))
            )
        below = len(rows) - self.top - room
        self.border_subtitle = Content(f"{below} more below" if below > 0 else "" if differs else "no setting differs")
        return Content("\n").join(lines)

    def on_mouse_scroll_up(self) -> None:
        self.scroll_lines(-3)

    def on_mouse_scroll_down(self) -> None:
        self.scroll_lines(3)


class CompareScreen(Screen[None]):
    """Two to eight runs in one chart and one table; those under way are followed."""

    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (60, "-narrow"), (110, "-normal")]
    VERTICAL_BREAKPOINTS = [(0, "-flat"), (15, "-low"), (32, "-tall")]

    BINDINGS = [
        Binding("escape", "leave", "Back", tooltip="Back to the list of runs.", id="back"),
        Binding("m", "measure", "Measure", tooltip="Validation loss, training loss or accuracy.", id="measure"),
        Binding("t", "time", "By time", tooltip="Over the time trained, or over steps.", id="time"),
        Binding("y", "log_axis", "Log y", tooltip="Loss axis logarithmic or linear.", id="log_axis"),
        Binding("question_mark", "help", "Help", tooltip="All keys of this screen.", id="help"),
        Binding("q", "app.quit", "Quit", tooltip="Leave; runs of other processes go on.", id="quit"),
        Binding("up", "scroll(-1)", "Scroll", tooltip="Scroll the table.", show=False, key_display="↑ ↓"),
        Binding("down", "scroll(1)", show=False),
        Binding("pageup", "scroll(-10)", show=False),
        Binding("pagedown", "scroll(10)", show=False),
        Binding("ctrl+c,ctrl+q", "app.quit", show=False),
    ]

    class Read(Message):
        """The journals were read as far as they go."""

        def __init__(self, runs: list[Summary], lines: list[dict[str, Line]]) -> None:
            super().__init__()
            self.runs, self.lines = runs, lines

    class Leave(Message):
        """Back to the list."""

    def __init__(self, folders: list[RunFolder]) -> None:
        super().__init__()
        self.folders = folders
        self._curves = [Curves(folder) for folder in folders]
        self._reading = False
        self._runs: list[Summary] = []

    def compose(self) -> ComposeResult:
        yield Static(Content("tui-trainer needs a terminal of 60 x 15 or more"), id="too-small")
        yield Static(Content.styled(f" Compare  {len(self.folders)} runs", "bold"), id="title")
        with Container(id="body"):
            yield CompareChart(id="chart")
            yield CompareTable(id="table")
        yield KeyLine()

    def on_mount(self) -> None:
        self.chart, self.table = self.query_one(CompareChart), self.query_one(CompareTable)
        self.set_interval(EVERY, self._look_again)
        self._look()

    def _look_again(self) -> None:
        if self.is_current and any(run.is_live for run in self._runs):
            self._look()

    def _look(self) -> None:
        if not self._reading:
            self._reading = True
            self._read()

    @work(thread=True)
    def _read(self) -> None:
        """Beside the screen: a day's journal takes a second. Whoever reads owns the curves until it has told them."""
        try:
            lines = [curves.read() for curves in self._curves]
            runs = [summarise(folder.path) or _gone(folder) for folder in self.folders]
            self.post_message(self.Read(runs, lines))
        finally:
            self._reading = False

    def on_compare_screen_read(self, message: Read) -> None:
        self._runs = self.table.runs = message.runs
        self.chart.lines = message.lines
        self.chart.refresh()
        self.table.refresh()

    # --- keys ---

    def label_of(self, binding: Binding) -> str:
        if binding.action == "time" and self.is_mounted and self.chart.by_time:
            return "By step"
        if binding.action == "log_axis" and self.is_mounted and self.chart.log_scale:
            return "Linear y"
        return binding.description

    def why_not(self, action: str) -> str | None:
        """Why a key does nothing just now, or None when it does something."""
        if action == "log_axis" and self.is_mounted and self.chart.measure == "accuracy":
            return "Accuracy is shown on a linear axis."
        return None

    def action_measure(self) -> None:
        self.chart.measure = MEASURES[(MEASURES.index(self.chart.measure) + 1) % len(MEASURES)]
        self._again()

    def action_time(self) -> None:
        self.chart.by_time = not self.chart.by_time
        self._again()

    def action_log_axis(self) -> None:
        if reason := self.why_not("log_axis"):
            self.notify(reason, severity="warning", markup=False, timeout=4)
            return
        self.chart.log_scale = not self.chart.log_scale
        self._again()

    def _again(self) -> None:
        self.chart.refresh()
        self.query_one(KeyLine).refresh()

    def action_scroll(self, lines: int) -> None:
        self.table.scroll_lines(lines)

    def action_leave(self) -> None:
        self.post_message(self.Leave())

    def action_help(self) -> None:
        self.app.push_screen(Help(self))


def _gone(folder: RunFolder) -> Summary:
    """A run whose folder is not there any more."""
    return Summary(path=folder.path, name=folder.path.name, state="unreadable", why="it is gone")
