"""Curves over steps in character cells. The only file that imports plotext, which is not thread-safe."""

import math
import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import plotext
from textual.content import Content

from tui_trainer.run.scores import figure, title
from tui_trainer.run.series import Series
from tui_trainer.run.state import RunState
from tui_trainer.text import clean, fixed
from tui_trainer.ui.widgets.panel import MUTED, Panel, to_come

MOST = 1e100
"""What is beyond cannot be drawn: the length of an axis must be a number too."""
_STYLED = re.compile(r"\x1b\[38;5;(\d+)m([^\x1b]*)|\x1b\[0m|([^\x1b]+)")
STYLES = {
    1: "$primary",
    2: "$secondary",
    3: "$warning",
    4: "$success",
    5: "$foreground",
    6: "$error",
    7: "$warning-darken-2",
    8: "$foreground 50%",
}
"""The colours of curves by number: one is for training, two for validation, all eight for runs side by side."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of one line in one of the `STYLES`."""

    xs: Sequence[float]
    ys: Sequence[float]
    style: int
    points: bool = False
    """Marks in place of a line, to lie on top of one."""
    mark: str = "●"
    """What they look like: one character."""


def bucketed(series: Series, columns: int) -> tuple[list[float], list[float]]:
    """A series as at most `columns` points, each a mean over about the same weight; what is not finite is left out.

    The training loss is reported by the clock: while training is slow a report is the mean of a few batches, and
    noisier than others. A report of less than half the usual weight is joined with those after it until they weigh
    as much as usual. Where all fit, the first one stands alone: it is the loss before anything was learned.
    """
    weights = series.weights or [1.0] * len(series.xs)
    points = [point for point in zip(series.xs, series.ys, weights, strict=True) if abs(point[1]) < MOST]
    if not points:
        return [], []
    least = usual([weight for *_, weight in points])
    alone = least / 2  # what a report that is joined with none weighs at least
    if len(points) > columns:
        least = alone = max(least, sum(weight for *_, weight in points) / columns)
    xs, ys, held = [], [], 0.0
    for i, (x, y, weight) in enumerate(points):
        if not held:
            xs.append(x)
            ys.append(y)
        is_enough = weight >= alone * (1 - 1e-9) if not held else held + weight >= least * (1 - 1e-9)
        held += weight
        xs[-1] += (x - xs[-1]) * (weight / held)
        ys[-1] += (y - ys[-1]) * (weight / held)
        if is_enough or (i == 0 and len(points) <= columns):
            held = 0.0
    return xs, ys


def usual(weights: Sequence[float]) -> float:
    """The median of the weights by weight: half of all that was measured lies in points at least as heavy.

    Many light points do not lower it and one heavy point, such as one after a gap, does not raise it.
    """
    beneath, whole = 0.0, sum(weights)
    for weight in sorted(weights):
        beneath += weight
        if 2 * beneath >= whole:
            return weight
    return 0.0


