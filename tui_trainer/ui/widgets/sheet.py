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
        shown = range(self.top, min(self.count, self.top + max(1, height - len(head))))
        rows = [self.row(index, width) for index in shown]
        if self.CHOOSES and rows:
            rows[self.cursor - self.top] = rows[self.cursor - self.top].stylize("on $primary 25%")
        return [*head, *rows]

    def place(self) -> None:
        """Bring the marked row in sight, and say in the frame which rows are."""
        self.cursor = max(0, min(self.cursor, self.count - 1))
        if self.CHOOSES:
            self.top = max(min(self.top, self.cursor), self.cursor - self.room + 1)
        self.top = max(0, min(self.top, self.count - self.room))
        last = min(self.count, self.top + self.room)
        all_fit = last - self.top == self.count
        self.border_subtitle = Content("" if all_fit else f"{self.top + 1:,}-{last:,} of {self.count:,} ↑ ↓")
        self.refresh()

    def on_resize(self, _event: events.Resize) -> None:
        self.place()

    @property
    def room(self) -> int:
        """Rows on a page."""
        return max(1, self.content_size.height - len(self.head(self.content_size.width)))

    def move(self, rows: int) -> None:
        """Mark another row, or scroll where none is marked."""
        if self.CHOOSES:
            self.cursor += rows
        else:
            self.top += rows
        self.place()

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
