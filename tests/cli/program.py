"""The real program in processes of its own, and what they leave behind."""

import os
import pty
import select
import signal
import subprocess
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PROGRAM = [sys.executable, "-m", "tui_trainer"]
_SCRIPT = """
import fcntl, os, signal, sys, termios
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
if os.isatty(0):
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
LAUNCHER = [sys.executable, "-c", _SCRIPT]
"""Becomes the program as a shell starts it: no signal ignored, and controlled by the terminal on its stdin if any."""
MINI = ["--no-ui", "--dataset", "fashion-mnist-mini", "--device", "cpu", "--seed", "0", "--name", "it"]
SHORT = [*MINI, "--epochs", "2", "--limit-train-batches", "12"]
ENDLESS = [*MINI, "--epochs", "1000"]
LIMIT = 60.0
"""Seconds after which a process counts as hung."""


@dataclass(frozen=True)
class Ended:
    """What a process that has ended leaves behind."""

    code: int
    out: str
    err: str
    folder: Path
    """Where it ran."""

    @property
    def run(self) -> Path:
        return self.folder / "runs" / "it"

    @property
    def journal(self) -> str:
        return (self.run / "events.jsonl").read_text("utf-8")


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment without what changes the looks of output, or settings."""
    looks = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "PYTHONDONTWRITEBYTECODE", "PYTHONIOENCODING")
    kept = {k: v for k, v in os.environ.items() if k not in looks and not k.startswith(("TUI_TRAINER_", "TTY_"))}
    return kept | {"XDG_CONFIG_HOME": "/nonexistent", "TERM": "xterm-256color"} | dict(more or {})


def start(folder: Path, words: Sequence[str], command: Sequence[str] = (*LAUNCHER, *PROGRAM)) -> subprocess.Popen[str]:
    """The program, its stdout and stderr in pipes, nothing on its stdin."""
    folder.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        [*command, *words],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def finish(process: subprocess.Popen[str], folder: Path) -> Ended:
    """Wait for the end of a process that `start` began."""
    try:
        out, err = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"hung; stdout ends {out[-500:]!r}, stderr {err[-500:]!r}") from None
    return Ended(process.returncode, out, err, folder)


def run(folder: Path, *words: str, env: Mapping[str, str] | None = None, stdout: str | None = None) -> Ended:
    """The program from beginning to end. `stdout` names a file to write to, in place of a pipe."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(stdout or os.devnull, "wb") as file:
        done = subprocess.run(
            [*PROGRAM, *words],
            cwd=folder,
            env=environment(env),
            stdin=subprocess.DEVNULL,
            stdout=file if stdout else subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=LIMIT,
            check=False,
        )
    return Ended(done.returncode, (done.stdout or b"").decode(), done.stderr.decode(), folder)


def run_python(folder: Path, code: str, *words: str) -> Ended:
    """A script that prepares something and then calls the program."""
    return finish(start(folder, words, [sys.executable, "-c", code]), folder)


def signalled(folder: Path, number: signal.Signals) -> Ended:
    """An endless run that is sent a signal as soon as it trains."""
    process = start(folder, [*ENDLESS, "--json"])
    assert process.stdout
    while "BatchTrained" not in (line := process.stdout.readline()):
        assert line, "ended before it trained"
    process.send_signal(number)
    return finish(process, folder)


def in_terminal(
    folder: Path, *words: str, env: Mapping[str, str] | None = None, closed_after: str | None = None
) -> Ended:
    """The program in a terminal of 100 x 30, all that it wrote in `out`. The terminal can be closed under it."""
    folder.mkdir(parents=True, exist_ok=True)
    screen, terminal = pty.openpty()
    process = subprocess.Popen(
        [*LAUNCHER, *PROGRAM, *words],
        cwd=folder,
        env=environment({"COLUMNS": "100", "LINES": "30"} | dict(env or {})),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    seen = b""
    try:
        while not (closed_after and closed_after.encode() in seen):
            assert select.select([screen], [], [], LIMIT)[0], f"silent for too long after {seen[-500:]!r}"
            try:
                chunk = os.read(screen, 65536)
            except OSError:  # Linux's way to say that the program has closed its end
                break
            if not chunk:
                break
            seen += chunk
        os.close(screen)
        return Ended(process.wait(LIMIT), seen.decode(), "", folder)
    finally:
        process.kill()
        process.wait()


def hidden(text: str, allowed: str = "\n") -> set[str]:
    """The characters of `text` that could move a cursor, turn the writing or show nothing."""
    classes = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    return {ch for ch in text if ch not in allowed and unicodedata.category(ch) in classes}