def plot(
    curves: list[Curve],
    width: int,
    height: int,
    *,
    ticks: dict[float, str],
    right: float,
    log: bool = False,
    bottom: float | None = None,
) -> Content:
    """The curves in a frame of `width` by `height` cells, x from 0 to `right` with `ticks` at their places.

    `log` scales y by its logarithm and leaves out what has none; `bottom` is where y begins, else at the least value.
    """
    if log:
        curves = [logarithmic(curve) for curve in curves]
    curves = [curve for curve in curves if curve.xs]
    values = [y for curve in curves for y in curve.ys] or [0.0]
    low, high = min(values) if bottom is None else bottom, max(values)
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = low - 0.05 * (abs(low) or 1), high + 0.05 * (abs(high) or 1)
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.limitsize(False, False)
    plotext.plotsize(width, height)
    plotext.xaxes(True, False)
    plotext.yaxes(True, False)
    plotext.xlim(0, max(right, 1))
    plotext.ylim(low, high)
    for curve in curves:
        if curve.points:
            plotext.scatter(curve.xs, curve.ys, marker=curve.mark, color=curve.style)
        else:
            plotext.plot(curve.xs, curve.ys, marker="braille", color=curve.style)
    rows = max(2, min(6, (height - 1) // 3 + 1))
    marks = [low + i * (high - low) / (rows - 1) for i in range(rows)]
    values = [math.exp(mark) if log else mark for mark in marks]
    texts = [axis_number(value) for value in values]
    if len(set(texts)) < len(texts) and 10 <= (largest := max(map(abs, values))) < 999_999:
        texts = [f"{value:.{2 if largest < 1000 else 0}f}" for value in values]  # 95.46 and 95.54 are both 95.5
    plotext.yticks(marks, [f"{text:>6}" for text in texts])
    plotext.xticks(list(ticks), list(ticks.values()))
    return styled(plotext.build())


def logarithmic(curve: Curve) -> Curve:
    """The curve of the logarithms, of the points that have one."""
    kept = [(x, math.log(y)) for x, y in zip(curve.xs, curve.ys, strict=True) if y > 0]
    return Curve([x for x, _ in kept], [y for _, y in kept], curve.style, curve.points, curve.mark)


def axis_number(value: float) -> str:
    """At most six characters for an axis: `0.54`, `12.3`, `6.7e-4`, `36.2k`, `120k`, `1.5M`; seven below zero."""
    size = abs(value)
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if 9999.5 <= size < 1e12 and size >= 0.9995 * unit:
            return f"{value / unit:.3g}{letter}"
    if size and (size < 0.00095 or size >= 99_999):
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    if size < 0.1:
        return f"{value:.4f}".rstrip("0") if size else "0"
    return f"{value:.2f}" if size < 10 else f"{value:.1f}" if size < 1000 else f"{value:.0f}"


def styled(text: str) -> Content:
    """plotext's colour codes as styles of the theme."""
    parts: list[tuple[str, str]] = []
    for match in _STYLED.finditer(text.rstrip("\n")):
        if match[2]:
            parts.append((match[2], STYLES.get(int(match[1]), "")))
        elif match[3]:
            parts.append((match[3], MUTED))
    return Content.assemble(*parts)


def epoch_ticks(state: RunState, width: int, until: float) -> tuple[dict[float, str], float]:
    """Where the epochs end on the step axis, as many as fit, and the axis' right end for steps `until` there."""
    batches = state.batches or 1
    right = max(until, 1)
    shown = math.ceil(right / batches)
    right = max(right, min(shown, 1) * batches) if state.epoch <= 1 else max(right, 1)
    apart = max(6, len(str(shown)) + 2)  # cells from one number to the next
    each = max(1, math.ceil(shown * apart / max(6, width - 8)))
    for nice in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10**4, 10**5, 10**6):
        if nice >= each:
            each = nice
            break
    return {float(n * batches): str(n) for n in range(each, shown + 1, each) if n * batches <= right}, right


class LossChart(Panel):
    """Training and validation loss over steps; one point is the mean of the batches it covers."""

    TITLE = "loss"

    def __init__(self, number: int, id: str) -> None:
        super().__init__(number, id)
        self.log_scale = True

    def key(self, state: RunState) -> Hashable:
        waits_for = "" if len(state.train_curve) else (state.activity, state.is_over)
        return (
            state.step,
            state.batches,
            state.epoch,
            len(state.valid_curve),
            state.validation,
            self.log_scale,
            waits_for,
        )

    def draw(self, state: RunState, width: int, height: int) -> Content:
        legend = Content.assemble(("━ training ", "$primary"), ("━ validation", "$secondary"))
        self.retitle(mode="log y" if self.log_scale else "linear y")
        train = bucketed(state.train_curve, 2 * width)
        valid = bucketed(state.valid_curve, width)
        if not train[0] or height < 4:
            return Content.styled(waiting(state), MUTED)
        few = len(valid[0]) <= width // 3
        ticks, right = epoch_ticks(state, width, state.step)
        curves = [Curve(*valid, 2), Curve(*train, 1)] + ([Curve(*valid, 2, points=True)] if few else [])
        newest = f"  {fixed(state.loss)}"
        if state.validation:
            newest += f" / {fixed(state.validation.loss)}"
        head = Content.assemble(legend, (newest if width > 44 else "", MUTED))
        chart = plot(curves, width, height - 1, log=self.log_scale, ticks=ticks, right=right)
        return Content("\n").join([head, chart])


class ScoreChart(Panel):
    """The result over steps: the main score of each validation."""

    TITLE = "score"

    def key(self, state: RunState) -> Hashable:
        return (
            len(state.score_curve),
            state.score_curve.stride,
            state.validation,
            state.best,
            state.main,
            state.batches,
            state.is_over,
        )

    def title_of(self, state: RunState) -> str:
        return title(state.main.name)

    def draw(self, state: RunState, width: int, height: int) -> Content:
        self.retitle()
        xs, ys = bucketed(state.score_curve, width)
        if not xs or height < 4:
            return Content.styled(to_come(state, "after the first validation"), MUTED)
        ticks, right = epoch_ticks(state, width, state.score_curve.xs[-1])  # it is drawn anew when that moves
        newest = f"━ validation  {figure(ys[-1], state.main)}"
        best = f"  best {state.figure(state.best)} @ {state.best.epoch}" if state.best else ""
        head = Content.assemble((newest, "$secondary"), (best, MUTED))
        shown = [100 * y for y in ys] if state.main.unit == "percent" else ys
        curves = [Curve(xs, shown, 2)] + ([Curve(xs, shown, 2, points=True)] if len(xs) <= width // 3 else [])
        return Content("\n").join([head, plot(curves, width, height - 1, ticks=ticks, right=right)])


def waiting(state: RunState) -> str:
    """What an empty chart says."""
    if state.is_over:
        return "no step was taken"
    shown = state.activity and state.phase != "waiting"  # what is waited for stands above the panels
    return f"waiting for the first step: {clean(state.activity)}" if shown else "waiting for the first step"
