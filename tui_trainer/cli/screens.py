"""Whether there is a terminal for the screens, and opening them."""

import os
import sys
from typing import Any

from tui_trainer.errors import UsageError
from tui_trainer.settings.sources import Resolved
from tui_trainer.text import clean


def need_terminal(instead: str = "Train in plain lines with: tui-trainer --no-ui") -> None:
    """Refuse to open a screen where there is none; Textual would wait for ever. `instead` is what can be done.

    Raises:
        UsageError: standard input or error is not a terminal.
    """
    if not (sys.__stdin__ and sys.__stdin__.isatty() and sys.__stderr__ and sys.__stderr__.isatty()):
        raise UsageError(f"There is no terminal for the screens here. {instead}")
    if os.environ.get("TERM") in ("dumb", "unknown"):
        raise UsageError(f"A terminal of type {clean(os.environ['TERM'])} cannot show the screens. {instead}")


def has_terminal() -> bool:
    """True when a screen could be shown, and nobody reads the output in its place."""
    try:
        need_terminal()
    except UsageError:
        return False
    return bool(sys.stdout and sys.stdout.isatty())


def open_screens(resolved: Resolved, **shown: Any) -> int:
    """The screens, beginning with what `TrainerApp` is told to show; the exit code."""
    from tui_trainer.cli.local_run import local_run
    from tui_trainer.ui.app import TrainerApp
    from tui_trainer.ui.leaving import show

    return show(TrainerApp(resolved, begin=local_run, **shown))
