"""A field of the settings form: the name of a setting and a widget for its value, checked alone."""

from typing import Any

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Label, Select, Static

from tui_trainer.settings.places import OWN
from tui_trainer.settings.schema import FIELDS, choices_of, is_simple, is_switch
from tui_trainer.settings.sources import check
from tui_trainer.settings.writing import as_text
from tui_trainer.text import clean
from tui_trainer.ui.widgets.panel import MUTED

OTHER = "\0"
"""The choice of something that is not on the list."""


class Fixed(Static, can_focus=True):
    """A value that cannot be changed; it can be gone to, to read why."""

    def __init__(self, value: str) -> None:
        super().__init__(Content.styled(clean(value, 200) or "none", MUTED), classes="fixed")
        self.value = value


class Field(Horizontal):
    """One setting: its name, a widget for its value, and whether that value can be used."""

    class Changed(Message):
        """The value was changed."""

        def __init__(self, field: "Field") -> None:
            super().__init__()
            self.field = field

    class PlaceWanted(Message):
        """A place of the user's own is to be typed."""

        def __init__(self, field: "Field") -> None:
            super().__init__()
            self.field = field

    class Entered(Message):
        """The field has the focus now."""

        def __init__(self, field: "Field") -> None:
            super().__init__()
            self.field = field

    def __init__(self, setting: str, value: object, fixed: str = "") -> None:
        """`fixed` says why it cannot be changed, when it cannot."""
        super().__init__(classes="field" if is_simple(setting) else "field -hidden", id=f"field-{setting}")
        self.setting, self.fixed = setting, fixed
        self.start_text = self._before = as_text(value)
        self.problem: str | None = None
        self.on_the_way = False
        """True when a run is carried on: what is changed then is what is not as it was."""
        self.entry = self._make_entry()
        """The widget that holds the value."""

    def _make_entry(self) -> "Input | Select[str] | Fixed":
        if self.fixed:
            return Fixed(self.start_text)
        if self._words:
            return Select(self._options(self.start_text), value=self.start_text, allow_blank=False, compact=True)
        return Input(self.start_text, placeholder="drawn" if self.setting == "seed" else "", compact=True)

    @property
    def _words(self) -> tuple[str, ...]:
        return ("off", "on") if is_switch(self.setting) else choices_of(self.setting)

    def _options(self, text: str) -> list[tuple[Content, str]]:
        """What can be chosen: words, `text` when it is none of them, and a place of one's own to be typed."""
        words = [*self._words, *([text] if text not in self._words else [])]
        more = [(Content("of your own …"), OTHER)] if self.setting in OWN else []
        return [(Content(clean(word, 60)), word) for word in words] + more

    def compose(self) -> ComposeResult:
        yield Label(Content(str(FIELDS[self.setting].title)))
        yield self.entry

    @property
    def text(self) -> str:
        """The value as one would type it."""
        return str(self.entry.value)

    def set_text(self, text: str) -> None:
        """Change the value from outside: a preset, a file."""
        if isinstance(self.entry, Select) and text not in self._words:
            with self.prevent(Select.Changed):
                self.entry.set_options(self._options(text))
        if not self.fixed:
            self.entry.value = self._before = text

    @property
    def place_question(self) -> str:
        """What to ask for when a place of the user's own is to be typed."""
        forms = "folder:PATH, table:FILE or FILE.py:NAME" if self.setting == "dataset" else "FILE.py:NAME"
        return f"{FIELDS[self.setting].title}: {forms}"

    @property
    def place(self) -> str:
        """The place of the user's own that the value was last, or nothing."""
        return self._before if self._before not in self._words else ""

    def take_place(self, text: str | None) -> None:
        """Take the place that was typed; without one the value stays what it was."""
        self.set_text(text or self._before)

    def judge(self) -> Any:
        """The value in its own type; `problem` says what is wrong with it."""
        value, self.problem = check(self.setting, self.text, text=True)
        self.set_class(self.problem is not None, "-wrong")
        usual = self.start_text if self.on_the_way else as_text(FIELDS[self.setting].default)
        self.set_class(self.text != usual, "-changed")
        return value

    @on(Input.Changed)
    @on(Select.Changed)
    def changed(self, event: Message) -> None:
        event.stop()
        if self.text == OTHER:
            self.post_message(self.PlaceWanted(self))
            return
        self._before = self.text
        self.post_message(self.Changed(self))

    @on(Input.Submitted)
    def submitted(self, event: Message) -> None:
        event.stop()
        self.screen.focus_next()

    def on_descendant_focus(self) -> None:
        self.post_message(self.Entered(self))
