"""The app from its first screen until its run has ended: signals, a lost terminal, a fault, the last lines."""

import os
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

from tui_trainer.run.commands import Continue, SaveCheckpoint, Stop, Wake
from tui_trainer.run.events import RunEnded
from tui_trainer.run.feed import Feed
from tui_trainer.run.folder import RunFolder
from tui_trainer.run.recorded import RecordedRun
from tui_trainer.run.signals import end_within_grace
from tui_trainer.text import clean, clean_lines
from tui_trainer.ui.app import TrainerApp
from tui_trainer.ui.terminal import driver as terminal


def show(app: TrainerApp) -> int:
    """Run the app, then wait for the run it leaves behind; the exit code is that of the run, 0 without one.

    A terminal that goes away ends the screen only. SIGTERM and SIGINT save and end, as without a screen.
    """
    for name in ("TEXTUAL_DRIVER", "TEXTUAL_DEVTOOLS_HOST", "TEXTUAL_DEVTOOLS_PORT"):
        os.environ.pop(name, None)  # they make Textual load other code

    asked = 0

    def end(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT and not app.is_running:
            os._exit(128 + number)  # a second Ctrl-C, on the shell again, does not wait for the run
        asked = asked or number
        app.tell(Stop(signal=number))
        end_within_grace(number)
        app.terminal_is_gone()

    def hang_up(_number: int, _frame: FrameType | None) -> None:
        if isinstance(app._driver, terminal.Driver):
            app._driver.terminal_lost()

    before = {n: signal.signal(n, end) for n in (signal.SIGTERM, signal.SIGINT)}
    before[signal.SIGHUP] = signal.signal(signal.SIGHUP, hang_up)
    before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, lambda *_: app.tell(SaveCheckpoint()))
    before[signal.SIGCONT] = signal.signal(signal.SIGCONT, lambda *_: app.tell(Wake()))  # while there is no screen
    lost = False
    try:
        with terminal.own_terminal():
            terminal.streams_into(Path(os.devnull))
            app.run()
            driver = app._driver
            lost = isinstance(driver, terminal.Driver) and (driver.lost or driver.stuck)
    finally:
        code = _after(app, lost)
        for number, handler in before.items():
            signal.signal(number, handler)
    return 128 + asked if asked and code == 0 else code


def _after(app: TrainerApp, lost: bool) -> int:
    """The screen is gone: let the run end, and say how it did."""
    feed = app.feed
    crashed = bool(app.crash)
    folder = feed.run.folder if feed else None
    if crashed:
        _say_crash(app.crash, folder)
    if feed is None or feed.thread.ident is None:  # it was left before anything began
        return 1 if crashed else 0
    feed.leave()
    if isinstance(feed.run, RecordedRun):
        feed.run.close()
        if feed.run.folder and feed.run.folder.is_held() and not lost:
            _say_where(feed.run.folder)
        return 1 if crashed else 0
    if lost and folder is not None:
        terminal.streams_into(folder.log)
    if feed.ended is None and not feed.handed_over:
        if lost or crashed:
            feed.run.send(Continue())  # nobody is left to end a pause
        if crashed:
            print("Training goes on without the screen; Ctrl-C saves and ends.", file=sys.stderr, flush=True)
        elif not lost:
            print("Ending the run ...", file=sys.stderr, flush=True)
    feed.thread.join()
    ended = feed.ended
    if feed.handed_over and folder is not None:
        if not lost:
            _say_where(folder)
        return 1 if crashed else 0
    if not lost and ended is not None:
        _say_goodbye(ended, feed)
    if ended is None:
        return 1
    return ended.exit_code or (1 if crashed else 0)


def _say_crash(traceback: str, folder: RunFolder | None) -> None:
    """The screen had a fault: where its traceback is."""
    if folder is None:
        path = Path(tempfile.gettempdir()) / f"tui-trainer-{os.getpid()}.log"
        path.write_text(traceback, encoding="utf-8")
    else:
        path = folder.log
        folder.write_log(traceback)
    print(f"The screen failed; this is a bug in tui-trainer. The details are in {path}.", file=sys.stderr, flush=True)


def _say_where(folder: RunFolder) -> None:
    """A last line on the shell: how to come back to a run that goes on."""
    name = clean(folder.path.name)
    print(f"{name} goes on in the background. Come back with: tui-trainer attach {name}", file=sys.stderr)


def _say_goodbye(ended: RunEnded, feed: Feed) -> None:
    """A last line on the shell, where the run can be found again."""
    if ended.error:
        print(clean_lines(ended.error), file=sys.stderr)
    if feed.run.folder is not None:
        print(f"{ended.reason.replace('_', ' ')}: {feed.run.folder.path}", file=sys.stderr)
