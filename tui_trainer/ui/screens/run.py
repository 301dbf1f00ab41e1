"""The run screen: what a run says, drawn from its state, and the keys that steer it."""

import time

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Grid
from textual.content import Content
from textual.message import Message
from textual.screen import Screen

from tui_trainer.errors import TrainerError
from tui_trainer.run import commands, notify
from tui_trainer.run.acknowledgements import ACKNOWLEDGEMENTS, is_acknowledged
from tui_trainer.run.commands import Command
from tui_trainer.run.disconnect import explanation
from tui_trainer.run.escape_codes import escape_sequence, notify_mode
from tui_trainer.run.events import (
    BatchTrained,
    Event,
    RunEnded,
    RunHandedOver,
    RunPaused,
    RunResumed,
    RunStarted,
    Warned,
)
from tui_trainer.run.feed import Feed
from tui_trainer.run.folder import RunFolder
from tui_trainer.run.interface import Run
from tui_trainer.run.recorded import RecordedRun
from tui_trainer.run.resume import Carried, Resume, carry
from tui_trainer.run.state import RunState
from tui_trainer.text import clean, size
from tui_trainer.ui.screens.after_refresh import after_refresh
from tui_trainer.ui.screens.confirm_changes import Agree
from tui_trainer.ui.screens.dialogs import Ask, AskNumber, Help, Outline
from tui_trainer.ui.terminal import driver as terminal
from tui_trainer.ui.terminal.pace import Pace
from tui_trainer.ui.widgets.charts import LossChart, ScoreChart
from tui_trainer.ui.widgets.header import Identity, Now, Progress, Trouble
from tui_trainer.ui.widgets.keys import KeyLine, bindings_of, too_small
from tui_trainer.ui.widgets.outcome import Outcome
from tui_trainer.ui.widgets.panel import MUTED, Panel, View
from tui_trainer.ui.widgets.tables import CheckpointLog, EpochTable, EventLog

ANSWER_TO_QUESTION: dict[str, Command] = {
    "batch": commands.SkipBatch(),
    "halve": commands.RollBack(halve=True),
    "rollback": commands.RollBack(),
    "try": commands.Continue(),
}
"""The command behind each button when a run asks what to do."""


