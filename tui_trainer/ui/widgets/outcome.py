"""What came of the newest evaluation, as the picture that its task has."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from textual import events
from textual.content import Content

from tui_trainer.run.events import Evaluated
from tui_trainer.run.state import RunState
from tui_trainer.ui.widgets import confusion, labels, numbers
from tui_trainer.ui.widgets.evaluation import Picture, Room, score_rows
from tui_trainer.ui.widgets.panel import MUTED, Panel, to_come


@dataclass(frozen=True, slots=True)
class Kind:
    """A picture of an evaluation."""

    title: str
    tasks: tuple[str, ...]
    """The tasks that have it, for the time before the first evaluation."""
    has: Callable[[Evaluated], bool]
    """True when an evaluation can be drawn so."""
    key: str
    """What the key that changes it is called."""
    draw: Callable[[Evaluated, RunState, Room], Picture]


def _scores(seen: Evaluated, state: RunState, room: Room) -> Picture:
    lines = score_rows(seen, state, room.width)[: room.height]
    return Picture(Content("\n").join(lines), why="There is just one way to show this.")


SCORES = Kind("scores", (), lambda _: True, "Other view", _scores)
KINDS = (
    Kind(
        "confusion",
        ("classification", "binary", "distribution"),
        lambda seen: bool(seen.confusion),
        "Counts",
        confusion.picture,
    ),
    Kind("labels", ("multilabel",), lambda seen: bool(seen.labels), "Worst first", labels.picture),
    Kind(
        "predictions", ("regression",), lambda seen: bool(seen.density or seen.residuals), "Residuals", numbers.picture
    ),
    SCORES,
)


class Outcome(Panel):
    """What the model gets right and wrong: a confusion table, a row a label, or predicted against true numbers."""

    TITLE = "confusion"

    def __init__(self, number: int, id: str) -> None:
        super().__init__(number, id)
        self.other = False
        """It is drawn the other way: counts, the worst first, residuals."""
        self.drawn = Picture(Content(""), why="Nothing was measured yet.")
        self._top = 0

    def kind(self, state: RunState) -> Kind:
        """The picture of the newest evaluation; before the first one, that of the task."""
        if seen := state.evaluation:
            return next(kind for kind in KINDS if kind.has(seen))
        return next((kind for kind in KINDS if state.task in kind.tasks), SCORES)

    def title_of(self, state: RunState) -> str:
        return self.kind(state).title

    @property
    def label(self) -> str:
        """What the key that draws it the other way is called."""
        return self.drawn.key or self.kind(self.state).key

    @property
    def scrolls(self) -> bool:
        """There is more than what is in sight."""
        return self.drawn.scrolls

    def key(self, state: RunState) -> Hashable:
        seen = state.evaluation
        return (seen and (seen.split, seen.step, seen.at), self.other, self._top, state.task, state.is_over)

    def draw(self, state: RunState, width: int, height: int) -> Content:
        seen = state.evaluation
        if seen is None:
            self.drawn = Picture(Content(""), why="Nothing was measured yet.")
            self.retitle()
            return Content.styled(to_come(state, "after the first validation"), MUTED)
        self.drawn = self.kind(state).draw(seen, state, Room(width, height, self.other, self._top))
        self._top = self.drawn.top
        split = "test" if seen.split == "test" else "validation"
        self.retitle(f" · {split} · epoch {seen.epoch}", self.drawn.mode)
        lines = self.drawn.content.split("\n", allow_blank=True)[:height]
        return Content("\n").join([line.truncate(width) for line in lines])

    def change(self) -> None:
        """Draw it the other way."""
        self.other = not self.other
        self.show_again()

    def scroll_lines(self, lines: int) -> None:
        """Move by so many lines, up when negative."""
        self._top = max(0, self._top + lines)
        self.show_again()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.scroll_lines(-3)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.scroll_lines(3)
