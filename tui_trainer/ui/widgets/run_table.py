"""Runs as a table with a line that is chosen: only the lines in sight are made, so a thousand cost what ten do."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from textual import events
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from tui_trainer.runs.listing import Summary
from tui_trainer.text import ago, fixed, number
from tui_trainer.ui.widgets.header import STATUS, spark
from tui_trainer.ui.widgets.panel import MUTED

LEAST_NAME = 24
"""Cells that a name gets before columns are left out."""


@dataclass(frozen=True, slots=True)
class Column:
    """One fact about a run."""

    title: str
    width: int
    """Cells."""
    text: Callable[[Summary], str]
    right: bool = False
    """Numbers are flush right."""
    most: int = 0
    """Cells that it grows to where its texts are longer."""
    left_out: int = 0
    """The highest goes first where there is no room; 0 always stays."""


def word_of(run: Summary) -> tuple[str, str]:
    """A run's state as a sign with a word, and its colour; quieter than on the run's own screen."""
    word, style = STATUS.get(run.state, (f"? {run.state}", "$error" if run.state == "unreadable" else ""))
    return word.strip().lower(), style.rpartition(" on ")[2].removeprefix("bold ")


def age_of(run: Summary) -> str:
    return ago(time.time() - run.started).removesuffix(" ago")


def of_epochs(run: Summary) -> str:
    return f"{run.epoch}/{run.epochs}" if run.epochs else str(run.epoch)


def thinned(losses: Sequence[float], most: int) -> list[float]:
    """So many of the losses at most, the first and the last among them."""
    if len(losses) <= most:
        return list(losses)
    return [losses[(len(losses) - 1) * i // (most - 1)] for i in range(most)]


STATE = Column("state", 17, lambda run: word_of(run)[0])
COLUMNS = (
    Column("age", 6, age_of, right=True),
    Column("model", 8, lambda run: run.model, left_out=3),
    Column("data", 18, lambda run: run.dataset, left_out=5),
    Column(
        "optimizer", 14, lambda run: f"{run.optimizer} {number(run.lr, 3)}" if run.lr else run.optimizer, left_out=2
    ),
    Column("epoch", 7, of_epochs, right=True, left_out=1),
    Column("score", 8, lambda run: run.headline, right=True, most=18),
    Column("loss", 7, lambda run: fixed(run.best_loss), right=True),
    Column("curve", 12, lambda run: spark(thinned(run.losses, 12), 12), left_out=4),
)
"""After the state and the name, which gets what the others leave."""


def grown(column: Column, rows: Sequence[Summary]) -> Column:
    """The column as wide as its texts in these rows, if it may be."""
    if not column.most:
        return column
    widest = max((len(column.text(run)) for run in rows), default=0)
    return replace(column, width=max(column.width, min(column.most, widest)))


def cut(text: str, width: int) -> str:
    """`text` in at most `width` cells."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


class RunTable(Widget, can_focus=True):
    """A line a run, one of them chosen, some of them marked."""

    DEFAULT_CSS = """
    RunTable { height: 1fr; }
    """

    class Moved(Message):
        """Another line is the chosen one, or a line was marked."""

    class Opened(Message):
        """The chosen line was clicked once more."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.rows: list[Summary] = []
        self.place = 0
        """The index of the chosen line."""
        self.marked: list[Path] = []
        """In the order in which they were marked."""
        self.empty = ""
        """What is said when there is no line."""
        self._columns = list(COLUMNS)
        self._top = 0

    @property
    def current(self) -> Summary | None:
        """The chosen run."""
        return self.rows[self.place] if self.rows else None

    def show(self, rows: list[Summary], empty: str) -> None:
        """Other lines; the chosen run stays so if it is still there."""
        chosen = self.current.path if self.current else None
        self.rows, self.empty = rows, empty
        self._columns = [grown(column, rows) for column in COLUMNS]
        places = (i for i, run in enumerate(rows) if run.path == chosen)
        self.place = next(places, min(self.place, max(0, len(rows) - 1)))
        self.refresh()
        self.post_message(self.Moved())

    def move(self, lines: int) -> None:
        """Choose a line so many further down, up when negative."""
        place = max(0, min(len(self.rows) - 1, self.place + lines))
        if place != self.place and self.rows:
            self.place = place
            self.refresh()
            self.post_message(self.Moved())

    @property
    def page(self) -> int:
        """Lines in sight."""
        return max(1, self.size.height - 1)

    def mark(self) -> None:
        """Mark the chosen run or take its mark away, and go on to the next line."""
        if run := self.current:
            if run.path in self.marked:
                self.marked.remove(run.path)
            else:
                self.marked.append(run.path)
            self.refresh()
            self.move(1)
            self.post_message(self.Moved())

    # --- drawing ---

    def render(self) -> Content:
        width, height = self.size
        if not self.rows:
            return Content.styled(self.empty, MUTED)
        columns, name = self._layout(width)
        titles = [f"{STATE.title:<{STATE.width}}", f"{'name':<{name}}"]
        titles += [f"{c.title:>{c.width}}" if c.right else f"{c.title:<{c.width}}" for c in columns]
        lines = [Content.styled(cut(f"   {' '.join(titles)}", width), MUTED)]
        self._top = max(0, min(self._top, self.place, len(self.rows) - self.page))
        self._top = max(self._top, self.place - self.page + 1)
        for i in range(self._top, min(len(self.rows), self._top + height - 1)):
            lines.append(self._line(self.rows[i], i == self.place, columns, name, width))
        return Content("\n").join(lines)

    def _layout(self, width: int) -> tuple[list[Column], int]:
        """The columns there is room for, and the cells of the name."""
        columns = list(self._columns)

        def left() -> int:
            return width - 3 - STATE.width - 2 - sum(column.width + 1 for column in columns)

        while left() < LEAST_NAME and (last := max(columns, key=lambda column: column.left_out)).left_out:
            columns.remove(last)
        return columns, max(4, min(left(), max(LEAST_NAME, *(len(run.name) for run in self.rows))))

    def _line(self, run: Summary, chosen: bool, columns: list[Column], name: int, width: int) -> Content:
        word, style = word_of(run)
        sign = ("▸" if chosen else " ") + ("◆" if run.path in self.marked else " ") + " "
        parts: list[tuple[str, str]] = [(sign, "bold $primary"), (f"{cut(word, STATE.width):<{STATE.width}} ", style)]
        parts.append((f"{cut(run.name, name):<{name}}", "bold" if chosen else ""))
        for column in columns:
            text = cut(column.text(run), column.width)
            text = f"{text:>{column.width}}" if column.right else f"{text:<{column.width}}"
            parts += [(" ", ""), (text, "$primary" if column.title == "curve" else "")]
        used = sum(len(text) for text, _ in parts)
        parts.append((" " * max(0, width - used), ""))
        line = Content.assemble(*parts)
        return line.stylize("on $primary 25%") if chosen else line

    # --- mouse ---

    def on_click(self, event: events.Click) -> None:
        place = self._top + event.y - 1
        if event.y < 1 or place >= len(self.rows):
            return
        if place == self.place and event.chain == 2:
            self.post_message(self.Opened())
        else:
            self.move(place - self.place)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.move(-3)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.move(3)
