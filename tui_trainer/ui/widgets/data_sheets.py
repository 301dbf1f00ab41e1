"""What there is in a data set: facts, classes with bars, columns, histograms, rows."""

import math

from textual.content import Content

from tui_trainer.outlook.preview.facts import DataFacts, Histogram
from tui_trainer.text import clean, number, size
from tui_trainer.ui.widgets.header import BLOCKS
from tui_trainer.ui.widgets.panel import MUTED
from tui_trainer.ui.widgets.sheet import ListSheet, Sheet, cut, labelled

UNEVEN = 1.5
"""Times as many examples as the rarest class has: from there on classes are not called balanced."""


def balance(facts: DataFacts) -> tuple[str, str]:
    """How evenly the training examples are spread over the classes, and the style to say it in."""
    counts = facts.splits[0].counts if facts.splits else ()
    if len(counts) != len(facts.classes) or not counts or facts.kind == "share":
        return "", ""
    if facts.balanced:
        return "each class is drawn equally often, as sampler says", ""
    most, least = max(counts), min(counts)
    what = "label" if facts.kind == "labels" else "class"
    names = {n: clean(facts.classes[counts.index(n)], 30) for n in (most, least)}
    if least <= 0:
        none = sum(n <= 0 for n in counts)
        many = f"{none:,} {what}{'es' if what == 'class' else 's'} have" if none > 1 else f"{names[least]} has"
        return f"{many} no training example", "$text-warning"
    if most / least < UNEVEN:
        same = f"{number(least)} of each" if most == least else f"{number(least)} to {number(most)} of each"
        return f"balanced, {same}", ""
    text = f"{names[most]} has {number(most / least, 2)} times the examples of {names[least]}"
    return f"{text} ({number(most)} : {number(least)})", "$text-warning"


class Facts(Sheet):
    """Name, source, counts, shape, range: a line each."""

    facts: DataFacts | None = None

    def show(self, facts: DataFacts | None) -> None:
        self.facts = facts
        self.refresh(layout=True)

    def rows(self) -> list[tuple[str, str, str]]:
        """Label, words and style of each."""
        f = self.facts
        if f is None:
            return []
        shape = " x ".join(str(n) for n in f.shape)
        words = {1: f"{shape} numbers a row", 3: f"images {shape}"}.get(len(f.shape), f"values {shape}")
        kinds = {"class": "classes", "labels": "labels", "number": "numbers", "share": "shares of classes"}
        predicted = kinds.get(f.kind, f.kind)
        if len(f.classes) == 1:
            predicted = f"{predicted.rstrip('s') if f.kind != 'class' else 'class'}: {clean(f.classes[0], 60)}"
        else:
            predicted = f"{len(f.classes):,} {predicted}"
        kept = "bytes given as 0 to 1" if f.kept == "uint8" else f.kept
        measured = f.looked_at < f.splits[0].examples if f.splits else False
        rows = [
            ("data", f.name, "bold"),
            ("source", f.source.removeprefix(f.name).strip() or f.source, ""),
            ("examples", " · ".join(f"{s.examples:,} {s.name}" for s in f.splits), ""),
            ("inputs", f"{words} · {size(f.bytes)}", ""),
            ("values", f"{number(f.low)} to {number(f.high)}, {kept}", ""),
            ("", f"mean {number(f.mean, 3)} ± {number(f.std, 3)}", ""),
            ("normalised", f.normalised or "no", ""),
            ("augmented", f.changes or "no", ""),
            ("predicted", predicted, ""),
        ]
        if measured:
            rows[5] = ("", f"{rows[5][1]}, of {f.looked_at:,}", "")
        text, style = balance(f)
        return [*rows[:3], ("balance", text, style), *rows[3:]] if text else rows

    def lines(self, width: int, height: int) -> list[Content]:
        self.border_title = Content("data")
        return labelled(self.rows(), width)


class ClassList(ListSheet):
    """A class or label a row: a bar and its examples in each split."""

    CHOOSES = True
    facts: DataFacts | None = None
    only: int | None = None
    """The one that alone is shown in pictures."""

    def show(self, facts: DataFacts | None) -> None:
        self.facts, self.cursor, self.top, self.only = facts, 0, 0, None
        self.border_title = Content({"labels": "labels"}.get(facts.kind if facts else "", "classes"))
        self.place()

    @property
    def count(self) -> int:
        return len(self.facts.classes) if self.facts else 0

    def _widths(self, width: int) -> tuple[int, int, list[int]]:
        """Cells of the name, of the bar, and of the counts of each split."""
        f = self.facts
        assert f is not None
        numbers = [max(len(s.name), *(len(number(n)) for n in s.counts)) + 2 for s in f.splits if s.counts]
        rest = max(8, width - sum(numbers))
        longest = max((len(clean(name, 40)) for name in f.classes), default=5)
        name = min(max(5, longest), max(6, rest - 9), 24)
        return name, max(0, min(24, rest - name - 1)), numbers

    def head(self, width: int) -> list[Content]:
        if self.facts is None or not self.count:
            return []
        name, bar, numbers = self._widths(width)
        what = "label" if self.facts.kind == "labels" else "class"
        names = [s.name for s in self.facts.splits if s.counts]
        text = f"{what:<{name}} {'':<{bar}}" + "".join(f"{n:>{w}}" for n, w in zip(names, numbers, strict=True))
        return [Content.styled(text[:width], MUTED)]

    def row(self, index: int, width: int) -> Content:
        f = self.facts
        assert f is not None
        name, room, numbers = self._widths(width)
        splits = [s for s in f.splits if s.counts]
        most = max((max(s.counts) for s in splits[:1]), default=0) or 1
        count = splits[0].counts[index] if splits else 0
        figures = [s.counts[index] if index < len(s.counts) else 0 for s in splits]
        counts = "".join(f"{number(n):>{w}}" for n, w in zip(figures, numbers, strict=True))
        style = "bold $secondary" if index == self.only else ""
        return Content.assemble(
            (cut(f.classes[index], name), style), " ", bar(count / most, room, "$primary"), (counts, style)
        )


