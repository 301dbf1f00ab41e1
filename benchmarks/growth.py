"""What a very long run costs: memory and refreshes over a million reports, a day's journal, opening a long recording.

    uv run benchmarks/growth.py [--reports 1000000] [--epochs 100000] [--events 100000] [--only screen|journal|open]

Nothing is trained: the events are made up, with losses that fall and jitter like real ones, and in every epoch a
validation with its confusion table, and checkpoints. They go through the real state, run screen, journal and reader.
The screen has 120 x 40 cells and no terminal. Costs are CPU time of the screen's thread.
"""

import argparse
import asyncio
import contextlib
import gc
import math
import os
import random
import resource
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from figures import Figure
from tui_trainer.cli.local_run import local_run
from tui_trainer.run.commands import Command
from tui_trainer.run.disconnect import AfterDisconnect
from tui_trainer.run.events import (
    BatchTrained,
    CheckpointSaved,
    EpochEnded,
    Evaluated,
    Event,
    Preparing,
    RunEnded,
    RunStarted,
    Warned,
)
from tui_trainer.run.events_json import rounded
from tui_trainer.run.folder import RunFolder
from tui_trainer.run.journal import Journal
from tui_trainer.run.recorded import RecordedRun
from tui_trainer.run.state import RunState
from tui_trainer.run.thinning import MOST, SHORT, report_interval, thinned
from tui_trainer.settings.schema import Settings
from tui_trainer.settings.sources import resolve
from tui_trainer.ui.app import TrainerApp
from tui_trainer.ui.screens.run.screen import RunScreen

SIZE = (120, 40)
DAY = 86_400.0
VALIDATION = 0.5
"""Seconds a made-up validation takes, checkpoints included."""
BATCH = 0.003
"""Seconds a made-up training step takes."""


# --- a run that nobody trains ----------------------------------------------------------------------------------------


def started(epochs: int) -> RunStarted:
    """The beginning of a run on images of ten classes."""
    known = {
        "settings": Settings(epochs=epochs, seed=1).model_dump(),
        "classes": ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Boot"),
        "train_examples": 54_000,
        "valid_examples": 6_000,
        "test_examples": 10_000,
        "parameters": 669_706,
        "layers": (("Flatten", "784", 0), ("Linear", "512", 401_920), ("Linear", "10", 5_130)),
        "device": "cpu, 2 threads",
        "data": "made up",
    }
    return RunStarted(**known)


def epoch_of(
    epoch: int, reports: list[int], batches: int, seconds: float, at: float, chance: random.Random
) -> Iterator[Event]:
    """One epoch: reports after these batches, validation, checkpoints. The best one comes ever more seldom."""
    began, first = at, (epoch - 1) * batches
    level = 0.1 + 2.2 / math.sqrt(1 + (first + 1) / 2000)
    for batch in reports:
        at = began + seconds * batch / batches
        yield BatchTrained(
            at=at,
            epoch=epoch,
            batch=batch,
            batches=batches,
            step=first + batch,
            loss=level * chance.uniform(0.85, 1.15),
            lr=1e-3 * (1 + math.cos(first / 1e7)) / 2,
            grad_norm=chance.uniform(0.3, 2.0),
            examples_per_second=chance.uniform(19_000, 22_000),
            data_wait=chance.uniform(0.01, 0.05),
            elapsed=at - 1_795_000_000,
        )
    step = epoch * batches
    yield Preparing(at=at, what="validation")
    wrong = [[chance.choice((0, 0, 0, 1, 3, 12, 40)) for _ in range(10)] for _ in range(10)]
    confusion = tuple(
        tuple(600 - sum(row) + row[i] if i == j else row[j] for j in range(10)) for i, row in enumerate(wrong)
    )
    accuracy = sum(confusion[i][i] for i in range(10)) / 6000
    yield Evaluated(
        at=at,
        split="valid",
        epoch=epoch,
        step=step,
        loss=level * 1.1,
        accuracy=accuracy,
        confusion=confusion,
        seconds=chance.uniform(0.4, 0.5),
    )
    kinds = ["best"] if chance.random() < 3 / (epoch + 2) else []
    kinds += ["last"] + (["epoch"] if epoch % 10 == 0 else [])
    for kind in kinds:
        yield CheckpointSaved(
            at=at,
            kind=kind,
            epoch=epoch,
            step=step,
            path=f"checkpoints/{f'epoch-{epoch}' if kind == 'epoch' else kind}.pt",
            bytes=8_040_000,
            seconds=chance.uniform(0.004, 0.02),
        )
    if epoch % 50 == 0:
        yield Warned(at=at, text="last.pt was not saved (Input/output error); the next save tries again")
    yield EpochEnded(at=at, epoch=epoch, train_loss=level, seconds=seconds + VALIDATION)


