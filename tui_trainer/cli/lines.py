"""The events of a run as lines or as JSON: a line at least every `QUIET` seconds, escape codes only in a terminal."""

import sys
import time
from collections.abc import Callable
from functools import partial

from rich.text import Text

from tui_trainer.cli.console import PipeConsole
from tui_trainer.run.events import (
    BatchTrained,
    CheckpointSaved,
    EpochEnded,
    Evaluated,
    Event,
    LearningRateChanged,
    Preparing,
    RunEnded,
    RunHandedOver,
    RunPaused,
    RunResumed,
    RunStarted,
    Warned,
)
from tui_trainer.run.events_json import to_json
from tui_trainer.run.interface import Run
from tui_trainer.run.resume import summary_lines
from tui_trainer.run.scores import figure, title
from tui_trainer.run.state import RunState, by
from tui_trainer.text import clean, clean_lines, clock, fixed, number, size, span

QUIET = 30.0
"""Seconds after which a run that has printed nothing says where it is."""

MOST_LAYERS = 20
"""Of a model with more layers only their number is printed."""


class JsonPrinter:
    """One event a line on stdout; warnings and errors on stderr for people too."""

    def __init__(self, run: Run | None = None) -> None:
        self.state = run.earlier if run else RunState()

    def show(self, event: Event) -> None:
        self.state.apply(event)
        print(to_json(event), flush=True)
        if isinstance(event, Warned):
            print(f"warning: {clean(event.text, 500)}", file=sys.stderr)
        if isinstance(event, RunEnded) and event.error:
            print(clean_lines(event.error), file=sys.stderr)


