"""The panels of text: the epochs, the checkpoints and what happened."""

import functools
import re
import textwrap
import time
from collections.abc import Hashable

from textual.content import Content

from tui_trainer.run.disconnect import AfterDisconnect, status_line
from tui_trainer.run.rows import CheckpointRow, EpochRow, LogRow
from tui_trainer.run.scores import figure, title
from tui_trainer.run.state import MOST_CHECKPOINTS, MOST_NOTES, RunState
from tui_trainer.text import ago, clean, fixed, number, size, span
from tui_trainer.ui.widgets.panel import MUTED, ListPanel, to_come


class EpochTable(ListPanel):
    """A row per epoch; the best one is starred. The frame says which rows a very long run leaves out."""

    TITLE = "epochs"

    def key(self, state: RunState) -> Hashable:
        newest = state.epochs[-1] if state.epochs else None
        return (len(state.epochs), newest, state.best, state.main, state.thinned_until, self._up, state.is_over)

    def rows(self, state: RunState) -> list[EpochRow]:
        return state.epochs

    def empty(self, state: RunState) -> str:
        return to_come(state, "after the first epoch")

    def head(self, state: RunState, width: int) -> Content | None:
        places, wide, name = places_of(state), score_width(state), title(state.main.name)
        self.retitle(f" · every {state.epoch_stride:,}th until {state.thinned_until:,}" if state.thinned_until else "")
        return Content.styled(
            f"{'#':>{places}} {'train':>8} {'valid':>8} {name:>{wide}}   {'lr':>9} {'time':>7}"[:width], MUTED
        )

    def lines(self, row: EpochRow, state: RunState, width: int) -> list[Content]:
        best = state.best is not None and row.epoch == state.best.epoch
        score = f"{figure(row.score, state.main):>{score_width(state)}}"
        text = (
            f"{row.epoch:>{places_of(state)}} {fixed(row.train_loss):>8} {fixed(row.valid_loss):>8} "
            f"{score} {'★' if best else ' '} {number(row.lr, 3):>9} {span(row.seconds):>7}"
        )
        return [Content.styled(text[:width], "bold $success" if best else "")]


def places_of(state: RunState) -> int:
    """Digits of the newest epoch's number, four at least."""
    return max(4, len(str(state.epochs[-1].epoch))) if state.epochs else 4


def score_width(state: RunState) -> int:
    """Cells of the column of results."""
    return max(10, len(title(state.main.name)))


class CheckpointLog(ListPanel):
    """The files a resume or an export can use: kind, epoch, score, size, path; and whether one may leave."""

    TITLE = "checkpoints"
    after_disconnect = AfterDisconnect()
    """What becomes of the run when its user leaves."""

    @property
    def _now(self) -> float:
        return time.time() if self.at is None else self.at

    def key(self, state: RunState) -> Hashable:
        newest = max((row.at for row in state.checkpoints.values()), default=0.0)
        minute = 0 if state.is_over else int((self._now - newest) / 5)
        return (newest, len(state.checkpoints), minute, self._up, state.is_over, state.step, self.after_disconnect)

    def rows(self, state: RunState) -> list[CheckpointRow]:
        style, words = status_line(state, self.after_disconnect, time.time()) if self.at is None else ("", "")
        while len(words) > self.content_size.width - 4 and " · " in words:
            words = words.rpartition(" · ")[0]
        newest = f" · newest {MOST_CHECKPOINTS}" if len(state.checkpoints) == MOST_CHECKPOINTS else ""
        self.retitle(newest, Content.styled(words, LEVELS[style]) if words else "")
        order = {"epoch": 0, "last": 1, "best": 2}
        return sorted(state.checkpoints.values(), key=lambda row: (order.get(row.kind, 0), row.step))

    def empty(self, state: RunState) -> str:
        return to_come(state, "after the first epoch, or with c" if self.at is None else "after the first epoch")

    def lines(self, row: CheckpointRow, state: RunState, width: int) -> list[Content]:
        where = f"epoch {row.epoch}"
        score = f"loss {fixed(row.score)}" if row.score is not None else f"step {row.step:,}"
        when = time.strftime("%H:%M:%S", time.localtime(row.at)) if state.is_over else ago(self._now - row.at)
        text = (
            f"{'★' if row.kind == 'best' else ' '} {clean(row.kind, 8):<5} {where:<9} {score:<12} {size(row.bytes):>8}"
        )
        tail = f"  {clean(row.path, 60)}  {when}"
        text += tail if len(text) + len(tail) <= width else f"  {clean(row.path, 60).split('/')[-1]}"
        return [Content.styled(text[:width], "bold $success" if row.kind == "best" else "")]


LEVELS = {"info": "", "good": "$success", "warning": "$warning", "error": "bold $error"}


class EventLog(ListPanel):
    """What happened, newest last."""

    TITLE = "events"

    def key(self, state: RunState) -> Hashable:
        return (len(state.log), state.log[-1] if state.log else None, self._up)

    def rows(self, state: RunState) -> list[LogRow]:
        self.retitle(f" · newest {MOST_NOTES}" if len(state.log) == MOST_NOTES else "")
        return list(state.log)

    def height_of(self, row: LogRow, width: int) -> int:
        return len(wrapped(row.text, width - 10))

    def lines(self, row: LogRow, state: RunState, width: int) -> list[Content]:
        at = time.strftime("%H:%M:%S", time.localtime(row.at))
        return [
            Content.assemble((f"{' ' * 8 if index else at}  ", MUTED), (line, LEVELS[row.level]))
            for index, line in enumerate(wrapped(row.text, width - 10))
        ]


_PERCENT = re.compile(r"(?<=\d) %")


@functools.lru_cache(maxsize=2 * MOST_NOTES)
def wrapped(text: str, room: int) -> tuple[str, ...]:
    """Foreign text made harmless, on lines of `room` characters."""
    joined = _PERCENT.sub("\u00a0%", clean(text, 500))
    return tuple(line.replace("\u00a0", " ") for line in textwrap.wrap(joined, max(10, room))) or ("",)