def made_up(epochs: int, reports: int) -> Iterator[Event]:
    """A run of so many epochs, with so many reports in each."""
    chance, at = random.Random(1), 1_795_000_000.0
    yield started(epochs)
    for epoch in range(1, epochs + 1):
        yield from epoch_of(epoch, [10 * n for n in range(1, reports + 1)], 10 * reports, reports * 0.2, at, chance)
        at += reports * 0.2 + VALIDATION


# --- memory and refreshes --------------------------------------------------------------------------------------------


class Silent:
    """A run that says nothing: the benchmark folds the events itself."""

    trains_here = False
    after_disconnect = AfterDisconnect()
    read_only = True
    folder = None

    def __init__(self) -> None:
        self.over = threading.Event()

    @property
    def earlier(self) -> RunState:
        """Nothing: all of it comes as events."""
        return RunState()

    def watched(self, yes: bool) -> None:
        """It asks nothing."""

    def send(self, command: Command) -> None:
        """Nobody listens."""

    def events(self) -> Iterator[Event]:
        self.over.wait()
        yield from ()


def memory() -> float:
    """Megabytes this process holds just now."""
    gc.collect()
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1e6 if sys.platform == "darwin" else most / 1e3


def fold(state: RunState, events: Iterator[Event], reports: int) -> None:
    """Take in events up to and with so many reports."""
    for event in events:
        state.apply(event)
        reports -= isinstance(event, BatchTrained)
        if not reports:
            return


async def refresh_cost(pilot: Pilot[None], screen: RunScreen, events: Iterator[Event], reports: int) -> float:
    """Milliseconds that drawing the run screen costs after so many reports, composing included; median of 25.

    With two epochs' reports every panel has something new to draw each time.
    """
    costs = []
    for _ in range(25):
        fold(screen.state, events, reports)
        began = time.thread_time()
        screen.draw_all()
        await pilot.pause()
        costs.append(time.thread_time() - began)
    return 1000 * statistics.median(costs)


