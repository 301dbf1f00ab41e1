"""What a run asks: whether to carry on with other settings, and what to do when it paused by itself."""

from typing import Protocol

from tui_trainer.run import commands
from tui_trainer.run.commands import Command
from tui_trainer.run.events import (
    BatchTrained,
    Event,
    RunPaused,
    RunStarted,
)
from tui_trainer.ui.screens.confirm_changes import Agree
from tui_trainer.ui.screens.dialogs import Ask
from tui_trainer.ui.screens.run.window import OfRun

ANSWER_TO_QUESTION: dict[str, Command] = {
    "batch": commands.SkipBatch(),
    "halve": commands.RollBack(halve=True),
    "rollback": commands.RollBack(),
    "try": commands.Continue(),
}
"""The command behind each button when a run asks what to do."""


class Steered(OfRun, Protocol):
    """The screen of a run, as far as its questions are concerned."""

    def steer(self, action: str, command: Command) -> None: ...

    def stop(self, command: commands.Stop) -> None: ...


class Questions:
    """The questions of one run, shown on top of its screen. The answers go to the run as commands."""

    def __init__(self, screen: Steered) -> None:
        self._screen = screen
        self.to_agree: RunStarted | None = None
        """What a run that is carried on with other settings begins with, until somebody has agreed to it."""
        self._paused = RunPaused()
        """The pause that asks, newest."""
        self._shown: Ask | None = None

    def hear(self, event: Event) -> None:
        """Some events ask for an answer."""
        screen = self._screen
        if isinstance(event, RunStarted):
            self.to_agree = event if event.changed and screen.run_.trains_here else None
        elif isinstance(event, RunPaused):
            if screen.state.asks:
                self._paused = event
            elif self.to_agree is not None:
                self.agree(self.to_agree)
        elif isinstance(event, BatchTrained):
            self.to_agree = None

    def ask_or_withdraw(self, caught_up: bool) -> None:
        """Show the question of a run that asks what to do; take it away when another viewer has answered it.

        `caught_up`: all events of the past are folded, so it is not answered already."""
        if self._screen.state.asks and self._shown is None and caught_up and not self._screen.run_.read_only:
            self.ask()
        elif not self._screen.state.asks and self._shown is not None:
            question, self._shown = self._shown, None
            if question.is_current:
                question.dismiss(None)

    def agree(self, started: RunStarted) -> None:
        """Show what is restored and changed; the first step waits for a yes."""

        def go(answer: bool | None) -> None:
            self.to_agree = None
            if answer:
                self._screen.steer("pause", commands.Continue())
            else:
                self._screen.stop(commands.Stop(save=False))

        self._screen.app.push_screen(Agree(started), go)

    def ask(self) -> None:
        """Ask what a run should do that paused by itself."""

        def tell(answer: str | None) -> None:
            if not self._screen.state.asks:
                return  # somebody else was quicker
            if answer == "stop":
                self._screen.stop(commands.Stop(save=self._paused.why != "disk"))
            elif answer is not None:
                self._screen.steer("pause", ANSWER_TO_QUESTION[answer])

        answers = {
            "diverged": {
                "batch": "Leave this batch out",
                "halve": "Go back to the last checkpoint, with half the rate",
                "rollback": "Go back to the last checkpoint",
                "stop": "Stop and save",
            },
            "disk": {"try": "Try to save again", "stop": "Stop without saving"},
        }[self._paused.why]
        self._shown = Ask(self._paused.text, answers)
        self._screen.app.push_screen(self._shown, tell)
