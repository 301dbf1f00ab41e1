"""The last line of a screen: its keys, made from its bindings, dimmed while they have nothing to do."""

from typing import Any

from textual import events
from textual.binding import Binding
from textual.content import Content
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from tui_trainer.ui.widgets.panel import MUTED

SHOWN = {"space": "space", "question_mark": "?", "enter": "enter", "escape": "esc"}


def key_name(binding: Binding) -> str:
    """How a key is written: `space`, `^r`, `?`, `f2`."""
    if binding.key_display:
        return binding.key_display
    key = binding.key.split(",")[0]
    return SHOWN.get(key, key.replace("ctrl+", "^").replace("shift+", "⇧"))


def bindings_of(screen: Screen[Any]) -> list[Binding]:
    """The bindings that a screen itself declares, in its order, then the app's."""
    own = [b for b in type(screen).BINDINGS if isinstance(b, Binding)]
    return own + [b for b in type(screen.app).BINDINGS if isinstance(b, Binding)]


def too_small() -> Static:
    """What a screen shows alone where it has no room."""
    return Static(Content("tui-trainer needs a terminal of 60 x 15 or more"), id="too-small")


class KeyLine(Widget):
    """Keys and their labels, as many as fit; click one to press it."""

    DEFAULT_CSS = """
    KeyLine { height: 1; dock: bottom; background: $panel; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._spans: list[tuple[int, int, str]] = []

    def render(self) -> Content:
        screen = self.screen
        label = getattr(screen, "label_of", lambda binding: binding.description)
        reason = getattr(screen, "why_not", lambda _action: None)
        parts: list[tuple[str, str]] = [(" ", "")]
        self._spans, at = [], 1
        shown = getattr(screen, "shown_keys", lambda: [binding for binding in bindings_of(screen) if binding.show])
        for binding in shown():
            key, text = key_name(binding), label(binding)
            width = len(key) + len(text) + 3
            if at + width > self.size.width:
                break
            dim = reason(binding.action) is not None
            parts += [
                (key, MUTED if dim else "bold $primary"),
                (f" {text}  ", MUTED if dim else ""),
            ]
            self._spans.append((at, at + width - 2, binding.action))
            at += width
        return Content.assemble(*parts)

    async def on_click(self, event: events.Click) -> None:
        for start, end, action in self._spans:
            if start <= event.x < end:
                await self.screen.run_action(action)
