"""Downloads by torchvision in a process of their own: told of as they grow, ended at any moment, whole or not there."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

import psutil

from tui_trainer.catalog import DatasetFacts
from tui_trainer.errors import DataError
from tui_trainer.run.events import Event, Preparing
from tui_trainer.text import clean, size

COMMAND = (sys.executable, "-m", "tui_trainer.training.data.fetch")
LOOK = 0.5
"""Seconds from one look at what has come to the next."""


def download(
    name: str, facts: DatasetFacts, root: Path, splits: Sequence[Mapping[str, object]], *, total: int
) -> Generator[Event, None, None]:
    """Fetch all splits of a data set into `root`, in torchvision's layout; `total` bytes, 0 when nobody says how many.

    They are unpacked in a folder beside and moved when all is there, so nothing half-written is ever found.

    Raises:
        DataError: there is no network, no room, or the folder cannot be written.
    """
    shown = clean(root, 600)
    try:
        root.mkdir(parents=True, exist_ok=True)
        _sweep(root)
        free = shutil.disk_usage(root).free
        scratch = root / f".{name}-{socket.gethostname()}-{os.getpid()}.part"
        scratch.mkdir()
    except OSError as error:
        raise DataError(f"{name} cannot be saved in {shown}: {error.strerror}.\nNothing was trained.") from error
    try:
        if free < total:
            raise DataError(
                f"{name} takes {size(total)} to download, and {shown} has {size(free)} free. Choose another "
                "--data-dir.\nNothing was trained."
            )
        reason = yield from _fetched(name, facts.torchvision, scratch, splits, total)
        if reason:
            places = ", ".join(facts.recipe.present)
            raise DataError(
                f"{name} is not in {shown} and cannot be downloaded ({clean(reason, 200)}).\nNothing was trained. Put "
                f"its files there as torchvision has them ({places}), or use the images inside the program: --dataset "
                "fashion-mnist-mini"
            )
        yield Preparing(what=f"data: {name}")
        _move(scratch, root)
    except OSError as error:
        raise DataError(
            f"{name} cannot be saved in {shown}: {error.strerror or error}.\nNothing was trained."
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _fetched(
    name: str, kind: str, scratch: Path, splits: Sequence[Mapping[str, object]], total: int
) -> Generator[Event, None, str]:
    """Why the download to `scratch` failed, as a phrase, or nothing."""
    orders = json.dumps({"kind": kind, "root": str(scratch), "splits": splits})
    of = f" of {size(total)}" if total else ""
    with open(scratch / ".log", "wb") as log:
        child = subprocess.Popen(
            [*COMMAND, orders],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for the run, which ends this
        )
        try:
            while child.poll() is None:
                come = _bytes_in(scratch)
                yield Preparing(what=f"downloading {name}: {size(min(come, total) if total else come)}{of}")
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(LOOK)
            assert child.stdout is not None
            answer = child.stdout.read()
        finally:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    pipe.close()
    try:
        return str(json.loads(answer)["reason"])
    except (ValueError, KeyError, TypeError):
        said = (scratch / ".log").read_text(errors="replace").strip().split("\n")
        return said[-1] or f"the download ended with code {child.returncode}"


def _bytes_in(folder: Path) -> int:
    """Bytes of the files in a folder and in those directly below: archives, not all that is unpacked from them."""
    come = 0
    for pattern in ("*", "*/*", "*/raw/*"):
        for path in folder.glob(pattern):
            with contextlib.suppress(OSError):
                come += path.stat().st_size if path.is_file() else 0
    return come


def _move(scratch: Path, root: Path) -> None:
    """Move all that is in `scratch` into `root`; folders that are there already are filled, files replaced."""
    for path in sorted(scratch.iterdir()):
        target = root / path.name
        if path == scratch / ".log":
            continue
        if path.is_dir() and target.is_dir():
            _move(path, target)
        else:
            os.replace(path, target)


def _sweep(root: Path) -> None:
    """Remove what a download on this machine has left that was killed with its run."""
    for path in root.glob(f".*-{socket.gethostname()}-*.part"):
        number = path.name.removesuffix(".part").rpartition("-")[2]
        if number.isdigit() and not psutil.pid_exists(int(number)):
            shutil.rmtree(path, ignore_errors=True)
