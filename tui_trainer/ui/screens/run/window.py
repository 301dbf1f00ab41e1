"""The terminal around a run screen: its title says how the run stands, and it calls somebody who looks elsewhere."""

from typing import Any, Protocol

from textual.app import App

from tui_trainer.run.escape_codes import escape_sequence, notify_mode
from tui_trainer.run.interface import Run
from tui_trainer.run.state import RunState
from tui_trainer.text import clean
from tui_trainer.ui.terminal import driver as terminal


class OfRun(Protocol):
    """The screen of a run, as far as its window is concerned."""

    run_: Run
    state: RunState

    @property
    def app(self) -> App[Any]: ...


class Window:
    """The terminal's window, as one run uses it. Under test, where there is no terminal, nothing is written."""

    def __init__(self, screen: OfRun) -> None:
        self._screen = screen

    @property
    def terminal(self) -> terminal.Driver | None:
        """The driver of a real terminal, None under test."""
        driver = self._screen.app._driver
        return driver if isinstance(driver, terminal.Driver) else None

    def call(self, text: str | None) -> None:
        """Let the terminal call somebody who looks elsewhere."""
        if text and self.terminal is not None:
            self.terminal.write(escape_sequence(notify_mode(self._screen.run_, self._state), self._run_name, text))

    def name(self) -> None:
        """The state and the best score as the title of the window, while there is something to tell."""
        if self.terminal is None or not self._state.settings:
            return
        best = f" · best {self._state.headline(self._state.best)}" if self._state.best else ""
        title = f"{self._state.status.replace('_', ' ')}{best} · {self._run_name}"
        self.terminal.name_window("" if notify_mode(self._screen.run_, self._state) == "off" else clean(title, 100))

    @property
    def _state(self) -> RunState:
        return self._screen.state

    @property
    def _run_name(self) -> str:
        return self._screen.run_.folder.path.name if self._screen.run_.folder else "tui-trainer"

    def leave(self) -> None:
        """Give the title back."""
        if self.terminal is not None:
            self.terminal.name_window("")
