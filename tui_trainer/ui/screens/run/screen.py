"""The run screen: the events of a run come in, are folded into its state, drawn, and steered by keys."""

import time

from textual import on
from textual.binding import Binding
from textual.message import Message

from tui_trainer.run import notify
from tui_trainer.run.events import (
    BatchTrained,
    Event,
    RunEnded,
    RunHandedOver,
    RunPaused,
    RunResumed,
    Warned,
)
from tui_trainer.run.feed import Feed
from tui_trainer.run.interface import Run
from tui_trainer.run.recorded import RecordedRun
from tui_trainer.run.state import RunState
from tui_trainer.ui.screens.after_refresh import after_refresh
from tui_trainer.ui.screens.run.steering import RunSteering
from tui_trainer.ui.terminal import driver as terminal
from tui_trainer.ui.widgets.tables import CheckpointLog


class RunScreen(RunSteering):
    """One run, live or recorded. It folds each event once and draws at a pace that leaves the rest to training."""

    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (60, "-narrow"), (110, "-normal"), (180, "-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-flat"), (15, "-low"), (32, "-tall")]

    BINDINGS = [
        Binding("space", "pause", "Pause", tooltip="Pause after this batch, or carry on.", id="pause"),
        Binding("s", "stop", "Stop", tooltip="Save a checkpoint and end the run (asks first).", id="stop"),
        Binding("c", "checkpoint", "Save", tooltip="Save a checkpoint, checkpoints/last.pt, now.", id="checkpoint"),
        Binding("e", "evaluate", "Evaluate", tooltip="Measure on the validation examples now.", id="evaluate"),
        Binding("l", "learning_rate", "Rate", tooltip="Change the learning rate of the live run.", id="learning_rate"),
        Binding("d", "detach", "Detach", tooltip="Leave: the run goes on in the background.", id="detach"),
        Binding("question_mark", "help", "Help", tooltip="All keys of this screen.", id="help"),
        Binding("q", "quit_run", "Quit", tooltip="Leave: in the background, stop and save, or stay.", id="quit"),
        Binding("z", "zoom", "Zoom", tooltip="Show the chosen panel alone, or all again.", id="zoom"),
        Binding("m", "outcome", "Counts", tooltip="Show panel 3 in its other way, such as counts.", id="confusion"),
        Binding("y", "log_axis", "Log y", tooltip="Loss axis logarithmic or linear.", id="log_axis"),
        Binding("x", "end_epoch", "End epoch", tooltip="Leave out the rest of this epoch and validate.", id="end"),
        Binding("k", "park", "Park", tooltip="Pause and give the device's memory back, or carry on.", id="park"),
        Binding("n", "new_run", "New run", tooltip="Back to the settings form once the run is over.", id="new_run"),
        Binding("r", "resume", "Resume", tooltip="Carry on from the newest checkpoint, once it is over.", id="resume"),
        Binding("v", "replay", "Replay", tooltip="Play this run from its beginning, once it is over.", id="replay"),
        Binding("escape", "leave", "Runs", tooltip="To the list of runs; not from one that trains here.", id="leave"),
        Binding("i", "model", "Model", tooltip="The model's layers, shapes and parameters.", id="model", show=False),
        Binding("tab", "next_panel(1)", "Next panel", tooltip="Choose the next panel.", show=False),
        Binding("shift+tab", "next_panel(-1)", "Previous panel", tooltip="Choose the previous panel.", show=False),
        Binding("1,2,3,4,5,6", "", "Panel", tooltip="Choose a panel by its number.", show=False, key_display="1-6"),
        *(Binding(str(n), f"panel({n})", show=False) for n in range(1, 7)),
        Binding("up", "scroll(-1)", "Scroll", tooltip="Scroll the chosen list.", show=False, key_display="↑ ↓"),
        Binding("down", "scroll(1)", show=False),
        Binding("pageup", "scroll(-10)", show=False),
        Binding("pagedown", "scroll(10)", show=False),
        Binding("ctrl+c", "quit_run", show=False),
    ]

    class Happened(Message):
        """Events are waiting in the feed."""

    def __init__(self, run: Run, state: RunState | None = None) -> None:
        super().__init__(run, state or run.earlier)
        self.feed = Feed(run, self._nudge)
        self._heard = time.monotonic()
        self._is_live = False
        """Something has happened since somebody looks."""
        self._prints_to_log = False

    def on_mount(self) -> None:
        self._find_views()
        self._begin()

    def _begin(self) -> None:
        """Let events come in."""
        self.query_one(CheckpointLog).after_disconnect = self.run_.after_disconnect
        self.set_interval(0.25, self._tick)
        after_refresh(self, self.feed.start)  # not before this screen is seen: importing torch holds all threads up

    def on_unmount(self) -> None:
        """Nobody looks any more: a recording need not be read on."""
        self.window.leave()
        if isinstance(self.run_, RecordedRun):
            self.run_.close()
            self.feed.leave()

    def _nudge(self) -> None:
        """From the run's thread, which does not wait for this screen."""
        folder = self.run_.folder
        if not self._prints_to_log and folder is not None and self.run_.trains_here:
            self._prints_to_log = True
            if terminal.is_drawn_on():
                terminal.streams_into(folder.log)  # here, so that not even the first import prints elsewhere
        self.post_message(self.Happened())

    @on(Happened)
    def fold(self) -> None:
        """Take in what has happened. Only what one waits for is drawn at once; the rest when its time comes."""
        urgent = answered = False
        events = self.feed.take()
        self._dirty |= bool(events)
        for event in events:
            self.state.apply(event)
            is_new = self.run_.trains_here or event.at >= self.feed.since
            if isinstance(event, BatchTrained) and not is_new and not self._waits:
                continue  # a report of long ago answers nothing and calls nobody
            urgent |= isinstance(event, (RunPaused, RunResumed, RunEnded, Warned) if is_new else RunEnded)
            answered |= self._is_answered_by(event)
            self._look_at(event)
            if isinstance(event, RunEnded):
                self._stopping = False
            elif isinstance(event, RunHandedOver) and self.run_.trains_here:
                self.app.exit()
        late = 0.0 if self.run_.trains_here or not events else max(0.0, time.time() - events[-1].at)
        self._heard = time.monotonic() - late  # who attaches to a run that hangs is told for how long
        if self._stopping and not self.state.is_over:
            self.state.phase = "stopping"
        if urgent or answered:
            self._draw(panels=answered or self.state.is_over)
        self.questions.ask_or_withdraw(self.feed.caught_up)

    @property
    def _waits(self) -> bool:
        """A report may be what somebody waits for."""
        return self._asked is not None or self.questions.to_agree is not None

    def _look_at(self, event: Event) -> None:
        """Some events ask for an answer, some call for somebody who looks elsewhere."""
        if event.at >= self.feed.since:
            self._is_live = True
            self.window.call(notify.notification_text(event, self.state))
        self.questions.hear(event)

    def _tick(self) -> None:
        if not self.feed.thread.is_alive() and self.feed.thread.ident is not None and not self.state.is_over:
            self.fold()  # what it said last
            if not self.state.is_over and self._is_live:
                self.window.call(notify.lost_text(self.state))
            self.state.lose()
            self._draw(panels=True)
        self.questions.ask_or_withdraw(self.feed.caught_up)
        busy = not self.state.is_over and not self._rests
        if not self._keeps_up():
            return
        panels = self._panels.due(busy=busy) and (self._dirty or self.state.is_over)
        if panels or self._lines.due(busy=busy):
            self._draw(panels=panels)

    @property
    def _age(self) -> float:
        """Seconds since the newest event."""
        return time.monotonic() - self._heard
