"""Framed text of a screen that looks at something: drawn to the size it has, and lists that scroll."""

from textual import events
from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget

from tui_trainer.text import clean
from tui_trainer.ui.widgets.panel import MUTED


def cut(text: object, width: int) -> str:
    """Foreign text made harmless, in exactly `width` cells."""
    shown = clean(text, 300)
    content = Content(shown)
    if content.cell_length > width:
        shown = content.truncate(max(0, width), ellipsis=True).plain if width > 0 else ""
    return shown + " " * max(0, width - Content(shown).cell_length)


class Sheet(Widget):
    """Lines in a frame, made anew for each size."""

    DEFAULT_CSS = """
    Sheet {
        height: 1fr;
        border: round $foreground 25%;
        border-title-color: $text-muted;
        border-subtitle-color: $text-muted;
        padding: 0 1;
        &.-current { border: round $primary 60%; border-title-color: $primary; }
    }
    """

    def lines(self, width: int, height: int) -> list[Content]:
        """What is shown in `width` by `height` cells."""
        raise NotImplementedError

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Where a sheet is as high as what it says."""
        return max(1, len(self.lines(width, viewport.height)))

    def render(self) -> Content:
        width, height = self.content_size
        return Content("\n").join(self.lines(width, height)[:height]) if width > 0 and height > 0 else Content("")


class ListSheet(Sheet):
    """Rows beneath a head, as many as fit; the others are scrolled to. Where rows can be chosen one is marked."""

    CHOOSES = False

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.top = self.cursor = 0

    @property
    def count(self) -> int:
        """How many rows there are."""
        raise NotImplementedError

    def head(self, width: int) -> list[Content]:
        """Lines that stay on top."""
        return []

    def row(self, index: int, width: int) -> Content:
        """A row, in one line."""
        raise NotImplementedError

    def lines(self, width: int, height: int) -> list[Content]:
        head = self.head(width)
        room = max(1, height - len(head))
        if self.CHOOSES:
            self.cursor = max(0, min(self.cursor, self.count - 1))
            self.top = min(self.top, self.cursor) if self.cursor < self.top + room else self.cursor - room + 1
        self.top = max(0, min(self.top, self.count - room))
        shown = range(self.top, min(self.count, self.top + room))
        all_fit = len(shown) == self.count
        self.border_subtitle = Content("" if all_fit else f"{self.top + 1:,}-{shown.stop:,} of {self.count:,} ↑ ↓")
        rows = [self.row(index, width) for index in shown]
        if self.CHOOSES and rows:
            rows[self.cursor - self.top] = rows[self.cursor - self.top].stylize("on $primary 25%")
        return [*head, *rows]

    @property
    def room(self) -> int:
        """Rows on a page."""
        return max(1, self.content_size.height - len(self.head(self.content_size.width)))

    def move(self, rows: int) -> None:
        """Mark another row, or scroll where none is marked."""
        if self.CHOOSES:
            self.cursor = max(0, min(self.cursor + rows, self.count - 1))
        else:
            self.top = max(0, min(self.top + rows, self.count - self.room))
        self.refresh()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.move(-3)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.move(3)


def labelled(rows: list[tuple[str, str, str]], width: int) -> list[Content]:
    """Lines of a label and words, with a style for the words; words that do not fit go on beneath."""
    lines = []
    for label, words, style in rows:
        room = max(10, width - 11)
        wrapped = Content(clean(words, 400)).wrap(room) or [Content("")]
        for i, part in enumerate(wrapped[:4]):
            lines.append(Content.assemble((f"{'' if i else label:<10} ", MUTED), part.rstrip().stylize(style)))
    return lines