class ColumnList(ListSheet):
    """A column of a table a row, and the first rows beneath where there is room."""

    facts: DataFacts | None = None

    def show(self, facts: DataFacts | None) -> None:
        self.facts, self.top = facts, 0
        self.border_title = Content(f"columns{_of(facts)}")
        self.place()

    @property
    def count(self) -> int:
        return len(self.facts.columns) if self.facts else 0

    def head(self, width: int) -> list[Content]:
        text = f"{'column':<{self._name_width(width)}}{'min':>11}{'mean':>11}{'max':>11}{'missing':>9}"
        return [Content.styled(text[:width], MUTED)]

    def _name_width(self, width: int) -> int:
        return max(8, min(40, width - 42))

    def row(self, index: int, width: int) -> Content:
        assert self.facts is not None
        column = self.facts.columns[index]
        figures = "".join(f"{number(n):>11}" for n in (column.low, column.mean, column.high))
        if column.values:
            figures = f"  {cut(column.values, 31)}"
        missing = (f"{column.missing:>9,}", "$text-warning" if column.missing else MUTED)
        return Content.assemble(cut(column.name, self._name_width(width)), figures, missing)


def _of(facts: DataFacts | None) -> str:
    return f" · of {facts.looked_at:,} training rows" if facts and facts.columns else ""


class RowList(ListSheet):
    """The first training rows, with as many columns as fit."""

    facts: DataFacts | None = None

    def show(self, facts: DataFacts | None) -> None:
        self.facts, self.top = facts, 0
        self.place()

    @property
    def count(self) -> int:
        return len(self.facts.rows) if self.facts else 0

    def _shown(self, width: int) -> int:
        return max(1, min(len(self.facts.columns) if self.facts else 1, (width - 16) // 12))

    def head(self, width: int) -> list[Content]:
        if self.facts is None:
            return []
        shown = self._shown(width)
        more = len(self.facts.columns) - shown
        self.border_title = Content(f"rows{f' · the first {shown} of {shown + more} columns' if more > 0 else ''}")
        names = "".join(f"{cut(c.name, 10).strip():>10}  " for c in self.facts.columns[:shown])
        return [Content.styled(f"{cut('predicted', 14)}  {names}", MUTED)]

    def row(self, index: int, width: int) -> Content:
        assert self.facts is not None
        row = self.facts.rows[index]
        values = "".join(f"{cut(word, 10).strip():>10}  " for word in row.values[: self._shown(width)])
        return Content.assemble((cut(row.target, 14), "bold"), "  ", values)


class Histograms(Sheet):
    """How the numbers to be predicted are spread."""

    facts: DataFacts | None = None

    def show(self, facts: DataFacts | None) -> None:
        self.facts = facts
        self.border_title = Content("to be predicted")
        self.refresh()

    def lines(self, width: int, height: int) -> list[Content]:
        if self.facts is None or not self.facts.targets:
            return []
        targets = self.facts.targets
        each = max(3, height // len(targets))
        lines: list[Content] = []
        for target in targets[: max(1, height // each)]:
            lines += histogram(target, width, each)[:each]
        return lines


def histogram(target: Histogram, width: int, height: int) -> list[Content]:
    """Columns as high as the bins are full, in `height` lines: a name above them, the ends of the range beneath."""
    tall = max(1, min(8, height - 3))
    wide = max(1, min(4, width // max(1, len(target.bins))))
    most = max((*target.bins, 1))
    levels = [math.ceil(8 * tall * n / most) for n in target.bins]
    name = f"{clean(target.name, 40)}  mean {number(target.mean)}"
    lines = [Content.styled(cut(name, width), "bold")]
    for line in reversed(range(tall)):
        cells = [min(8, max(0, level - 8 * line)) for level in levels]
        text = "".join((BLOCKS[cell - 1] if cell else " ") * wide for cell in cells)
        lines.append(Content.styled(text[:width], "$primary"))
    low, high = number(target.low), number(target.high)
    across = min(width, wide * len(target.bins))
    return [*lines, Content.styled(low + high.rjust(max(1, across - len(low))), MUTED), Content("")]


def bar(fraction: float, width: int, style: str) -> Content:
    """A bar of at most `width` cells in half-cell steps; what there is at all is seen."""
    halves = round(max(0.0, min(1.0, fraction)) * width * 2)
    full, half = divmod(max(halves, 1 if fraction > 0 and width else 0), 2)
    return Content.styled(("━" * full + "╸" * half).ljust(width), style)
