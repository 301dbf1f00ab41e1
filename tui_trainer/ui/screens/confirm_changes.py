"""Before a run is carried on with other settings: what is restored, what is changed, and the rest of the rate curve."""

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Button, Static

from tui_trainer.run.events import RunStarted
from tui_trainer.run.resume import batches_of, rates, summary_lines
from tui_trainer.ui.screens.after_refresh import after_refresh
from tui_trainer.ui.screens.dialogs import Dialog
from tui_trainer.ui.widgets.charts import Curve, plot
from tui_trainer.ui.widgets.panel import MUTED

POINTS = 160
"""Of the curve: two to a column."""


class Agree(Dialog[bool]):
    """True when the run should take its first step like this."""

    VERTICAL_BREAKPOINTS = [(0, "-low"), (28, "-tall")]
    BINDINGS = [
        Binding("escape,n", "answer(False)", "Do not carry on"),
        Binding("enter,y", "answer(True)", "Carry on", priority=True),
    ]

    def __init__(self, started: RunStarted) -> None:
        super().__init__(classes="dialog")
        self._started = started

    def compose(self) -> ComposeResult:
        first, *lines = summary_lines(self._started)
        with Vertical(classes="box -wide"):
            yield Static(Content.styled(first, "bold"))
            yield Static(Content("\n".join(lines[:-1])))
            yield Static(Content(lines[-1]), id="rate")
            yield Static(id="rates")
            with Vertical(classes="buttons"):
                yield Button(Content("enter  Carry on"), id="yes", compact=True)
                yield Button(Content("escape  Do not"), id="no", compact=True)

    def on_mount(self) -> None:
        after_refresh(self, self._draw_rates)

    def on_resize(self) -> None:
        after_refresh(self, self._draw_rates)

    def _draw_rates(self) -> None:
        """The learning rate over epochs, from where the run carries on to its end."""
        chart = self.query_one("#rates", Static)
        width, height = chart.content_size
        if width < 24 or height < 4:
            return
        epochs, batches = int(self._started.settings["epochs"]), batches_of(self._started)
        ys = rates(self._started, POINTS)
        first = self._started.epoch - 1 + self._started.batch / batches
        last = max(epochs, first + 1e-6)
        xs = [first + (last - first) * i / (POINTS - 1) for i in range(POINTS)]
        each = max(1, -(-epochs * 5 // max(1, width - 8)))
        ticks = {float(n): str(n) for n in range(each, epochs + 1, each)}
        curve = plot([Curve(xs, ys, 1)], width, height - 1, ticks=ticks, right=last)
        chart.update(Content("\n").join([Content.styled("learning rate over epochs", MUTED), curve]))

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)
