"""Drawing a run: its lines and panels from its state, at a pace that leaves the rest to training."""

import time

from textual import on
from textual.app import ComposeResult
from textual.containers import Grid
from textual.content import Content
from textual.screen import Screen

from tui_trainer.run.interface import Run
from tui_trainer.run.state import RunState
from tui_trainer.text import clean
from tui_trainer.ui.screens.after_refresh import after_refresh
from tui_trainer.ui.screens.run.window import Window
from tui_trainer.ui.terminal.pace import Pace
from tui_trainer.ui.widgets.charts import LossChart, ScoreChart
from tui_trainer.ui.widgets.header import Identity, Now, Progress, Trouble
from tui_trainer.ui.widgets.keys import KeyLine, too_small
from tui_trainer.ui.widgets.outcome import Outcome
from tui_trainer.ui.widgets.panel import MUTED, Panel, View
from tui_trainer.ui.widgets.tables import CheckpointLog, EpochTable, EventLog


class RunDrawing(Screen[None]):
    """The part of the run screen that draws. Subclasses fold events into `state` and mark it `_dirty`."""

    def __init__(self, run: Run, state: RunState) -> None:
        super().__init__()
        self.run_ = run
        self.state = state
        self.window = Window(self)
        self._lines = Pace(share=0.005, least=0.5)
        self._panels = Pace(share=0.006, least=1.0)
        self._slow = 0.0
        """Seconds that a picture takes to a terminal which is slow, else 0."""
        self._dirty = True
        """Something has happened since the panels were drawn."""

    def compose(self) -> ComposeResult:
        yield too_small()
        yield Identity(id="identity")
        yield Progress(id="progress")
        yield Now(id="now")
        yield Trouble(self.run_.folder.path.name if self.run_.folder else "", id="trouble")
        yield Tabs(id="tabs")
        with Grid(id="panels"):
            yield LossChart(1, id="loss")
            yield ScoreChart(2, id="score")
            yield Outcome(3, id="outcome")
            yield EpochTable(4, id="epochs")
            yield CheckpointLog(5, id="checkpoints")
            yield EventLog(6, id="events")
        yield KeyLine()

    def _find_views(self) -> None:
        """Once it is mounted: what there is to draw. The first panel is the chosen one."""
        self._views = list(self.query(View))
        self._line_views = [view for view in self._views if not isinstance(view, Panel)]
        self._panel_views = [view for view in self._views if isinstance(view, Panel)]
        self._outcome = self.query_one(Outcome)
        self.choose(self._panel_views[0])

    # --- what the head and the last line need to know ---

    @property
    def _age(self) -> float:
        """Seconds since the newest event."""
        raise NotImplementedError

    @property
    def _asks_for(self) -> str:
        """What was asked of the run and is not done yet, in words; empty when nothing is."""
        raise NotImplementedError

    @property
    def _will_pause(self) -> bool:
        """True when the run is paused, or will be once it has heard what was asked."""
        raise NotImplementedError

    @property
    def _will_park(self) -> bool:
        """The same of a run that is parked."""
        raise NotImplementedError

    @property
    def _rests(self) -> bool:
        """True when no step is taken, as somebody wanted."""
        return self.state.status in ("paused", "parked")

    # --- drawing ---

    def draw_all(self) -> None:
        """Draw everything now, whatever it costs."""
        self._draw(panels=True)

    def _draw(self, *, panels: bool = False) -> None:
        """Draw the lines, and the panels too where they are wanted; what it costs is known once it is painted."""
        began = time.thread_time()
        self._draw_lines()
        if panels:
            self._dirty = False
            for view in self._panel_views:
                view.show(self.state)
        after_refresh(self, self._drawn, began, panels)

    def _drawn(self, began: float, panels: bool) -> None:
        cost = time.thread_time() - began
        if self.window.terminal is not None:
            self.window.terminal.frame_written()
        self._lines.measured(None if panels else cost)
        if panels:
            self._panels.measured(cost)

    def _draw_lines(self) -> None:
        self.window.name()
        quiet = self.state.is_over or not self.state.elapsed
        age = 0.0 if quiet else self._age
        for view in self._line_views:
            if isinstance(view, (Identity, Progress)):
                view.age = age
            if isinstance(view, Now):
                view.link = self._slow
            if isinstance(view, Identity):
                view.asked = self._asks_for
            view.show(self.state)
        outcome = self._outcome
        status = (
            self.state.status,
            self.state.is_over,
            self._will_pause,
            self._will_park,
            outcome.label,
            outcome.drawn.why,
        )
        if status != getattr(self, "_status_drawn", None):
            self._status_drawn = status
            self.set_class(self.state.status in ("failed", "diverged", "lost"), "-failed")
            self.set_class(self._rests, "-paused")
            self.query_one(KeyLine).refresh()

    def _compositor_refresh(self) -> None:
        """Beneath a question Textual 8.2 marks a screen that was just painted for painting again, and so for ever."""
        super()._compositor_refresh()
        if self.app.screen is not self:
            self._repaint_required = False

    def _keeps_up(self) -> bool:
        """False while the last picture is not on the terminal yet: a newer one would only lie behind it.

        Over a slow link pictures come less often too: a key that is pressed must not wait behind one after the other.
        """
        driver = self.window.terminal
        if driver is None:
            return True
        self._slow = slow = driver.link.slowness
        self._lines.least = max(0.5, min(5.0, slow))
        self._panels.least = max(1.0, min(10.0, 4 * slow))
        return driver.reads

    # --- choosing panels ---

    def choose(self, panel: Panel) -> None:
        """Bring a panel to the front: the one that zooms, scrolls, and is alone on a small screen."""
        for other in self._panel_views:
            other.set_class(other is panel, "-current")
        self.current = panel
        tabs = self.query_one(Tabs)
        tabs.current = panel.id or ""
        tabs.show_again()
        after_refresh(panel, panel.show, self.state)

    @on(Panel.Chosen)
    def chosen(self, message: Panel.Chosen) -> None:
        self.choose(message.panel)

    def action_panel(self, number: int) -> None:
        self.choose(self._panel_views[number - 1])

    def action_next_panel(self, step: int) -> None:
        place = self._panel_views.index(self.current)
        self.choose(self._panel_views[(place + step) % len(self._panel_views)])

    def action_zoom(self) -> None:
        self.toggle_class("-zoomed")
        for view in self._panel_views:
            after_refresh(view, view.show, self.state)
        self.query_one(KeyLine).refresh()

    def action_scroll(self, lines: int) -> None:
        scroll = getattr(self.current, "scroll_lines", None)
        if scroll is None or not getattr(self.current, "scrolls", True):
            self.say("This panel does not scroll; 4, 5 and 6 do.")
        else:
            scroll(lines)

    def action_outcome(self) -> None:
        if reason := self.why_not("outcome"):
            self.say(reason)
            return
        panel = self._outcome
        panel.change()
        self.query_one(KeyLine).refresh()
        if not panel.display:
            self.choose(panel)

    def action_log_axis(self) -> None:
        chart = self.query_one(LossChart)
        chart.log_scale = not chart.log_scale
        chart.show_again()
        self.query_one(KeyLine).refresh()
        if not chart.display:
            self.choose(chart)

    def why_not(self, action: str) -> str | None:
        """Why a key does nothing just now, or None when it does something."""
        if action == "outcome" and self.is_mounted and self._outcome.display:
            return self._outcome.drawn.why or None
        return None

    def say(self, text: str, severity: str = "information") -> None:
        """A passing note on the screen."""
        self.notify(clean(text, 300), severity=severity, markup=False, timeout=4)  # type: ignore[arg-type]


class Tabs(View):
    """The panels by number, on a screen that shows one at a time."""

    current = ""

    def key(self, state: RunState) -> object:
        return (self.current, state.main, [panel.title_of(state) for panel in self.screen.query(Panel)])

    def draw(self, state: RunState, width: int, height: int) -> Content:
        parts: list[tuple[str, str]] = []
        for panel in self.screen.query(Panel):
            title = panel.title_of(state)
            title = (title[:1].upper() + title[1:])[: 12 if width >= 75 else 7]
            style = "bold $background on $primary" if panel.id == self.current else MUTED
            parts += [(f" {panel.number} {title} ", style), (" ", "")]
        return Content.assemble(*parts)
