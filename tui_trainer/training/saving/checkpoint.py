"""Checkpoints on their way to the disk: whole at any moment, and written while the next steps are taken."""

import contextlib
import dataclasses
import errno
import io
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch

from tui_trainer import disk
from tui_trainer.errors import CheckpointError, FolderError
from tui_trainer.run.events import CheckpointSaved, Event
from tui_trainer.text import size
from tui_trainer.training.saving import safe_load
from tui_trainer.training.saving.safe_load import Checkpoint


def pack(checkpoint: Checkpoint) -> bytes:
    """The checkpoint as the bytes of a file that `torch.load(weights_only=True)` accepts.

    Raises:
        CheckpointError: something in it could not be read again; it is named.
    """
    if place := safe_load.not_plain(checkpoint):
        raise CheckpointError(f"No checkpoint can be saved: it would hold more than plain numbers, {place}.")
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    return buffer.getvalue()


def save(
    packed: bytes, path: Path, *, kind: str, epoch: int, step: int, replaces: str | None = None
) -> CheckpointSaved:
    """Write a packed checkpoint and tell of it. The `last` one before lives on as prev.pt."""
    began = time.monotonic()
    disk.write_whole(packed, path, keep="prev.pt" if kind == "last" else None)
    return CheckpointSaved(
        kind=kind,
        epoch=epoch,
        step=step,
        path=f"{path.parent.name}/{path.name}",
        bytes=len(packed),
        seconds=time.monotonic() - began,
        replaces=replaces,
    )


def why_not(error: OSError, needed: int, folder: Path) -> str:
    """Why `needed` bytes could not be saved in `folder`, as a phrase for people."""
    if error.errno == errno.ENOSPC:
        with contextlib.suppress(OSError):
            return f"the disk is full: {size(needed)} needed, {size(shutil.disk_usage(folder).free)} free"
    return error.strerror or type(error).__name__


def refused(name: str, reason: str, run_name: str) -> FolderError:
    """What ends a run that should end and cannot be saved."""
    return FolderError(
        f"The checkpoint {name} cannot be saved: {reason}. The one before it is kept.\n"
        f"Make room or mend the folder, then carry on with: tui-trainer resume {run_name}"
    )


def newest(folder: Path, *, set_aside: bool) -> tuple[Checkpoint, str, str]:
    """last.pt, or prev.pt when that is damaged: what is in it, its path below the run folder, and a warning if any.

    A damaged file is kept under another name when it is to be `set_aside`: the next save would overwrite it.

    Raises:
        CheckpointError: neither can be used; the message has the reason for each.
    """
    reasons = []
    for path in (folder / "last.pt", folder / "prev.pt"):
        try:
            saved = safe_load.load(path)
        except CheckpointError as error:
            reasons.append(str(error))
            continue
        shown = f"{folder.name}/{path.name}"
        warning = f"{reasons[0]} Carrying on from {shown} instead." if reasons else ""
        if reasons and set_aside and (bad := folder / "last.pt").exists():
            aside = f"last.damaged-{time.strftime('%Y-%m-%dT%H-%M-%S', time.gmtime())}"
            with contextlib.suppress(OSError):
                disk.DISK.replace(bad, folder / aside)
                warning += f" The damaged file is kept as {aside}."
        return saved, shown, warning
    raise CheckpointError("\n".join(reasons))


class Save:
    """A checkpoint that is being written: it holds a place among a run's events until there is something to tell."""

    def __init__(self, written: "Future[CheckpointSaved]", failed: Callable[[OSError], Event]) -> None:
        self._written, self._failed = written, failed

    def is_done(self) -> bool:
        return self._written.done()

    def wait(self) -> None:
        """Until it is on the disk, or has failed."""
        futures.wait([self._written])

    def event(self) -> Event:
        """That it was saved, or what `failed` makes of the reason why not. Waits for the disk."""
        try:
            return self._written.result()
        except OSError as error:
            return self._failed(error)


class Writer:
    """Writes checkpoints in a thread of its own, one after the other, while the next steps are taken.

    It handles bytes and never a tensor: a second thread with tensor operations would halve the speed of the first.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoints")
        self._unfinished: deque[Save] = deque()

    def begin(self, write: Callable[[], CheckpointSaved], failed: Callable[[OSError], Event]) -> Save:
        """Have `write` called once all before it are done; at most two wait, since each holds a whole checkpoint."""
        while len(self._unfinished) > 1:
            self._unfinished.popleft().wait()
        save = Save(self._thread.submit(write), failed)
        self._unfinished.append(save)
        return save

    def news(self) -> bool:
        """True once after a save was done."""
        if not self._unfinished or not self._unfinished[0].is_done():
            return False
        self._unfinished.popleft()
        return True

    def wait(self) -> None:
        """Until everything is on the disk, or has failed."""
        while self._unfinished:
            self._unfinished.popleft().wait()

    def close(self) -> None:
        """After the last save."""
        self._thread.shutdown()


Happening = Event | Save | None
"""What the loop yields: an event, a save that will be one, or nothing but that a save may be done by now."""


def in_order(happenings: Iterator[Happening]) -> Iterator[Event]:
    """The events, each once all ahead of it have happened: what comes behind a save waits until that is on the disk.

    What waited is dated no earlier than what was told before it.
    """
    held: deque[Event | Save] = deque()
    latest = 0.0

    def told() -> Event:
        nonlocal latest
        first = held.popleft()
        event = first.event() if isinstance(first, Save) else first
        if event.at < latest:
            event = dataclasses.replace(event, at=latest)
        latest = event.at if held else 0.0
        return event

    try:
        for happening in happenings:
            if happening is not None:
                held.append(happening)
            while held and not (isinstance(held[0], Save) and not held[0].is_done()):
                yield told()
    except Exception:
        while held:
            yield told()
        raise
    while held:
        yield told()
