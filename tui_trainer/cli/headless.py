"""A run without a screen: results on stdout, talk on stderr, signals as commands, the exit code that of the run."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from tui_trainer.cli.lines import JsonPrinter, LinePrinter
from tui_trainer.cli.local_run import fit
from tui_trainer.run.commands import SaveCheckpoint, Stop, Wake
from tui_trainer.run.escape_codes import escape_sequence, notify_mode
from tui_trainer.run.events import Event, RunEnded, RunHandedOver, RunStarted, Warned
from tui_trainer.run.interface import Run
from tui_trainer.run.local import preview
from tui_trainer.run.notify import notification_text
from tui_trainer.run.resume import Carried, summary_lines
from tui_trainer.run.signals import end_within_grace
from tui_trainer.run.state import RunState


def watch(run: Run, *, json: bool = False) -> int:
    """Run to the end, printing as it goes; the exit code is the run's own."""
    printer = JsonPrinter(run) if json else LinePrinter(run)
    notifies = bool(sys.stderr and sys.stderr.isatty() and os.environ.get("TERM") != "dumb")
    exit_code = 1
    with signals_as_commands(run):
        for event in run.events():
            with ignore_write_errors():
                printer.show(event)
                if notifies:
                    notify_terminal(run, event, printer.state)
            if isinstance(event, RunEnded):
                exit_code = event.exit_code
            elif isinstance(event, RunHandedOver):
                exit_code = 0
    with ignore_write_errors():
        if sys.stdout:
            sys.stdout.flush()
    return exit_code


def show_preview(carried: Carried) -> int:
    """Print what carrying a run on would begin with; nothing on the disk changes."""
    printer = LinePrinter(None)
    for event in preview(carried, fit):
        if isinstance(event, Warned):
            printer.show(event)
        elif isinstance(event, RunStarted):
            print("\n".join(summary_lines(event, carried.folder)))
        elif isinstance(event, RunEnded):
            return event.exit_code
    return 0


@contextmanager
def ignore_write_errors() -> Iterator[None]:
    """A broken pipe, a closed terminal or a full disk costs the output and not the training."""
    try:
        yield
    except OSError:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                _silence(stream)


@contextmanager
def signals_as_commands(run: Run) -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP ask the run to save and end. A second SIGINT ends the process at once."""

    asked = False

    def say(line: bytes) -> None:
        with suppress(OSError):  # the terminal may be what has gone
            os.write(2, line)

    def ask(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            say(b"\nended at once; the last checkpoint is as it was\n")
            os._exit(128 + number)
        first, asked = not asked, True  # before anything is said: the next Ctrl-C may come in the middle of it
        if first:
            say(b"\nsaving, then ending (Ctrl-C again ends at once)\n")
        run.send(Stop(signal=number))
        end_within_grace(number)

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup
        numbers.append(signal.SIGHUP)
    before = [signal.signal(number, ask) for number in numbers]
    numbers += [signal.SIGUSR1, signal.SIGCONT]
    before.append(signal.signal(signal.SIGUSR1, lambda *_: run.send(SaveCheckpoint())))
    before.append(signal.signal(signal.SIGCONT, lambda *_: run.send(Wake())))
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _silence(stream: object) -> None:
    """Send what is still written to a stream whose reader has gone to nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())  # type: ignore[attr-defined]
    os.close(nowhere)


def notify_terminal(run: Run, event: Event, state: RunState) -> None:
    """Let the terminal that stderr is notify its user, when `event` is worth it; `state` is that after the event."""
    if (text := notification_text(event, state)) and run.folder:
        sys.stderr.write(escape_sequence(notify_mode(run, state), run.folder.path.name, text))
        sys.stderr.flush()
