"""Steering a run: what each key sends, asks first or refuses, and why."""

import time

from textual.binding import Binding
from textual.message import Message

from tui_trainer.run import commands
from tui_trainer.run.acknowledgements import ACKNOWLEDGEMENTS, is_acknowledged
from tui_trainer.run.commands import Command
from tui_trainer.run.disconnect import explanation
from tui_trainer.run.events import (
    BatchTrained,
    Event,
)
from tui_trainer.run.folder import RunFolder
from tui_trainer.run.interface import Run
from tui_trainer.run.state import RunState
from tui_trainer.text import size
from tui_trainer.ui.screens.dialogs import Ask, AskNumber, Help, Outline
from tui_trainer.ui.screens.run.drawing import RunDrawing
from tui_trainer.ui.screens.run.questions import Questions
from tui_trainer.ui.widgets.charts import LossChart
from tui_trainer.ui.widgets.keys import bindings_of


class RunSteering(RunDrawing):
    """The part of the run screen that the keys act on."""

    class Replay(Message):
        """The user wants to see a recorded run played."""

        def __init__(self, folder: RunFolder) -> None:
            super().__init__()
            self.folder = folder

    class Resume(Message):
        """The user wants a run that is over to go on."""

        def __init__(self, folder: RunFolder) -> None:
            super().__init__()
            self.folder = folder

    class Leave(Message):
        """The user wants to see the runs."""

    def __init__(self, run: Run, state: RunState) -> None:
        super().__init__(run, state)
        self.questions = Questions(self)
        self._stopping = False
        self._asked: Command | None = None
        """The newest command that the run has not carried out yet."""
        self._reports = 0
        """Reports since then."""

    # --- what was asked ---

    def _is_answered_by(self, event: Event) -> bool:
        """True when this is what was waited for. A run that has gone on for two reports has heard every command."""
        if self._asked is None:
            return False
        self._reports += isinstance(event, BatchTrained)
        if is_acknowledged(self._asked, event) or self._reports > 1:
            self._asked = None
            return True
        return False

    @property
    def _asks_for(self) -> str:
        return ACKNOWLEDGEMENTS[type(self._asked)][0] if self._asked and not self._stopping else ""

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

    # --- keys ---

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
        if action == "model" and not self.state.layers:
            return "The model is not built yet."
        return super().why_not(action)

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

    # --- commands ---

    def steer(self, action: str, command: Command) -> None:
        """Send a command, or say why not."""
        if reason := self.why_not(action):
            self.say(reason, "warning")
            return
        self.run_.send(command)
        self._asked, self._reports = command, 0
        self._draw()

    def action_pause(self) -> None:
        if self.state.asks and not self.why_not("pause"):
            self.questions.ask()
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

    # --- leaving, and what comes after the end ---

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

    def action_resume(self) -> None:
        if reason := self.why_not("resume"):
            self.say(reason, "warning")
            return
        assert self.run_.folder is not None
        self.post_message(self.Resume(self.run_.folder))

    def action_replay(self) -> None:
        if reason := self.why_not("replay"):
            self.say(reason, "warning")
            return
        assert self.run_.folder is not None
        self.post_message(self.Replay(self.run_.folder))

    # --- looking ---

    def action_help(self) -> None:
        self.app.push_screen(Help(self))

    def action_model(self) -> None:
        if reason := self.why_not("model"):
            self.say(reason, "warning")
            return
        s = self.state
        title = f"{s.settings['model']} · {s.parameters:,} parameters · {size(4 * s.parameters)} as float32"
        self.app.push_screen(Outline(title, s.layers, s.parameters))
