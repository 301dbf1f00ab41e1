"""Runs side by side: their curves in one chart, what came out, and the settings that differ."""

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Container
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static

from tui_trainer.run.folder import RunFolder
from tui_trainer.runs.comparison import Curves, Line
from tui_trainer.runs.listing import Summary, summarise
from tui_trainer.ui.screens.dialogs import Help
from tui_trainer.ui.widgets.compare import CompareChart, CompareTable
from tui_trainer.ui.widgets.keys import KeyLine, too_small

EVERY = 2.0
"""Seconds from one look at the journals to the next."""


class CompareScreen(Screen[None]):
    """Two to eight runs in one chart and one table; those under way are followed."""

    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (60, "-narrow"), (110, "-normal")]
    VERTICAL_BREAKPOINTS = [(0, "-flat"), (15, "-low"), (32, "-tall")]

    BINDINGS = [
        Binding("escape", "leave", "Back", tooltip="Back to the list of runs.", id="back"),
        Binding("m", "measure", "Measure", tooltip="Validation loss, training loss or the score.", id="measure"),
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
        yield too_small()
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
        self._runs = message.runs
        self.chart.lines = message.lines
        self.chart.show_again()
        self.table.show(message.runs)

    # --- keys ---

    def label_of(self, binding: Binding) -> str:
        if binding.action == "time" and self.is_mounted and self.chart.by_time:
            return "By step"
        if binding.action == "log_axis" and self.is_mounted and self.chart.log_scale:
            return "Linear y"
        return binding.description

    def why_not(self, action: str) -> str | None:
        """Why a key does nothing just now, or None when it does something."""
        if action == "log_axis" and self.is_mounted and not self.chart.of_loss:
            return f"{self.chart.measure[0].upper()}{self.chart.measure[1:]} is shown on a linear axis."
        return None

    def action_measure(self) -> None:
        known = self.chart.measures
        self.chart.measure = known[(known.index(self.chart.measure) + 1) % len(known)]
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
        self.chart.show_again()
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
