"""A look before a run: another process looks, and this screen shows what it tells, from the moment it is opened."""

import threading
import time
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Container, Horizontal
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Label, Static

from tui_trainer.outlook.preview.facts import Answer
from tui_trainer.outlook.preview.process import PreviewProcess
from tui_trainer.settings.schema import Settings
from tui_trainer.text import clean, clean_lines
from tui_trainer.ui.screens.dialogs import Help
from tui_trainer.ui.widgets.keys import KeyLine, too_small
from tui_trainer.ui.widgets.panel import MUTED
from tui_trainer.ui.widgets.sheet import ListSheet

LEAVING = Binding("escape", "back", "Back", tooltip="Back to the form, which is as it was.", id="back")
KEYS = [
    Binding("r", "again", "Look again", tooltip="Look once more, from the beginning.", id="again"),
    Binding("question_mark,f1", "help", "Help", tooltip="All keys of this screen.", id="help"),
    Binding("up", "move(-1)", "Move", tooltip="Move in the list; page up and page down too.", show=False),
    Binding("down", "move(1)", show=False),
    Binding("pageup", "page(-1)", show=False),
    Binding("pagedown", "page(1)", show=False),
    Binding("home", "move(-1000000)", show=False),
    Binding("end", "move(1000000)", show=False),
]
"""The keys of both screens."""


class LookScreen(Screen[None]):
    """What a process tells of the settings' data or model. It is ended when the screen is left."""

    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (60, "-narrow"), (110, "-normal"), (160, "-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-flat"), (15, "-low"), (22, "-middle"), (30, "-tall")]
    KIND: ClassVar[str]
    """What is looked at: data or model."""

    class Told(Message):
        """The process has told something, or nothing more is to come."""

        def __init__(self, looking: PreviewProcess, answer: Answer | None) -> None:
            super().__init__()
            self.looking, self.answer = looking, answer

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self.looking: PreviewProcess | None = None
        self.error = ""
        self.warnings: list[str] = []
        self._what, self._since = "", 0.0
        self._over = False

    def compose(self) -> ComposeResult:
        yield too_small()
        with Horizontal(id="title"):
            yield Label(Content(self.heading()), id="what")
            yield Label(id="state")
        yield Static(id="trouble")
        with Container(id="body"):
            yield from self.sheets()
        yield KeyLine()

    def heading(self) -> str:
        """What the screen is about, in its first line."""
        raise NotImplementedError

    def sheets(self) -> list[Widget]:
        """What there is to see, the list that keys move in among it."""
        raise NotImplementedError

    def take(self, answer: Answer) -> None:
        """Show a part of what was found."""
        raise NotImplementedError

    def forget(self) -> None:
        """Show nothing: it is looked at anew."""
        raise NotImplementedError

    def gave_up(self) -> None:
        """Say of what is missing that it will not come."""

    def list_of_keys(self) -> ListSheet | None:
        """The list that the keys move in."""
        raise NotImplementedError

    # --- the process ---

    def on_mount(self) -> None:
        self.set_interval(1.0, self._show_state)
        self._begin()

    def on_unmount(self) -> None:
        if self.looking is not None:
            self.looking.end()

    def _begin(self) -> None:
        if self.looking is not None:
            self.looking.end()
        looking = self.looking = PreviewProcess(self.KIND, self.settings)
        self.error, self.warnings, self._over = "", [], False
        self._what, self._since = "", time.monotonic()
        self.forget()
        self._show_state()
        threading.Thread(target=self._listen, args=(looking,), name=f"look-{self.KIND}", daemon=True).start()

    def _listen(self, looking: PreviewProcess) -> None:
        """Pass on what the process tells; in a thread of its own, which ends with the process."""
        for answer in looking.answers():
            if not self.post_message(self.Told(looking, answer)):
                looking.end()  # the screen has gone
        self.post_message(self.Told(looking, None))

    @on(Told)
    def told(self, message: Told) -> None:
        if message.looking is not self.looking:  # it was ended
            return
        answer = message.answer
        if answer is None:
            self._over = True
        elif answer.error is not None:
            self.error = answer.error
            self.gave_up()
        elif answer.preparing is not None:
            self._what, self._since = answer.preparing, time.monotonic()
        elif answer.warning is not None:
            self.warnings.append(answer.warning)
        else:
            self._what = ""
            self.take(answer)
        self._show_state()

    def _show_state(self) -> None:
        """What is under way, or why nothing more comes."""
        waits = not self._over and not self.error
        seconds = int(time.monotonic() - self._since)
        words = f"{clean(self._what or 'starting', 60)} ..." if waits and (self._what or not self.has_some) else ""
        words += f" {seconds} s" if words and seconds >= 2 else ""
        self.query_one("#state", Label).update(Content(words))
        trouble = self.query_one("#trouble", Static)
        lines = [Content.styled(clean_lines(self.error, 600), "$text-error")] if self.error else []
        if self.error:
            lines.append(Content.styled("r looks again, escape goes back to the form", MUTED))
        lines += [Content.styled(clean(text, 300), "$text-warning") for text in self.warnings[:3]]
        trouble.update(Content("\n").join(lines))
        trouble.display = bool(lines)
        trouble.set_class(bool(self.error), "-error")
        self.query_one("#body").display = self.has_some
        self.query_one(KeyLine).refresh()

    @property
    def has_some(self) -> bool:
        """True when something was found that can be shown."""
        raise NotImplementedError

    # --- keys ---

    def action_back(self) -> None:
        if self.is_active:
            self.dismiss(None)

    def action_again(self) -> None:
        self._begin()

    def action_help(self) -> None:
        self.app.push_screen(Help(self))

    def action_move(self, rows: int) -> None:
        if (rows_of := self.list_of_keys()) is not None:
            rows_of.move(rows)

    def action_page(self, pages: int) -> None:
        if (rows_of := self.list_of_keys()) is not None:
            self.action_move(pages * rows_of.room)

    def why_not(self, action: str) -> str | None:
        """Why a key does nothing just now, or None when it does something."""
        return None

    def refuses(self, action: str) -> bool:
        """Say why a key does nothing just now; True when it does nothing."""
        if reason := self.why_not(action):
            self.notify(reason, severity="warning", markup=False, timeout=4)
        return bool(reason)
