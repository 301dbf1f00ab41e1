"""Runs side by side: the settings that differ, what came out, and their curves over steps or time."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tui_trainer.errors import UsageError
from tui_trainer.run import scores
from tui_trainer.run.events import BatchTrained, Event, RunStarted, Score
from tui_trainer.run.folder import RunFolder
from tui_trainer.run.journal import follow
from tui_trainer.run.series import Series
from tui_trainer.run.state import RunState
from tui_trainer.runs.listing import Summary, summarise
from tui_trainer.settings.schema import FIELDS
from tui_trainer.settings.writing import as_text
from tui_trainer.text import clean, clock, fixed, number

MOST = 8
"""Runs that are told apart side by side."""
LETTERS = "ABCDEFGH"
"""What each run is called there, so that no curve is known by its colour alone."""
VALIDATION, TRAINING = "validation loss", "training loss"
"""The curves that every run has, beside that of its result."""


_DAY = re.compile(r"^…?\d{4}-\d\d-\d\dT")


def to_compare(folders: Sequence[RunFolder]) -> list[Summary]:
    """The summaries of runs that are to be compared, each once.

    Raises:
        UsageError: they are too few or too many.
    """
    paths = list(dict.fromkeys(os.path.realpath(folder.path) for folder in folders))
    if not 2 <= len(paths) <= MOST:
        raise UsageError(f"Choose from 2 to {MOST} runs to compare; there are {len(paths)} here.")
    first = {os.path.realpath(folder.path): folder for folder in reversed(folders)}
    return [summary for path in paths if (summary := summarise(first[path].path)) is not None]


def figures(runs: Sequence[Summary]) -> dict[str, tuple[str, ...]]:
    """What came out of each run, as text: its result, the loss, the other scores, how long it took."""
    measured = list(dict.fromkeys(score for run in runs for score in run.scores))[: scores.MOST]
    mains = [score for score in measured if any(run.main == score for run in runs)]

    def best(score: Score) -> tuple[str, ...]:
        return tuple(scores.figure(run.best(score.name), score) for run in runs)

    def each(text: Callable[[Summary], str]) -> tuple[str, ...]:
        return tuple(text(run) for run in runs)

    found = {"state": each(lambda run: run.state.replace("_", " "))}
    found |= {f"best {scores.title(score.name)}": best(score) for score in mains}
    found["best loss"] = each(lambda run: fixed(run.best_loss))
    found |= {f"best {scores.title(score.name)}": best(score) for score in measured if score not in mains}
    found["best epoch"] = each(lambda run: f"{number(run.best_epoch)} of {run.epochs}" if run.best_epoch else "-")
    for score in mains:
        found[f"test {scores.title(score.name)}"] = tuple(scores.figure(run.tested(score.name), score) for run in runs)
    return found | {
        "steps": each(lambda run: f"{run.step:,}"),
        "time": each(lambda run: clock(run.seconds)),
        "parameters": each(lambda run: f"{run.parameters:,}" if run.parameters else "-"),
        "device": each(lambda run: run.device.split(",")[0] or "-"),
    }


def differing(runs: Sequence[Summary]) -> dict[str, tuple[str, ...]]:
    """The settings that are not alike in all runs, each with what it is in each, as text made harmless.

    A run of an older program lacks some: there they were what is the default now. Of one that cannot be read, nothing
    is known.
    """
    found: dict[str, tuple[str, ...]] = {}
    for name in sorted(FIELDS, key=lambda n: n == "seed"):  # it differs nearly always, and tells least
        values = [run.settings.get(name, FIELDS[name].default) if run.settings else None for run in runs]
        texts = tuple(clean(as_text(value) or "-", 60) for value in values)
        known = {text for text, run in zip(texts, runs, strict=True) if run.settings}
        if name != "name" and len(known) > 1:
            found[name] = texts
    return found


def short_names(names: Sequence[str], width: int) -> list[str]:
    """Names cut to `width` letters, without what all begin or end with, and without the day: `…14-02-11-mlp…`."""
    first, last = min(names), max(names)
    if max(map(len, names)) <= width or first == last:
        return [name if len(name) <= width else name[: max(0, width - 1)] + "…" for name in names]
    begin = _alike(first, last, "-_.T")
    backwards = [name[begin:][::-1] for name in names]
    end = _alike(min(backwards), max(backwards), "-_.")
    shown = [("…" if begin else "") + (name[begin : len(name) - end] or "…") for name in names]
    shown = [_DAY.sub("…", name) if len(name) > width else name for name in shown]
    return [name if len(name) <= width else name[: max(0, width - 1)] + "…" for name in shown]


def _alike(first: str, last: str, ends: str) -> int:
    """How many letters both begin with, up to and with the last one of `ends`."""
    count = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return max((i + 1 for i, letter in enumerate(first[:count]) if letter in ends), default=0)


@dataclass(frozen=True, slots=True)
class Line:
    """A curve: values by step, and how long the run had trained by then, in seconds."""

    steps: tuple[float, ...] = ()
    times: tuple[float, ...] = ()
    values: tuple[float, ...] = ()
    score: Score | None = None
    """What the values are of; None for a loss."""
    weights: tuple[float, ...] = ()
    """What each value is a mean over, such as batches; empty where all weigh the same."""


class Curves:
    """The curves of a run, read on as its journal grows. For one thread at a time."""

    def __init__(self, folder: RunFolder) -> None:
        self._path = folder.journal
        self._place = 0
        """The byte to read on from."""
        self._state = RunState()
        self._clock = Series()
        """Seconds by step."""

    def read(self) -> dict[str, Line]:
        """The lines as they are now, of the losses and of the run's result by its name; empty when unreadable."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._place)
                for event in follow(file):
                    self._take(event)
                self._place = file.tell()
        except OSError:
            pass  # what was read before is still true
        state = self._state
        found = {VALIDATION: self._line(state.valid_curve), TRAINING: self._line(state.train_curve)}
        if state.main.name == "loss":
            return found
        return found | {scores.title(state.main.name): self._line(state.score_curve, state.main)}

    def _take(self, event: Event) -> None:
        if isinstance(event, RunStarted) and event.resumed_from is not None:
            self._clock.cut(event.step)
        if isinstance(event, BatchTrained):
            if event.step <= self._state.step:
                self._clock.cut(event.step - 1)
            self._clock.add(event.step, event.elapsed)
        self._state.apply(event)

    def _line(self, curve: Series, score: Score | None = None) -> Line:
        times = tuple(interpolated(self._clock.xs, self._clock.ys, curve.xs))
        return Line(tuple(curve.xs), times, tuple(curve.ys), score, tuple(curve.weights))


def interpolated(xs: Sequence[float], ys: Sequence[float], at: Sequence[float]) -> list[float]:
    """y at each of the rising places `at`, on straight lines between the points; beyond the ends as at the ends."""
    found: list[float] = []
    i = 0
    for x in at:
        while i < len(xs) and xs[i] < x:
            i += 1
        if not xs:
            found.append(0.0)
        elif i == 0 or i == len(xs):
            found.append(ys[min(i, len(xs) - 1)])
        else:
            share = (x - xs[i - 1]) / (xs[i] - xs[i - 1])
            found.append(ys[i - 1] + share * (ys[i] - ys[i - 1]))
    return found