class LinePrinter:
    """A table row per epoch, a progress line when nothing was printed for a while, and a summary."""

    ROW = "{epoch:>9}  {train:>10}  {valid:>10}  {score:>{wide}}  {lr:>9}  {time:>7}  {speed:>16}"

    def __init__(self, run: Run | None) -> None:
        self._run = run
        self.state = run.earlier if run else RunState()
        self._out, self._err = (
            PipeConsole(file=file, force_terminal=bool(file and file.isatty()), highlight=False, soft_wrap=True)
            for file in (sys.stdout, sys.stderr)
        )
        self._live = self._out.is_terminal and not self._out.is_dumb_terminal
        """A progress line may be rewritten in place."""
        self._last = self._drawn = time.monotonic()
        self._waited = False
        """What the run waits for has been printed."""
        self._wide = 8
        """Cells of the column of scores."""

    def show(self, event: Event) -> None:
        self.state.apply(event)
        shower: Callable[[], None] | None = None
        match event:
            case Preparing(what=what):
                if self.state.phase == "waiting":
                    self._progress(f"{clean(what)} ...") if self._live else self._waits(what)
                elif what not in ("validation", "test", "device", "model"):
                    self._progress(f"preparing {clean(what)} ...") if self._live else self._print_err_seldom(what)
            case RunStarted():
                shower = partial(self._started, event)
            case BatchTrained():
                self._trained()
            case EpochEnded():
                shower = self._epoch
            case LearningRateChanged():
                self._print_err(f"learning rate {number(event.lr)} ({clean(event.by, 40)})")
            case RunPaused():
                word = "parked" if event.why == "parked" else "paused"
                self._print_err(f"{word}: {clean(event.text, 500)}" if event.text else f"{word}{by(event.by)}")
            case RunResumed():
                self._print_err(f"carries on{by(event.by)}")
            case RunHandedOver():
                self._print_err("handed over to a process in the background")
            case Warned(text=text):
                self._print_err(f"warning: {clean(text, 500)}", "yellow")
            case CheckpointSaved() | Evaluated():
                pass
            case RunEnded():
                shower = self._ended
        if shower:
            self._clear_line()
            shower()
            self._last = time.monotonic()

    # --- parts ---

    def _started(self, started: RunStarted) -> None:
        s = self.state
        used = s.settings
        line = f"{used['model']} · {used['dataset']} · {used['optimizer']} {number(used['lr'])} · {s.device}"
        self._print(clean(line), "bold")
        split = f"{s.train_examples:,} train · {s.valid_examples:,} validation"
        tested = (
            f" · {s.test_examples:,} test" if s.test_examples else " (the test split)" if s.validates_on_test else ""
        )
        self._print(f"{split}{tested} · {clean(s.data)} · seed {used['seed']}")
        wide = max(len(shape) for _, shape, _ in s.layers)
        if len(s.layers) > MOST_LAYERS:
            self._print(f"  {len(s.layers)} layers", "dim")
        for name, shape, parameters in s.layers if len(s.layers) <= MOST_LAYERS else ():
            self._print(f"  {clean(name):<12} {shape:>{wide}}  {parameters:>11,}", "dim")
        self._print(f"  {'parameters':<12} {'':>{wide}}  {s.parameters:>11,}")
        if self._run and self._run.folder:
            self._print(clean(self._run.folder.path))
        if started.resumed_from is not None:
            self._print("\n" + "\n".join(summary_lines(started)))
        self._print("")
        self._wide = max(8, len(title(s.main.name)))
        head = self.ROW.format(
            epoch="epoch",
            train="train loss",
            valid="valid loss",
            score=title(s.main.name),
            wide=self._wide,
            lr="lr",
            time="time",
            speed="speed",
        )
        self._print(head, "dim")
        self._drawn = 0.0  # the first report is shown at once

    def _trained(self) -> None:
        s, now = self.state, time.monotonic()
        if self._live and now - self._drawn < 0.5:
            return
        if not self._live and now - self._last < QUIET and not self.state.settings.get("log_interval"):
            return
        _, left = s.seconds_left()
        line = (
            f"epoch {s.epoch}/{s.total_epochs}  batch {s.batch:,}/{s.batches:,}  loss {fixed(s.loss)}  "
            f"{number(s.examples_per_second)} {s.things}/s  {clock(left)} left"
        )
        self._progress(line) if self._live else self._print(line)
        self._last = now

    def _epoch(self) -> None:
        s, row = self.state, self.state.epochs[-1]
        speed = f"{number(s.examples_per_second)} {s.things}/s"
        line = self.ROW.format(
            epoch=f"{row.epoch}/{s.total_epochs}",
            train=fixed(row.train_loss),
            valid=fixed(row.valid_loss),
            score=figure(row.score, s.main),
            wide=self._wide,
            lr=number(row.lr),
            time=span(row.seconds),
            speed=speed,
        )
        best = s.best is not None and s.best.epoch == row.epoch
        self._print(line + ("  best" if best else ""), "green" if best else "")

    def _ended(self) -> None:
        s = self.state
        ended = s.ended
        assert ended is not None
        if ended.error:
            self._print_err(clean_lines(ended.error), "red")
        if not s.settings:
            return
        self._print("")
        reason = {"out_of_patience": "ended early, out of patience"}.get(ended.reason, ended.reason)
        self._print(f"{reason} after {clock(ended.seconds)} ({ended.seconds:.1f} s)", "bold")
        if s.best:
            self._print(f"best        epoch {s.best.epoch}, {s.sentence(s.best)}")
        if s.test:
            self._print(f"test        {s.sentence(s.test)}, with the best weights")
        elif s.best and s.validates_on_test:
            self._print("test        the best epoch was chosen on the test split itself, as in the tutorial")
        if self._run and self._run.folder:
            for row in s.checkpoints.values():
                if row.kind != "epoch":
                    self._print(f"{row.kind:<11} {clean(self._run.folder.path / row.path)}  {size(row.bytes)}")

    # --- printing ---

    def _print(self, line: str, style: str = "") -> None:
        self._out.print(Text(clean_lines(line), style))

    def _print_err(self, line: str, style: str = "") -> None:
        self._clear_line()
        self._err.print(Text(clean_lines(line), style))
        self._last = time.monotonic()

    def _print_err_seldom(self, what: str) -> None:
        """A step of the preparation, for a log file: not one line a chunk of a download."""
        if ":" not in what or time.monotonic() - self._last >= 5:
            self._print_err(f"preparing {clean(what)}")

    def _waits(self, what: str) -> None:
        """What the run waits for before it begins: at once, and then now and then."""
        if not self._waited or time.monotonic() - self._last >= 5:
            self._print_err(clean(what))
        self._waited = True

    def _progress(self, line: str) -> None:
        self._drawn = time.monotonic()
        self._out.file.write(f"\r\x1b[K{line[: self._out.width - 1]}")
        self._out.file.flush()

    def _clear_line(self) -> None:
        if self._live:
            self._out.file.write("\r\x1b[K")
