"""The real program in processes of its own, and what they leave behind."""

import os
import pty
import select
import signal
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

from tests.faults.scale import PATIENCE

PROGRAM = [sys.executable, "-m", "tui_trainer"]
_SCRIPT = """
import fcntl, os, signal, sys, termios
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
if os.isatty(0):
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
LAUNCHER = [sys.executable, "-c", _SCRIPT]
"""Becomes a command as a shell starts it: no signal ignored, and controlled by the terminal on its stdin if any."""
MINI = ["--no-ui", "--dataset", "fashion-mnist-mini", "--device", "cpu", "--seed", "0", "--name", "it"]
SHORT = [*MINI, "--epochs", "2", "--limit-train-batches", "12"]
ENDLESS = [*MINI, "--epochs", "1000"]
LIMIT = PATIENCE
"""Seconds after which a process is hung, and killed."""


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
    """The environment without what changes the looks of output, or settings; one thread, as several run at once."""
    looks = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "PYTHONDONTWRITEBYTECODE", "PYTHONIOENCODING")
    kept = {k: v for k, v in os.environ.items() if k not in looks and not k.startswith(("TUI_TRAINER_", "TTY_"))}
    return (
        kept | {"XDG_CONFIG_HOME": "/nonexistent", "TERM": "xterm-256color", "OMP_NUM_THREADS": "1"} | dict(more or {})
    )


@contextmanager
def started(
    folder: Path,
    words: Sequence[str],
    command: Sequence[str] = PROGRAM,
    *,
    env: Mapping[str, str] | None = None,
    **streams: int,
) -> Iterator[subprocess.Popen[str]]:
    """The program, its stdout and stderr in pipes if nothing else is said, and nothing on its stdin."""
    folder.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [*LAUNCHER, *command, *words],
        cwd=folder,
        env=environment(env),
        text=True,
        encoding="utf-8",
        start_new_session=True,
        **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams,
    )
    hung = Timer(LIMIT, process.kill)
    hung.start()
    try:
        yield process
    finally:
        hung.cancel()
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()


def finish(process: subprocess.Popen[str], folder: Path) -> Ended:
    """Wait for the end of a process that was started."""
    out, err = process.communicate()
    return Ended(process.returncode, out or "", err or "", folder)


def run(folder: Path, *words: str, command: Sequence[str] = PROGRAM, env: Mapping[str, str] | None = None) -> Ended:
    """The program from beginning to end."""
    with started(folder, words, command, env=env) as process:
        return finish(process, folder)


def signalled(
    folder: Path, *steps: tuple[str, signal.Signals], words: Sequence[str] = ENDLESS, command: Sequence[str] = PROGRAM
) -> Ended:
    """A run that is sent each signal when the word before it has come out on stdout after the signal before."""
    with started(folder, [*words, "--json"], command) as process:
        assert process.stdout
        for word, number in steps:
            while word not in (line := process.stdout.readline()) and line:
                pass
            process.send_signal(number)
        return finish(process, folder)


def in_terminal(
    folder: Path, *words: str, env: Mapping[str, str] | None = None, closed_after: str | None = None
) -> Ended:
    """The program in a terminal of 100 x 30, all that it wrote in `out`. The terminal can be closed under it."""
    screen, terminal = pty.openpty()
    size = {"COLUMNS": "100", "LINES": "30"}
    streams = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
    with started(folder, words, env=size | dict(env or {}), **streams) as process:
        os.close(terminal)
        seen = b""
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
        return Ended(process.wait(), seen.decode(), "", folder)


def hidden(text: str, allowed: str = "\n") -> set[str]:
    """The characters of `text` that could move a cursor, turn the writing or show nothing."""
    classes = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    return {ch for ch in text if ch not in allowed and unicodedata.category(ch) in classes}


Cases = dict[str, Callable[[Path], Ended]]
"""Processes by name, each from its start in a folder to its end."""


class Started:
    """Cases that run side by side, each in a folder of its own."""

    def __init__(self, pool: ThreadPoolExecutor, folder: Path, cases: Cases) -> None:
        self._ends: dict[str, Future[Ended]] = {
            name: pool.submit(case, folder / name.replace(" ", "-")) for name, case in cases.items()
        }

    def __getitem__(self, name: str) -> Ended:
        """The end of one of them, waited for."""
        return self._ends[name].result()
