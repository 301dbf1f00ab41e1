"""The panels of text: the confusion table, the epochs, the checkpoints and what happened."""

import textwrap
import time
from collections.abc import Hashable

from textual.content import Content

from tui_trainer.run.events import Evaluated
from tui_trainer.run.state import RunState
from tui_trainer.text import ago, clean, clock, fixed, number, percent, size
from tui_trainer.ui.widgets.header import BLOCKS, bar
from tui_trainer.ui.widgets.panel import ListPanel, Panel


def short_names(names: tuple[str, ...], width: int) -> list[str]:
    """Names cut to `width` letters; where two would be alike, the last letter is one that tells them apart."""
    plain = [clean(name, 40).replace("-", "").replace(" ", "") or "?" for name in names]
    taken: set[str] = set()
    result = []
    for name in plain:
        options = [name[:width]] + [name[: width - 1] + letter for letter in name[width:]]
        options += [f"{name[: max(0, width - len(str(n)))]}{n}" for n in range(len(names))]
        chosen = next(option for option in options if option not in taken)
        taken.add(chosen)
        result.append(chosen)
    return result


class ConfusionTable(Panel):
    """What the model takes for what, after the newest evaluation: rows are true classes, columns predictions."""

    TITLE = "confusion"

    def __init__(self, number: int, id: str) -> None:
        super().__init__(number, id)
        self.counts = False
        """Show counts; else each row's percentages."""

    def key(self, state: RunState) -> Hashable:
        seen = state.evaluation
        return (seen and (seen.split, seen.step, seen.at), self.counts)

    def draw(self, state: RunState, width: int, height: int) -> Content:
        seen = state.evaluation
        if seen is None or not seen.confusion:
            self.retitle()
            return Content.styled("after the first validation", "$foreground 60%")
        split = "test" if seen.split == "test" else "validation"
        self.retitle(f" · {split} · epoch {seen.epoch}", "counts" if self.counts else "row %")
        names = state.classes if len(state.classes) == len(seen.confusion) else ()
        names = names or tuple(str(i) for i in range(len(seen.confusion)))
        label = min(10, max(len(clean(name, 40)) for name in names))
        recall_width = 9 if width >= label + 1 + 3 * len(names) + 9 else 0
        most = max(max(row) for row in seen.confusion)
        needed = max(3, len(str(most)) + 1) if self.counts else 4
        cell = min(7, (width - label - 1 - recall_width) // len(names))
        if recall_width:
            recall_width = min(24, width - label - 1 - cell * len(names))
        rows = height - 1
        if cell < min(needed, 3) or rows < len(names):
            return self._without_table(seen, names, height)
        tables = [self.counts]
        if not self.counts and height >= 2 * (len(names) + 2) + 2 and cell >= len(str(most)) + 1:
            tables = [False, True]  # room for both
        lines: list[Content] = []
        for counts in tables:
            spare = recall_width - 7
            totals = counts and spare >= 9 and rows >= len(names) + 1
            width_of_recall = spare if totals else recall_width
            lines += [Content("")] if lines else []
            lines.append(self._head(names, label, cell, width_of_recall, totals))
            for index, name in enumerate(names):
                lines.append(self._row(seen, index, name, label, cell, width_of_recall, totals, counts))
            if totals:
                lines.append(self._column_totals(seen, label, cell))
        left = height - len(lines)
        if left >= 1:
            lines += ([Content("")] if left >= 3 else []) + most_confused(seen, names, width, min(3, left))
        return Content("\n").join(lines[:height])

    def _head(self, names: tuple[str, ...], label: int, cell: int, recall: int, totals: bool) -> Content:
        short = short_names(names, max(2, cell - 1))
        head = " " * (label + 1) + "".join(f"{name:>{cell}}" for name in short)
        if recall:
            head += f" {'recall':<{recall - 1}}"
        if totals:
            head += f"{'total':>7}"
        return Content.styled(head, "$foreground 60%")

    def _row(self, seen: Evaluated, index: int, name: str, label: int, cell: int, recall: int, totals: bool) -> Content:
        row = seen.confusion[index]
        total = sum(row)
        shown = clean(name, 40)
        shown = shown if len(shown) <= label else shown[: label - 1] + "…"
        parts: list[tuple[str, str]] = [(f"{shown:>{label}} ", "")]
        for column, count in enumerate(row):
            share = count / total if total else 0.0
            text = str(count) if counts else f"{100 * share:.0f}"
            if len(text) >= cell:
                text = f"{count / 1000:.0f}k"
            if count == 0 or (not counts and share < 0.005):
                text = "·"
            parts.append((f"{text:>{cell - 1}} ", shade(share, right=column == index)))
        if recall:
            right = row[index] / total if total else 0.0
            cells = recall - 7
            block = bar(right, cells, "$secondary") if cells > 1 else Content(BLOCKS[min(7, int(right * 8))])
            return Content("").join(
                [
                    Content.assemble(*parts, " "),
                    block,
                    Content(f" {100 * right:>3.0f} %"),
                    Content.styled(f"{total:>7,}" if totals else "", "$foreground 60%"),
                ]
            )
        return Content.assemble(*parts)

    def _column_totals(self, seen: Evaluated, label: int, cell: int) -> Content:
        sums = [sum(row[i] for row in seen.confusion) for i in range(len(seen.confusion))]
        return Content.styled(f"{'total':>{label}} " + "".join(f"{n:>{cell - 1}} " for n in sums), "$foreground 60%")

    def _without_table(self, seen: Evaluated, names: tuple[str, ...], height: int) -> Content:
        """For a panel too small for all classes: the mistakes, most frequent first."""
        lines = [Content.styled(f"too small for {len(names)} classes; z zooms. Most confused:", "$foreground 60%")]
        lines += [Content(text) for text in pairs(seen, names, max(1, height - 1))]
        return Content("\n").join(lines[:height])


def shade(share: float, *, right: bool) -> str:
    """The background of a cell: stronger for a larger share of its row."""
    if share < 0.005:
        return "$foreground 60%"
    strength = min(70, 8 + round(share * 62))
    return f"on $secondary {strength}%" if right else f"on $warning {min(70, strength * 2)}%"


def pairs(seen: Evaluated, names: tuple[str, ...], most: int) -> list[str]:
    """The most frequent mistakes: `Shirt→T-shirt 112`."""
    found = [
        (count, true, guess)
        for true, row in enumerate(seen.confusion)
        for guess, count in enumerate(row)
        if true != guess and count
    ]
    found.sort(key=lambda item: (-item[0], item[1], item[2]))
    return [f"{clean(names[t], 40)}→{clean(names[g], 40)} {n:,}" for n, t, g in found[:most]]


def most_confused(seen: Evaluated, names: tuple[str, ...], width: int, lines: int) -> list[Content]:
    """The three most frequent mistakes on as few of `lines` lines as they fit."""
    three = pairs(seen, names, 3)
    if not three:
        return [Content.styled("no mistakes", "$success")]
    head = "most confused  "
    on_one_line = head + "  ".join(three)
    if len(on_one_line) <= width or lines == 1:
        while len(on_one_line) > width and len(three) > 1:
            three.pop()
            on_one_line = head + "  ".join(three)
        return [Content.assemble((head, "$foreground 60%"), ("  ".join(three), ""))]
    rest = [Content(" " * len(head) + text) for text in three[1:]]
    return [Content.assemble((head, "$foreground 60%"), (three[0], "")), *rest][:lines]


class EpochTable(ListPanel):
    """A row per epoch; the best one is starred."""

    TITLE = "epochs"

    def key(self, state: RunState) -> Hashable:
        return (len(state.epochs), state.epochs[-1].epoch if state.epochs else 0, state.best, self._up)

    def head(self, width: int) -> Content | None:
        return Content.styled(
            f"{'#':>4} {'train':>8} {'valid':>8} {'accuracy':>10}   {'lr':>9} {'time':>7}"[:width], "$foreground 60%"
        )

    def lines(self, state: RunState, width: int) -> list[Content]:
        if not state.epochs:
            return [Content.styled("after the first epoch", "$foreground 60%")]
        rows = []
        for row in state.epochs:
            best = state.best is not None and row.epoch == state.best.epoch
            text = (
                f"{row.epoch:>4} {fixed(row.train_loss):>8} {fixed(row.valid_loss):>8} {percent(row.accuracy):>10} "
                f"{'★' if best else ' '} {number(row.lr, 3):>9} {clock(row.seconds):>7}"
            )
            rows.append(Content.styled(text[:width], "bold $success" if best else ""))
        return rows


class CheckpointLog(ListPanel):
    """The files a resume or an export can use: kind, epoch, score, size, path."""

    TITLE = "checkpoints"

    def key(self, state: RunState) -> Hashable:
        newest = max((row.at for row in state.checkpoints.values()), default=0.0)
        minute = 0 if state.is_over else int((time.time() - newest) / 5)
        return (newest, len(state.checkpoints), minute, self._up, state.is_over)

    def lines(self, state: RunState, width: int) -> list[Content]:
        if not state.checkpoints:
            return [Content.styled("after the first epoch, or with c", "$foreground 60%")]
        order = {"epoch": 0, "last": 1, "best": 2}
        rows = []
        for row in sorted(state.checkpoints.values(), key=lambda row: (order.get(row.kind, 0), row.step)):
            where = f"epoch {row.epoch}"
            score = f"loss {fixed(row.score)}" if row.score is not None else f"step {row.step:,}"
            when = time.strftime("%H:%M:%S", time.localtime(row.at)) if state.is_over else ago(time.time() - row.at)
            text = f"{'★' if row.kind == 'best' else ' '} {row.kind:<5} {where:<9} {score:<12} {size(row.bytes):>8}"
            tail = f"  {clean(row.path, 60)}  {when}"
            text += tail if len(text) + len(tail) <= width else f"  {clean(row.path, 60).split('/')[-1]}"
            rows.append(Content.styled(text[:width], "bold $success" if row.kind == "best" else ""))
        return rows


LEVELS = {"info": "", "good": "$success", "warning": "$warning", "error": "bold $error"}


class EventLog(ListPanel):
    """What happened, newest last."""

    TITLE = "events"

    def key(self, state: RunState) -> Hashable:
        return (len(state.log), state.log[-1] if state.log else None, self._up)

    def lines(self, state: RunState, width: int) -> list[Content]:
        rows = []
        room = max(10, width - 10)
        for row in state.log:
            text = clean(row.text, 500)
            at = time.strftime("%H:%M:%S", time.localtime(row.at))
            for index, line in enumerate(textwrap.wrap(text, room) or [""]):
                mark = at if index == 0 else " " * 8
                rows.append(Content.assemble((f"{mark}  ", "$foreground 60%"), (line, LEVELS[row.level])))
        return rows
