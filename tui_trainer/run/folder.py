"""A run's folder: its name, its manifest, and how to find it again."""

import contextlib
import importlib.metadata
import os
import platform
import re
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

import tomli_w

from tui_trainer.disk import write_whole
from tui_trainer.errors import FolderError, UsageError
from tui_trainer.run.lock import Lock
from tui_trainer.settings.places import short
from tui_trainer.settings.schema import PROVENANCE, Settings
from tui_trainer.settings.writing import to_plain
from tui_trainer.text import clean, did_you_mean, without_secrets


class RunFolder:
    """The files of one run. The folder is the interface: whoever can read it can watch the run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest = path / "run.toml"
        self.journal = path / "events.jsonl"
        self.checkpoints = path / "checkpoints"
        self.log = path / "log.txt"
        self.lock = Lock(path)

    @classmethod
    def create(cls, settings: Settings) -> "RunFolder":
        """A new, empty folder below `settings.output_dir`, for its owner's eyes only.

        Raises:
            FolderError: it cannot be made there; the message says why.
        """
        parent = Path(settings.output_dir).expanduser()
        parts = [
            re.sub(r"[^A-Za-z0-9._-]+", "-", short(p))[:40].strip("-.") for p in (settings.model, settings.dataset)
        ]
        name = settings.name or "-".join([time.strftime("%Y-%m-%dT%H-%M-%S", time.gmtime()), *filter(None, parts)])
        attempt = 1
        while True:
            folder = cls(parent / (name if attempt == 1 else f"{name}-{attempt}"))
            try:
                parent.mkdir(parents=True, exist_ok=True)
                folder.path.mkdir(mode=0o700)
                folder.checkpoints.mkdir(mode=0o700)
                folder.log.touch(mode=0o600)
                return folder
            except FileExistsError:
                if not folder.path.exists():
                    raise FolderError(
                        f"The output folder {clean(parent)} is a file. Choose another --output-dir."
                    ) from None
                if settings.name:
                    raise FolderError(
                        f"There is a run named {settings.name} in {clean(parent)} already. Choose another --name."
                    ) from None
                attempt += 1
            except OSError as error:
                raise FolderError(
                    f"The run folder {clean(folder.path)} cannot be made: {error.strerror}. "
                    "Nothing was trained. Choose an --output-dir that you may write to."
                ) from None

    @property
    def has_checkpoint(self) -> bool:
        """There is something to carry on from."""
        return any((self.checkpoints / name).exists() for name in ("last.pt", "prev.pt"))

    def is_held(self) -> bool:
        """True while a process trains here."""
        return self.lock.is_held()

    def write_manifest(self, settings: Settings, provenance: dict[str, object]) -> None:
        """run.toml: the settings as used, and where the run came from. It can be passed back as `--config`."""
        text = tomli_w.dumps(to_plain(settings) | {PROVENANCE: {k: v for k, v in provenance.items() if v is not None}})
        write_whole(text.encode(), self.manifest)

    def write_log(self, text: str) -> None:
        """Append to log.txt, where tracebacks go. A full disk is no reason to fail."""
        with contextlib.suppress(OSError), self.log.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text.rstrip("\n") + "\n")


def provenance() -> dict[str, object]:
    """What a reader needs to repeat a run: versions, machine, commit, command."""
    return {
        "tui_trainer": importlib.metadata.version("tui-trainer"),
        "torch": importlib.metadata.version("torch"),
        "torchvision": importlib.metadata.version("torchvision"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "argv": clean(shlex.join(map(without_secrets, sys.argv)), 4000),
        "git_commit": _git_commit(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _git_commit() -> str | None:
    """The commit of the folder the run was started in, `+` behind it when files differ from it; None outside git."""
    try:
        command = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=5, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None


def find(run: str, output_dir: str) -> RunFolder:
    """The folder of a run named by its path, its name, an unambiguous beginning of it, or `last`.

    Raises:
        UsageError: there is none, or several begin like that.
    """
    path = Path(os.path.expanduser(run))
    with contextlib.suppress(OSError, ValueError):
        if (path / "events.jsonl").is_file():
            return RunFolder(path)
    parent = Path(os.path.expanduser(output_dir))
    try:
        names = sorted(entry.name for entry in parent.iterdir() if (entry / "events.jsonl").is_file())
    except OSError:
        names = []
    if not names:
        raise UsageError(f"There is no run {clean(run)!r}: {clean(parent)} holds no runs. Start one with: tui-trainer")
    if run == "last" and run not in names:
        return RunFolder(max((parent / name for name in names), key=lambda p: (p / "events.jsonl").stat().st_mtime))
    if run in names:
        return RunFolder(parent / run)
    begins = [name for name in names if name.startswith(run)]
    if len(begins) == 1:
        return RunFolder(parent / begins[0])
    if begins:
        shown = ", ".join(clean(name, 80) for name in begins[:5])
        raise UsageError(f"{clean(run)!r} could be {len(begins)} runs: {shown}. Type more of the name.")
    raise UsageError(f"There is no run {clean(run)!r} in {clean(parent)}.{did_you_mean(run, names)}")
