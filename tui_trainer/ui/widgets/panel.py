"""The frame all views of a run share: drawn from the state, and only when what it shows has changed."""

from collections.abc import Hashable, Sequence
from typing import Any, ClassVar

from textual import events
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from tui_trainer.run.state import RunState

MUTED = "$foreground 60%"
"""The style of labels: there, and not in the way."""


def to_come(state: RunState, when: str) -> str:
    """What an empty panel says: when it will have something to show, or that it never will."""
    return "nothing came of it" if state.is_over else when


class View(Widget):
    """Something drawn from a `RunState`. `key` says what it depends on, `draw` gives the picture."""

    DEFAULT_CSS = """
    View { height: 1; }
    """

    at: float | None = None
    """The moment that is shown, Unix seconds; None for now."""

    def __init__(self, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.state = RunState()
        self._picture = Content("")
        self._drawn: Hashable = None

    def show(self, state: RunState) -> bool:
        """Draw again if what is shown has changed; True when it has."""
        self.state = state
        width, height = self.content_size
        if width == 0 or height == 0 or not self.display:
            return False
        key = (width, height, self.key(state))
        if key == self._drawn:
            return False
        self._drawn = key
        self._picture = self.draw(state, width, height)
        self.refresh()
        return True

    def show_again(self) -> None:
        """Draw although nothing of the state changed: a mode did."""
        self._drawn = None
        self.show(self.state)

    def key(self, state: RunState) -> Hashable:
        """Everything in the state that the picture depends on."""
        raise NotImplementedError

    def draw(self, state: RunState, width: int, height: int) -> Content:
        """The picture, at most `width` by `height` cells."""
        raise NotImplementedError

    def render(self) -> Content:
        return self._picture

    def on_resize(self) -> None:
        self.show_again()


class Panel(View):
    """A framed view with a number key that brings it to the front."""

    DEFAULT_CSS = """
    Panel {
        height: 1fr;
        border: round $foreground 25%;
        border-title-color: $text-muted;
        border-subtitle-color: $text-muted;
        &.-current { border: round $primary 60%; border-title-color: $primary; }
    }
    """
    TITLE: ClassVar = ""

    class Chosen(Message):
        """The panel was clicked."""

        def __init__(self, panel: "Panel") -> None:
            super().__init__()
            self.panel = panel

    def __init__(self, number: int, id: str) -> None:
        super().__init__(id=id)
        self.number = number
        self.retitle()

    def title_of(self, state: RunState) -> str:
        """What is in the panel, by a word or two."""
        return self.TITLE

    def retitle(self, more: str = "", mode: str | Content = "") -> None:
        """Name the panel in its frame: its number and title, `more` about it, and the mode it is in at the right."""
        self.border_title = Content(f"{self.number} {self.title_of(self.state)}{more}")
        self.border_subtitle = mode if isinstance(mode, Content) else Content(mode)

    def on_click(self) -> None:
        self.post_message(self.Chosen(self))


class ListPanel(Panel):
    """Rows of text, the newest at the end in sight; scrolled by keys and wheel.

    Only rows in sight are made into text: a run has thousands, and a panel shows ten.
    """

    def __init__(self, number: int, id: str) -> None:
        super().__init__(number, id)
        self._up = 0  # lines scrolled away from the end

    def rows(self, state: RunState) -> Sequence[Any]:
        """What there is a row for, oldest first."""
        raise NotImplementedError

    def lines(self, row: Any, state: RunState, width: int) -> list[Content]:
        """A row as it looks, `height_of` lines of it."""
        raise NotImplementedError

    def height_of(self, row: Any, width: int) -> int:
        """How many lines a row takes."""
        return 1

    def empty(self, state: RunState) -> str:
        """What is said while there is no row."""
        return ""

    def head(self, state: RunState, width: int) -> Content | None:
        """A line that stays on top."""
        return None

    def draw(self, state: RunState, width: int, height: int) -> Content:
        head = self.head(state, width)
        room = height - (head is not None)
        rows = self.rows(state)
        if not rows:
            self._up = 0
            shown = [Content.styled(self.empty(state), MUTED)]
        else:
            shown = self._in_sight(rows, state, width, room)
        return Content("\n").join(shown if head is None else [head, *shown])

    def _in_sight(self, rows: Sequence[Any], state: RunState, width: int, room: int) -> list[Content]:
        """The lines that fit, found from the newest row backwards."""
        self._up = max(0, self._up)
        first, beneath = len(rows), 0
        while first > 0 and beneath < room + self._up:
            first -= 1
            beneath += self.height_of(rows[first], width)
        self._up = max(0, min(self._up, beneath - room))
        end = beneath - self._up
        start = max(0, end - room)
        shown: list[Content] = []
        top = 0
        while top < end:
            lines = self.lines(rows[first], state, width)
            shown += lines[max(0, start - top) : end - top]
            first, top = first + 1, top + len(lines)
        return shown

    def scroll_lines(self, lines: int) -> None:
        """Move by so many lines, up when negative."""
        self._up -= lines
        self.show_again()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.scroll_lines(-3)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.scroll_lines(3)
