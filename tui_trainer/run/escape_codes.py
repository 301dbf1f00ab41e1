"""Escape codes by which a terminal notifies its user: OSC 9 and OSC 777 for the desktop, the bell."""

import os
from collections.abc import Mapping

from tui_trainer.run.interface import Run
from tui_trainer.run.local import LocalRun
from tui_trainer.run.state import RunState
from tui_trainer.text import clean

BELL = "\a"
"""Rings or marks the window; ends an escape code of the kind OSC, too, and everywhere, unlike ST."""


def notify_mode(run: Run, state: RunState) -> str:
    """The setting `notify` of a run, as its events tell it, or as it was begun here before they do."""
    own = run.settings.notify if isinstance(run, LocalRun) else "auto"
    return str(state.settings.get("notify", own))


def escape_sequence(how: str, title: str, text: str, environ: Mapping[str, str] = os.environ) -> str:
    """What to write to a terminal so that it says `text`; nothing when `how`, the setting `notify`, is off or unknown.

    OSC 9 is known to iTerm2, WezTerm, kitty and ghostty, OSC 777 to foot and urxvt; others pass over both. Inside tmux
    it is wrapped for the terminal outside, which tmux lets through with `set -g allow-passthrough on`.
    """
    if how == "auto":
        other = environ.get("TERM", "").startswith(("foot", "rxvt"))
        return escape_sequence("osc777" if other else "osc9", title, text, environ) + BELL
    if how == "bell":
        return BELL
    # semicolons part what belongs to a code, and one that begins with a number is a command to some terminals
    title, text = (clean(part, 300).replace(";", ",") for part in (title, text))
    if how == "osc9":
        return _through_tmux(f"\x1b]9;{title}: {text}{BELL}", environ)
    if how == "osc777":
        return _through_tmux(f"\x1b]777;notify;{title};{text}{BELL}", environ)
    return ""


def _through_tmux(code: str, environ: Mapping[str, str]) -> str:
    """`code` for the terminal that tmux is shown on."""
    if not environ.get("TMUX"):
        return code
    return "\x1bPtmux;" + code.replace("\x1b", "\x1b\x1b") + "\x1b\\"