async def growth(reports: int, epochs: int) -> dict[str, float]:
    """Memory (MB) and refresh cost (ms) after the first hundredth of the reports and after all, and seconds to fold."""
    app, run = TrainerApp(resolve([]), begin=local_run), Silent()
    each = reports // epochs
    events = made_up(2 * epochs, each)
    seen: dict[str, float] = {}
    async with app.run_test(size=SIZE) as pilot:
        screen = RunScreen(run)
        app.push_screen(screen)
        await pilot.pause()
        fold(screen.state, events, 1000)
        seen["early refresh"] = await refresh_cost(pilot, screen, events, 2 * each + 1)
        seen["memory at the start"] = memory()
        fold(screen.state, events, reports // 100)
        seen["refresh at the start"] = await refresh_cost(pilot, screen, events, 2 * each + 1)
        began = time.process_time()
        for _ in range(9):
            fold(screen.state, events, reports // 10)
            screen.draw_all()
            await pilot.pause()
        fold(screen.state, events, reports // 100 * 9)
        seen["seconds to fold"] = time.process_time() - began
        seen["refresh at the end"] = await refresh_cost(pilot, screen, events, 2 * each + 1)
        seen["memory at the end"] = memory()
        run.over.set()
    return seen


# --- a day's journal -------------------------------------------------------------------------------------------------


def reports(before: float, batches: int, longest: float) -> list[int]:
    """The batches of an epoch that are reported, as `Course.due` has it; `before` is how long the run has trained."""
    due, mark = [1] if not before else [], 0.0
    while True:
        interval = report_interval(before + mark, longest)
        if batches * BATCH - mark < SHORT * interval:
            return [*due, batches]
        mark += BATCH * math.ceil(interval / BATCH)
        due.append(round(mark / BATCH))


def day(epoch_seconds: float, longest: float) -> Iterator[Event]:
    """The events of 24 hours of training in epochs of `epoch_seconds`, reported by the clock."""
    chance, elapsed, epoch = random.Random(1), 0.0, 0
    batches = max(2, round((epoch_seconds - VALIDATION) / BATCH))
    yield started(round(DAY / epoch_seconds))
    while elapsed < DAY:
        epoch += 1
        due, at = reports(elapsed, batches, longest), 1_795_000_000 + elapsed + chance.uniform(0.0, 0.01)
        yield from epoch_of(epoch, due, batches, batches * BATCH, at, chance)
        elapsed += batches * BATCH + VALIDATION


def as_told(events: Iterator[Event]) -> Iterator[Event]:
    """The events as `LocalRun` gives them to the journal."""
    state = RunState()
    for event in thinned(events, state):
        state.apply(event)
        yield rounded(event)


def journal_bytes(events: Iterator[Event]) -> tuple[int, int]:
    """How many bytes and lines these events are on disk."""
    with tempfile.TemporaryDirectory() as folder:
        path, lines = Path(folder) / "events.jsonl", 0
        with contextlib.closing(Journal(path)) as journal:
            for event in as_told(events):
                journal.append(event)
                lines += 1
        return path.stat().st_size, lines


# --- opening a long recording ----------------------------------------------------------------------------------------


def record(folder: Path, count: int) -> RunFolder:
    """A folder with a run of so many events that has ended."""
    recorded = RunFolder.create(Settings(output_dir=str(folder)))
    with contextlib.closing(Journal(recorded.journal)) as journal:
        events = as_told(made_up(count, 30))
        for _ in range(count - 1):
            journal.append(next(events))
        ended: dict[str, Any] = {"reason": "stopped", "error": None, "exit_code": 0, "seconds": DAY}
        journal.append(RunEnded(**ended, best_epoch=None, best_loss=None, best_accuracy=None))
    return recorded


async def opening(recorded: RunFolder) -> tuple[float, float]:
    """Seconds from the moment the run screen is asked for to its whole picture, and the longest time without an answer.

    The screen has no answer for a key while its thread is busy: that is how late a clock of 10 ms ticks there.
    """
    gc.collect()  # a program has one app, and no screens of earlier ones to look through
    app = TrainerApp(resolve([]), begin=local_run)
    late = 0.0
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        screen = RunScreen(RecordedRun(recorded))
        began = last = time.monotonic()
        app.push_screen(screen)
        while True:
            await asyncio.sleep(0.01)
            now = time.monotonic()
            late, last = max(late, now - last - 0.01), now
            if screen.state.is_over:
                await pilot.pause()
                strips = app.screen._compositor.render_strips(app.size)
                picture = "\n".join(strip.text for strip in strips)
                if "■ stopped" in picture and "━ training" in picture:
                    return time.monotonic() - began, late


# --- figures ---------------------------------------------------------------------------------------------------------


def screen_figures(reports: int, epochs: int) -> list[Figure]:
    seen = asyncio.run(growth(reports, epochs))
    start, end = seen["refresh at the start"], seen["refresh at the end"]
    grown = seen["memory at the end"] - seen["memory at the start"]
    what = f"{reports:,} reports, {epochs:,} epochs"
    return [
        Figure(f"memory growth over {what}", grown, "MB", "under 20", "resident, run screen open at 120x40"),
        Figure("refresh at the end against the start", end / start, "", "within 0.8 to 1.2", "after 1 % and after all"),
        Figure("refresh after 1 % of the reports", start, "ms", "", "CPU, all of the screen drawn"),
        Figure("refresh after all reports", end, "ms", ""),
        Figure("refresh after 1,000 reports", seen["early refresh"], "ms", "", "panels not yet full"),
        Figure("folding all reports", seen["seconds to fold"], "s", "", "CPU, with making them up"),
    ]


def journal_figures(quick: bool, longest: float) -> list[Figure]:
    figures = []
    for seconds in (60.0,) if quick else (600.0, 60.0, 20.0, 10.0, 5.0):
        size, lines = journal_bytes(day(seconds, longest))
        note = f"{lines:,} lines, {size / lines:.0f} bytes each, a report every {longest:g} s at the longest"
        figures.append(Figure(f"a day's journal, epochs of {seconds:g} s", size / 1e6, "MB", "under 15", note))
    return figures


def opening_figures(count: int, times: int) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        recorded = record(Path(folder), count)
        opened, late = zip(*(asyncio.run(opening(recorded)) for _ in range(times)), strict=True)
        began = time.process_time()
        state = RunState()
        for event in RecordedRun(recorded).events():
            state.apply(event)
        folding = time.process_time() - began
    note = f"to the first whole picture, median of {times}"
    return [
        Figure(f"opening {count:,} events", statistics.median(opened), "s", "about 1", note, min(opened), max(opened)),
        Figure("of which reading and folding", folding, "s", "", "CPU, without a screen"),
        Figure("longest time without an answer while it opens", 1000 * statistics.median(late), "ms", ""),
    ]


def measure(quick: bool) -> list[Figure]:
    """All figures; quick is a tenth of the reports and one length of epoch."""
    reports = 100_000 if quick else 1_000_000
    return [
        *screen_figures(reports, reports // 10),
        *journal_figures(quick, MOST),
        *opening_figures(100_000, 1 if quick else 5),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reports", type=int, default=1_000_000)
    parser.add_argument("--epochs", type=int, default=100_000)
    parser.add_argument("--events", type=int, default=100_000, help="in the folder that is opened")
    parser.add_argument("--interval", type=float, default=MOST, help="the longest time between two reports, seconds")
    parser.add_argument("--only", choices=["screen", "journal", "open"], help="measure one part")
    options = parser.parse_args()
    parts = {
        "screen": lambda: screen_figures(options.reports, options.epochs),
        "journal": lambda: journal_figures(False, options.interval),
        "open": lambda: opening_figures(options.events, 5),
    }
    for name, part in parts.items():
        if options.only in (None, name):
            for figure in part():
                print(figure, f"   ({figure.note})" if figure.note else "", flush=True)


if __name__ == "__main__":
    main()
