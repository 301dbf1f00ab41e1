"""What a hang-up and a log-out do to a run, and how many steps a kill would cost just now."""

import contextlib
import os
import pwd
import re
from dataclasses import dataclass
from pathlib import Path

from tui_trainer.run.state import RunState
from tui_trainer.text import ago

ROOT = Path("/")
"""Where the system's files are; a test has others."""
_CONFIGS = ("usr/lib/systemd", "usr/local/lib/systemd", "run/systemd", "etc/systemd")
"""Folders of the login manager's settings, the one that wins last."""


@dataclass(frozen=True, slots=True)
class AfterDisconnect:
    """What becomes of a run when its user disconnects."""

    hang_up: bool = True
    """It goes on when its terminal closes."""
    log_out: str = ""
    """Why it ends when its user logs out; empty when it does not."""


def after_disconnect(pid: int) -> AfterDisconnect:
    """What becomes of the process `pid`. One in another terminal may end when that is closed; this one goes on."""
    import psutil  # a hundredth of a second, for a screen that shows a run

    try:
        terminal = psutil.Process(pid).terminal()
    except psutil.Error:
        terminal = None
    return AfterDisconnect(hang_up=terminal is None or pid == os.getpid(), log_out=why_it_ends_at_log_out(pid))


def why_it_ends_at_log_out(pid: int) -> str:
    """Why the login manager ends a process when its user logs out, with what helps; empty when it does not."""
    if not (ROOT / "run/systemd/system").is_dir():
        return ""
    try:
        group = (ROOT / f"proc/{pid}/cgroup").read_text()
        user = pwd.getpwuid(os.getuid()).pw_name
    except (OSError, KeyError):
        return ""
    lingers = (ROOT / "var/lib/systemd/linger" / user).exists()
    if "/session-" in group:
        settings = login_settings()
        excluded = settings.get("KillExcludeUsers", "root").split()
        only = settings.get("KillOnlyUsers", "").split()
        if settings.get("KillUserProcesses") != "yes" or user in excluded or (only and user not in only):
            return ""
        return (
            "this machine ends all processes of a login with it (KillUserProcesses); start it with: "
            "systemd-run --user --scope tui-trainer" + ("" if lingers else ", once after: loginctl enable-linger")
        )
    if f"/user@{os.getuid()}.service" in group and not lingers:
        return "it belongs to your user manager, which ends with your last login; this helps: loginctl enable-linger"
    return ""


def login_settings() -> dict[str, str]:
    """The login manager's settings; what its own file shows as a comment is how it was built."""
    found: dict[str, str] = {}
    drop_ins: dict[str, Path] = {}
    for place in _CONFIGS:
        with contextlib.suppress(OSError):
            text = (ROOT / place / "logind.conf").read_text(errors="replace")
            found |= dict(re.findall(r"(?m)^#(\w+)=(.*?)\s*$", text)) | _set_in(text)
        with contextlib.suppress(OSError):
            drop_ins |= {path.name: path for path in (ROOT / place / "logind.conf.d").glob("*.conf")}
    for name in sorted(drop_ins):
        with contextlib.suppress(OSError):
            found |= _set_in(drop_ins[name].read_text(errors="replace"))
    return found


def _set_in(text: str) -> dict[str, str]:
    return dict(re.findall(r"(?m)^\s*(\w+)\s*=\s*(.*?)\s*$", text))


def unsaved_steps(state: RunState) -> int:
    """Steps that a kill would cost: those since the newest checkpoint."""
    return max(0, state.step - max((row.step for row in state.checkpoints.values()), default=0))


def status_line(state: RunState, on: AfterDisconnect, now: float) -> tuple[str, str]:
    """Whether one may leave, in a few words, with a style: `good` or `warning`. `now` is Unix time in seconds."""
    if state.is_over or not state.step:
        return "", ""
    unsaved = f"{unsaved_steps(state):,} steps unsaved"
    if not state.checkpoints:
        return "warning", f"○ nothing saved yet · {unsaved}"
    if on.log_out:
        return "warning", f"○ ends at log-out · {unsaved}"
    if not on.hang_up:
        return "warning", f"○ in another terminal · {unsaved}"
    saved = ago(now - max(row.at for row in state.checkpoints.values()))
    return "good", f"● safe to leave · saved {saved} · {unsaved}"


def explanation(state: RunState, on: AfterDisconnect, now: float) -> str:
    """The same for a question: what is kept, and what becomes of the run."""
    kept = "Nothing is saved yet."
    if state.checkpoints:
        saved = ago(now - max(row.at for row in state.checkpoints.values()))
        kept = f"Saved {saved}, {unsaved_steps(state):,} steps since then."
    if on.log_out:
        return f"{kept}\nIn the background it would not outlive your log-out: {on.log_out}."
    return kept
