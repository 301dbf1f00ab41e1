"""The line that a recorded run is played by: whether it plays, where it is, how fast, and what was passed last."""

from collections.abc import Hashable

from textual import events
from textual.content import Content
from textual.message import Message

from tui_trainer.run.state import RunState
from tui_trainer.runs.bookmarks import Bookmark
from tui_trainer.runs.player import Player
from tui_trainer.text import clock
from tui_trainer.ui.widgets.panel import MUTED, View

SIGNS = {
    Bookmark.STARTED: ("┼", MUTED),
    Bookmark.EPOCH: ("┼", MUTED),
    Bookmark.BEST: ("★", "$success"),
    Bookmark.TESTED: ("◆", "$secondary"),
    Bookmark.RATE: ("↕", "$secondary"),
    Bookmark.WENT_ON: ("▸", "$success"),
    Bookmark.PAUSED: ("‖", "$warning"),
    Bookmark.WARNED: ("!", "bold $warning"),
    Bookmark.ENDED: ("■", "$foreground"),
    Bookmark.FAILED: ("✖", "bold $error"),
}
"""How the slider shows a mark: a sign and a colour. Where several fall into one cell it shows the greatest."""


class PlayerLine(View):
    """A slider over play time with its marks; click or drag to go there."""

    DEFAULT_CSS = """
    PlayerLine { background: $panel; }
    """

    class Sought(Message):
        """The slider was moved."""

        def __init__(self, moment: float) -> None:
            """`moment` is in seconds of play time."""
            super().__init__()
            self.moment = moment

    def __init__(self, player: Player, id: str) -> None:
        super().__init__(id=id)
        self.player = player
        self.read: float | None = 0.0
        """The part of the journal that is read, None when all of it is."""
        self._slider = (0, 0)
        """Its first column and its width."""
        self._dragged = False

    def key(self, state: RunState) -> Hashable:
        player = self.player
        column = self._column(player.now) if self._slider[1] else 0
        read = None if self.read is None else int(100 * self.read)
        return (read, player.playing, player.position, int(player.now), column, player.speed)

    def draw(self, state: RunState, width: int, height: int) -> Content:
        player = self.player
        if self.read is not None:
            return Content.styled(f" reading the journal: {int(100 * self.read)} %", MUTED)
        if not len(player):
            return Content.styled(" nothing was recorded", MUTED)
        sign, style = ("▶", "bold $success") if player.playing else ("❚❚", "bold $warning")
        if player.at_end:
            sign, style = "■", "bold"
        whole = clock(player.duration)
        time = f"{clock(player.now):>{len(whole)}} / {whole}"
        head = f" replay {sign:<2} {time}  " if width >= 110 else f" {sign:<2} {time}  "
        speed = f"  x{player.speed:<8,g}" if width >= 110 else f" x{player.speed:<7,g}"
        room = min(48, width * 3 // 10)
        words = "end" if player.at_end else ""
        words = " · ".join(part for part in (words, player.bookmark_text) if part)
        words = words if len(words) <= room else words[: room - 1] + "…"
        self._slider = (len(head), width - len(head) - len(speed) - room - 1)
        at = head.index(sign)
        return Content.assemble(
            head[:at],
            (sign, style),
            head[at + len(sign) :],
            self._draw_slider(self._slider[1]),
            (speed, "bold $primary"),
            (f"{words:<{room}} ", ""),
        )

    def _column(self, time: float) -> int:
        """The cell of the slider that shows a moment."""
        width = self._slider[1]
        return min(width - 1, int(time / self.player.duration * width)) if self.player.duration else 0

    def _draw_slider(self, width: int) -> Content:
        player = self.player
        knob = width - 1 if player.at_end else self._column(player.now)
        shown = [max(player.bookmarks_between(*self._moments(column)), default=0) for column in range(width)]
        for least in Bookmark:  # when marks crowd the slider those that say least are left out
            if sum(map(bool, shown)) <= width // 2:
                break
            shown = [0 if kind == least else kind for kind in shown]
        parts: list[tuple[str, str]] = []
        for column, kind in enumerate(shown):
            if column == knob:
                parts.append(("●", "bold $primary"))
            elif kind:
                parts.append(SIGNS[Bookmark(kind)])
            else:
                parts.append(("━", "$primary") if column < knob else ("─", "$foreground 25%"))
        return Content.assemble(*parts)

    def _moments(self, column: int) -> tuple[float, float]:
        """The play time that a cell stands for, from and up to."""
        width, whole = self._slider[1], self.player.duration
        end = (column + 1) * whole / width if column < width - 1 else float("inf")
        return column * whole / width, end

    # --- the mouse ---

    def on_mouse_down(self, event: events.MouseDown) -> None:
        first, width = self._slider
        if self.read is None and first <= event.x < first + width:
            self._dragged = True
            self.capture_mouse()
            self._seek(event.x)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if self._dragged:
            self._seek(event.x)

    def on_mouse_up(self) -> None:
        self._dragged = False
        self.release_mouse()

    def _seek(self, x: int) -> None:
        """Go to what a column shows: its mark if it has one."""
        first, width = self._slider
        start, end = self._moments(min(width - 1, max(0, x - first)))
        mark = self.player.last_bookmark(start, end)
        self.post_message(self.Sought(start if mark is None else mark))