class RunScreen(Screen[None]):
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

    class Replay(Message):
        """The user wants to see a recorded run played."""

        def __init__(self, folder: RunFolder) -> None:
            super().__init__()
            self.folder = folder

    class CarryOn(Message):
        """The user wants a run to go on."""

        def __init__(self, carried: Carried) -> None:
            super().__init__()
            self.carried = carried

    class Leave(Message):
        """The user wants to see the runs."""

    def __init__(self, run: Run, state: RunState | None = None) -> None:
        super().__init__()
        self.run_ = run
        self.state = state or run.earlier
        self.feed = Feed(run, self._nudge)
        self._heard = time.monotonic()
        self._is_live = False
        """Something has happened since somebody looks."""
        self._lines = Pace(share=0.005, least=0.5)
        self._panels = Pace(share=0.006, least=1.0)
        self._slow = 0.0
        """Seconds that a picture takes to a terminal which is slow, else 0."""
        self._stopping = False
        self._to_agree: RunStarted | None = None
        """What a run that is carried on with other settings begins with, until somebody has agreed to it."""
        self._question = RunPaused()
        self._shown_question: Ask | None = None
        self._asked: Command | None = None
        """The newest command that the run has not carried out yet."""
        self._reports = 0
        """Reports since then."""
        self._dirty = True
        self._prints_to_log = False

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

    def on_mount(self) -> None:
        self._views = list(self.query(View))
        self._line_views = [view for view in self._views if not isinstance(view, Panel)]
        self._panel_views = [view for view in self._views if isinstance(view, Panel)]
        self._outcome = self.query_one(Outcome)
        self.choose(self._panel_views[0])
        self._begin()

    def _begin(self) -> None:
        """Let events come in."""
        self.query_one(CheckpointLog).after_disconnect = self.run_.after_disconnect
        self.set_interval(0.25, self._tick)
        after_refresh(self, self.feed.start)  # not before this screen is seen: importing torch holds all threads up

    # --- events in ---

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
        self._ask_or_not()

    @property
    def _waits(self) -> bool:
        """A report may be what somebody waits for."""
        return self._asked is not None or self._to_agree is not None

    def _look_at(self, event: Event) -> None:
        """Some events ask for an answer, some call for somebody who looks elsewhere."""
        if event.at >= self.feed.since:
            self._is_live = True
            self._call(notify.notification_text(event, self.state))
        if isinstance(event, RunStarted):
            self._to_agree = event if event.changed and self.run_.trains_here else None
        elif isinstance(event, RunPaused):
            if self.state.asks:
                self._question = event
            elif self._to_agree is not None:
                self.agree(self._to_agree)
        elif isinstance(event, BatchTrained):
            self._to_agree = None

    def _ask_or_not(self) -> None:
        """Show the question of a run that asks what to do, and take it away when another viewer has answered it."""
        if self.state.asks and self._shown_question is None and self.feed.caught_up and not self.run_.read_only:
            self.answer_question()
        elif not self.state.asks and self._shown_question is not None:
            question, self._shown_question = self._shown_question, None
            if question.is_current:
                question.dismiss(None)

    def _is_answered_by(self, event: Event) -> bool:
        """True when this is what was waited for. A run that has gone on for two reports has heard every command."""
        if self._asked is None:
            return False
        self._reports += isinstance(event, BatchTrained)
        if is_acknowledged(self._asked, event) or self._reports > 1:
            self._asked = None
            return True
        return False

    def _tick(self) -> None:
        if not self.feed.thread.is_alive() and self.feed.thread.ident is not None and not self.state.is_over:
            self.fold()  # what it said last
            if not self.state.is_over and self._is_live:
                self._call(notify.lost_text(self.state))
            self.state.lose()
            self._draw(panels=True)
        self._ask_or_not()
        busy = not self.state.is_over and not self._rests
        if not self._keeps_up():
            return
        panels = self._panels.due(busy=busy) and (self._dirty or self.state.is_over)
        if panels or self._lines.due(busy=busy):
            self._draw(panels=panels)

    def _keeps_up(self) -> bool:
        """False while the last picture is not on the terminal yet: a newer one would only lie behind it.

        Over a slow link pictures come less often too: a key that is pressed must not wait behind one after the other.
        """
        driver = self._terminal
        if driver is None:
            return True
        self._slow = slow = driver.link.slowness
        self._lines.least = max(0.5, min(5.0, slow))
        self._panels.least = max(1.0, min(10.0, 4 * slow))
        return driver.reads

    @property
    def _terminal(self) -> terminal.Driver | None:
        """The driver of a real terminal, None under test."""
        driver = self.app._driver
        return driver if isinstance(driver, terminal.Driver) else None

    # --- calling ---

    def _call(self, text: str | None) -> None:
        """Let the terminal call somebody who looks elsewhere."""
        if text and self._terminal is not None:
            self._terminal.write(escape_sequence(notify_mode(self.run_, self.state), self._run_name, text))

    def _name_window(self) -> None:
        """The state and the best score as the title of the window, while there is something to tell."""
        if self._terminal is None or not self.state.settings:
            return
        best = f" · best {self.state.headline(self.state.best)}" if self.state.best else ""
        title = f"{self.state.status.replace('_', ' ')}{best} · {self._run_name}"
        self._terminal.name_window("" if notify_mode(self.run_, self.state) == "off" else clean(title, 100))

    @property
    def _run_name(self) -> str:
        return self.run_.folder.path.name if self.run_.folder else "tui-trainer"

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
        if self._terminal is not None:
            self._terminal.frame_written()
        self._lines.measured(None if panels else cost)
        if panels:
            self._panels.measured(cost)

    @property
    def _age(self) -> float:
        """Seconds since the newest event."""
        return time.monotonic() - self._heard

    def _draw_lines(self) -> None:
        self._name_window()
        quiet = self.state.is_over or not self.state.elapsed
        age = 0.0 if quiet else self._age
        for view in self._line_views:
            if isinstance(view, (Identity, Progress)):
                view.age = age
            if isinstance(view, Now):
                view.link = self._slow
            if isinstance(view, Identity):
                view.asked = ACKNOWLEDGEMENTS[type(self._asked)][0] if self._asked and not self._stopping else ""
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

    # --- steering ---

    def why_not(self, action: str) -> str | None:
        """Why a key does nothing just now, or None when it does something."""
        steering = ("pause", "park", "stop", "checkpoint", "evaluate", "learning_rate", "end_epoch", "detach")
        if action == "detach" and not self.run_.trains_here and not self.state.is_over:
            return None
        if action in steering:
            if self.state.is_over:
                return f"The run is {self.state.status.replace('_', ' ')}: there is nothing to steer any more."
            if self.run_.read_only:
                return "Nobody takes commands from here: this run can only be watched."
            if self._stopping:
                return "The run is stopping already."
        if action in ("park", "evaluate", "checkpoint", "end_epoch", "learning_rate") and not self.state.settings:
            return "The run is still being prepared."
        if action == "park" and self.state.asks:
            return "The run asks what to do: answer that first (space)."
        if action == "evaluate" and self.state.status == "parked":
            return "The run is parked: carry it on first (space)."
        if action == "end_epoch" and self.state.status == "validating":
            return "This epoch is being validated already."
        if action == "new_run" and not self.state.is_over:
            return "The run is not over: stop it first (s)."
        if action == "resume" and not self.state.is_over:
            return "The run is not over: there is nothing to carry on."
        if action == "resume" and self.run_.folder is None:
            return "The run has no folder to carry on in."
        if action == "replay" and (not self.state.is_over or self.run_.folder is None):
            return "A run is played again once it is over."
        if action == "leave" and not self.state.is_over and self.run_.trains_here:
            return "The run trains here: stop it first (s)."
        if action == "outcome" and self.is_mounted and self._outcome.display:
            return self._outcome.drawn.why or None
        if action == "model" and not self.state.layers:
            return "The model is not built yet."
        return None

    def shown_keys(self) -> list[Binding]:
        """The keys of the last line: after the end those that still do something come first."""
        shown = [binding for binding in bindings_of(self) if binding.show]
        if self.state.is_over:
            return sorted(shown, key=lambda binding: self.why_not(binding.action) is not None)
        idle = ("new_run", "resume", "replay", "leave" if self.run_.trains_here else "")
        return [binding for binding in shown if binding.action not in idle]

    def label_of(self, binding: Binding) -> str:
        """The label of a key, which follows what it would do."""
        if binding.action in ("pause", "park") and self._will_park:
            return "Go on"
        if binding.action == "pause" and self._will_pause:
            return "Carry on"
        if binding.action == "outcome" and self.is_mounted:
            return self._outcome.label
        if binding.action == "log_axis" and self.is_mounted and self.query_one(LossChart).log_scale:
            return "Linear y"
        if binding.action == "zoom" and self.has_class("-zoomed"):
            return "All panels"
        return binding.description

    def say(self, text: str, severity: str = "information") -> None:
        """A passing note on the screen."""
        self.notify(clean(text, 300), severity=severity, markup=False, timeout=4)  # type: ignore[arg-type]

    def steer(self, action: str, command: Command) -> None:
        """Send a command, or say why not."""
        if reason := self.why_not(action):
            self.say(reason, "warning")
            return
        self.run_.send(command)
        self._asked, self._reports = command, 0
        self._draw()

    @property
    def _will_pause(self) -> bool:
        """True when the run is paused, or will be once it has heard what was asked."""
        if isinstance(self._asked, (commands.Pause, commands.Park, commands.Continue)):
            return not isinstance(self._asked, commands.Continue)
        return self._rests

    @property
    def _will_park(self) -> bool:
        """The same of a run that is parked."""
        if isinstance(self._asked, (commands.Park, commands.Continue)):
            return isinstance(self._asked, commands.Park)
        return self.state.status == "parked"

    @property
    def _rests(self) -> bool:
        """True when no step is taken, as somebody wanted."""
        return self.state.status in ("paused", "parked")

    def agree(self, started: RunStarted) -> None:
        """Show what is restored and changed; the first step waits for a yes."""

        def go(answer: bool | None) -> None:
            self._to_agree = None
            if answer:
                self.steer("pause", commands.Continue())
            else:
                self.stop(commands.Stop(save=False))

        self.app.push_screen(Agree(started), go)

    def answer_question(self) -> None:
        """Ask what a run should do that paused by itself."""

        def tell(answer: str | None) -> None:
            if not self.state.asks:
                return  # somebody else was quicker
            if answer == "stop":
                self.stop(commands.Stop(save=self._question.why != "disk"))
            elif answer is not None:
                self.steer("pause", ANSWER_TO_QUESTION[answer])

        answers = {
            "diverged": {
                "batch": "Leave this batch out",
                "halve": "Go back to the last checkpoint, with half the rate",
                "rollback": "Go back to the last checkpoint",
                "stop": "Stop and save",
            },
            "disk": {"try": "Try to save again", "stop": "Stop without saving"},
        }[self._question.why]
        self._shown_question = Ask(self._question.text, answers)
        self.app.push_screen(self._shown_question, tell)

    def action_pause(self) -> None:
        if self.state.asks and not self.why_not("pause"):
            self.answer_question()
            return
        self.steer("pause", commands.Continue() if self._will_pause else commands.Pause())

    def action_park(self) -> None:
        self.steer("park", commands.Continue() if self._will_park else commands.Park())

    def action_checkpoint(self) -> None:
        self.steer("checkpoint", commands.SaveCheckpoint())

    def action_evaluate(self) -> None:
        self.steer("evaluate", commands.Evaluate())

    def action_end_epoch(self) -> None:
        self.steer("end_epoch", commands.EndEpoch())

    def action_learning_rate(self) -> None:
        if reason := self.why_not("learning_rate"):
            self.say(reason, "warning")
            return

        def set_lr(lr: float | None) -> None:
            if lr is not None:
                self.steer("learning_rate", commands.SetLearningRate(lr))

        self.app.push_screen(AskNumber(self.state.lr), set_lr)

    def action_stop(self) -> None:
        if reason := self.why_not("stop"):
            self.say(reason, "warning")
            return

        def stop(answer: str | None) -> None:
            if answer == "stop":
                self.stop(commands.Stop())

        where = f"epoch {self.state.epoch} of {self.state.total_epochs}" if self.state.epoch else "its preparation"
        question = f"Stop the run in {where}? A checkpoint is saved first."
        self.app.push_screen(Ask(question, {"stop": "Stop and save", "cancel": "Cancel"}), stop)

    def stop(self, command: commands.Stop) -> None:
        """Ask the run to end; the screen says so until it has."""
        if not self.why_not("stop"):
            self.run_.send(command)
            self._stopping = True
            self.state.phase = "stopping"
            self._draw()

    def action_quit_run(self) -> None:
        if self.state.is_over or not self.run_.trains_here:
            self.app.exit()
            return

        def leave(answer: str | None) -> None:
            if answer == "detach":
                self.action_detach()
            elif answer in ("stop", "leave"):
                self.stop(commands.Stop(save=answer == "stop"))
                self.app.exit()

        kept = explanation(self.state, self.run_.after_disconnect, time.time())
        question = f"The run is {self.state.status if self._rests else 'under way'}. {kept}"
        answers = {
            "detach": "Leave it to train in the background",
            "stop": "Stop and save",
            "leave": "Stop without saving",
            "cancel": "Cancel",
        }
        self.app.push_screen(Ask(question, answers), leave)

    def action_detach(self) -> None:
        """Leave the run to itself: it goes on in the background, from this very step."""
        if not self.run_.trains_here:
            self.app.exit()
        else:
            self.steer("detach", commands.HandOver())

    def action_new_run(self) -> None:
        if reason := self.why_not("new_run"):
            self.say(reason, "warning")
            return
        self.dismiss(None)

    def action_leave(self) -> None:
        if reason := self.why_not("leave"):
            self.say(reason, "warning")
            return
        self.post_message(self.Leave())

    def on_unmount(self) -> None:
        """Nobody looks any more: a recording need not be read on."""
        if self._terminal is not None:
            self._terminal.name_window("")
        if isinstance(self.run_, RecordedRun):
            self.run_.close()
            self.feed.leave()

    def action_resume(self) -> None:
        if reason := self.why_not("resume"):
            self.say(reason, "warning")
            return
        assert self.run_.folder is not None
        try:
            carried = carry(self.run_.folder, {}, Resume())
        except TrainerError as error:
            self.say(str(error), "warning")
            return
        if carried.nothing_to_do:
            self.say(carried.nothing_to_do)
            return
        self.post_message(self.CarryOn(carried))

    def action_replay(self) -> None:
        if reason := self.why_not("replay"):
            self.say(reason, "warning")
            return
        assert self.run_.folder is not None
        self.post_message(self.Replay(self.run_.folder))

    def action_help(self) -> None:
        self.app.push_screen(Help(self))

    def action_model(self) -> None:
        if reason := self.why_not("model"):
            self.say(reason, "warning")
            return
        s = self.state
        title = f"{s.settings['model']} · {s.parameters:,} parameters · {size(4 * s.parameters)} as float32"
        self.app.push_screen(Outline(title, s.layers, s.parameters))


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
