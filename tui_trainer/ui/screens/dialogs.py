"""Questions on top of a screen. Each answers with a plain value, or None when it was called off."""

import textwrap
from typing import Any

from textual import events, on
from textual.app import ComposeResult
from textual.await_complete import AwaitComplete
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen, Screen, ScreenResultType
from textual.widgets import Button, Input, Static

from tui_trainer.run.commands import HIGHEST_RATE
from tui_trainer.text import clean, clean_lines, number
from tui_trainer.ui.widgets.keys import bindings_of, key_name
from tui_trainer.ui.widgets.panel import MUTED


class Dialog(ModalScreen[ScreenResultType]):
    """A screen on top of another that closes once: of two quick keys the second must not close what is beneath it."""

    def dismiss(self, result: ScreenResultType | None = None) -> AwaitComplete:
        return super().dismiss(result) if self.is_active else AwaitComplete()


class Ask(Dialog[str | None]):
    """A question with a button for each answer; the first is chosen with enter, escape calls it off."""

    BINDINGS = [
        Binding("escape", "cancel", "Cancel"),
        Binding("left,up", "app.focus_previous", "Previous", show=False),
        Binding("right,down", "app.focus_next", "Next", show=False),
    ]

    def __init__(self, question: str, answers: dict[str, str]) -> None:
        """`answers` maps a value to the words on its button; the first letter of a value is its key."""
        super().__init__(classes="dialog")
        self._question, self._answers = question, answers

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Static(Content(clean_lines(self._question)))
            with Vertical(classes="buttons"):
                for value, words in self._answers.items():
                    yield Button(Content(f"{value[0]}  {words}"), id=value, compact=True)

    def on_key(self, event: events.Key) -> None:
        for value in self._answers:
            if event.key == value[0]:
                event.stop()  # the screen beneath must not hear it too
                self.dismiss(value)

    @on(Button.Pressed)
    def choose(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id)

    def action_cancel(self) -> None:
        self.dismiss(None)


class AskNumber(Dialog[float | None]):
    """Asks for a learning rate above 0 and says at once when what is typed is none."""

    BINDINGS = [Binding("escape", "cancel", "Cancel")]

    def __init__(self, now: float | None) -> None:
        super().__init__(classes="dialog")
        self._now = now

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Static(Content(f"Learning rate from the next step on (now {number(self._now)})"))
            yield Input(f"{self._now:g}" if self._now else "", compact=True)
            yield Static(Content("enter sets it, escape leaves it"), classes="note")

    @on(Input.Changed)
    def judge(self, event: Input.Changed) -> None:
        problem = _problem(event.value)
        note = self.query_one(".note", Static)
        note.update(Content(problem or "enter sets it, escape leaves it"))
        note.set_class(problem is not None, "-wrong")

    @on(Input.Submitted)
    def answer(self, event: Input.Submitted) -> None:
        if _problem(event.value) is None:
            self.dismiss(float(event.value))

    def action_cancel(self) -> None:
        self.dismiss(None)


def _problem(text: str) -> str | None:
    try:
        value = float(text)
    except ValueError:
        return f"must be a number, found {clean(text, 30)!r}" if text.strip() else "must be a number above 0"
    if 0 < value <= HIGHEST_RATE:  # so it is finite
        return None
    return f"must be above 0 and finite, found {clean(text, 30)}"


class AskPath(Dialog[str | None]):
    """Asks for the path of a settings file."""

    BINDINGS = [Binding("escape", "cancel", "Cancel")]

    def __init__(self, question: str, path: str) -> None:
        super().__init__(classes="dialog")
        self._question, self._path = question, path

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Static(Content(self._question))
            yield Input(self._path, compact=True)

    @on(Input.Submitted)
    def answer(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip() or None)

    def action_cancel(self) -> None:
        self.dismiss(None)


class Help(Dialog[None]):
    """Every key of a screen and what it does, made from its bindings."""

    BINDINGS = [Binding("escape,q,enter,question_mark,f1", "close", "Close")]

    def __init__(self, of: Screen[Any]) -> None:
        super().__init__(classes="dialog")
        self._rows = [
            (key_name(b), b.description, b.tooltip or "") for b in bindings_of(of) if b.description and b.tooltip
        ]

    def compose(self) -> ComposeResult:
        lines = []
        room = min(90, self.app.size.width - 4) - 37  # beside the frame, key and label
        for key, label, tip in self._rows:
            first, *rest = textwrap.wrap(tip, max(20, room))
            lines.append(Content.assemble((f"{key:>9}  ", "bold $primary"), (f"{label:<17} ", "bold"), (first, "")))
            lines += [Content(" " * 29 + line) for line in rest]
        with Vertical(classes="box -wide"):
            yield Static(Content.styled("Keys", "bold"))
            with VerticalScroll():
                yield Static(Content("\n").join(lines))
            yield Static(Content.styled("escape closes", MUTED))

    def action_close(self) -> None:
        self.dismiss(None)


class Outline(Dialog[None]):
    """The layers of the model: torch.nn name, output shape, parameters."""

    BINDINGS = [Binding("escape,q,enter,i", "close", "Close")]

    def __init__(self, title: str, layers: tuple[tuple[str, str, int], ...], parameters: int) -> None:
        super().__init__(classes="dialog")
        self._title, self._layers, self._parameters = title, layers, parameters

    def compose(self) -> ComposeResult:
        rows = [Content.styled(f"{'layer':<16}{'output':>16}{'parameters':>14}", MUTED)]
        rows += [Content(f"{clean(n, 15):<16}{clean(s, 15):>16}{p:>14,}") for n, s, p in self._layers]
        rows.append(Content.styled(f"{'in all':<16}{'':>16}{self._parameters:>14,}", "bold"))
        with Vertical(classes="box"):
            yield Static(Content.styled(clean(self._title), "bold"))
            with VerticalScroll():
                yield Static(Content("\n").join(rows))
            yield Static(Content.styled("escape closes", MUTED))

    def action_close(self) -> None:
        self.dismiss(None)
