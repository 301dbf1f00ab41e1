"""Checkpoints: always whole on the disk, and read without ever running what is in them."""

import contextlib
import dataclasses
import io
import os
import shutil
import time
import uuid
import zipfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from tui_trainer.errors import CheckpointError
from tui_trainer.run.events import CheckpointSaved, Event
from tui_trainer.text import clean

Checkpoint = dict[str, Any]
"""Plain containers and tensors: `epoch`, `model_state_dict`, `optimizer_state_dict`, `loss`, and more."""


def pack(checkpoint: Checkpoint) -> bytes:
    """The checkpoint as the bytes of a file that `torch.load(weights_only=True)` accepts."""
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    return buffer.getvalue()


def write(packed: bytes, path: Path, *, keep: str | None = None) -> None:
    """Put `packed` at `path` so that a kill or a power cut at any moment leaves either the old file or the new one.

    `keep` is the name beside `path` under which the old file lives on.

    Raises:
        OSError: the disk is full, read-only or gone; the old file is as it was.
    """
    new = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    link = new.with_suffix(".link")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(packed)
            file.flush()
            os.fsync(file.fileno())
        if keep and path.exists():
            try:
                os.link(path, link)
            except OSError:  # exFAT and many network disks have no hard links
                shutil.copyfile(path, link)
            os.replace(link, path.with_name(keep))
        os.replace(new, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise
    finally:
        with contextlib.suppress(OSError):
            os.unlink(link)  # it is left when a rename failed, or found the same file under both names
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def save(
    packed: bytes, path: Path, *, kind: str, epoch: int, step: int, replaces: str | None = None
) -> CheckpointSaved:
    """Write a packed checkpoint and tell of it. The `last` one before lives on as prev.pt."""
    began = time.monotonic()
    write(packed, path, keep="prev.pt" if kind == "last" else None)
    return CheckpointSaved(
        kind=kind,
        epoch=epoch,
        step=step,
        path=f"{path.parent.name}/{path.name}",
        bytes=len(packed),
        seconds=time.monotonic() - began,
        replaces=replaces,
    )


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


def load(path: Path, device: torch.device) -> Checkpoint:
    """The checkpoint in `path`, its tensors on `device`.

    Raises:
        CheckpointError: the file is missing, damaged or not a checkpoint; the message says which.
    """
    shown = clean(path)
    try:
        if path.is_dir():
            raise CheckpointError(f"{shown} is a folder; give the .pt file inside it.")
        if not path.is_file():
            raise CheckpointError(f"{shown}: there is no such file.")
        packed = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{shown}: {error.strerror}.") from error
    return unpack(packed, shown, device)


def unpack(packed: bytes, shown: str, device: torch.device) -> Checkpoint:
    """The checkpoint in the bytes of a file; `shown` names it in messages.

    Raises:
        CheckpointError: the bytes are damaged or not a checkpoint.
    """
    if not packed:
        raise CheckpointError(f"{shown} is empty; a save was probably cut off. Use an older checkpoint.")
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            parts = archive.infolist()
            damaged = archive.testzip()  # torch.load itself checks no checksum
    except Exception as error:
        raise CheckpointError(
            f"{shown} is cut short, damaged or not a checkpoint ({len(packed):,} bytes). Use an older one."
        ) from error
    if any(part.compress_type or part.external_attr & 0x10 for part in parts):
        # torch inflates what is compressed, however large, and leaves a part marked as a folder unread in memory
        raise CheckpointError(f"{shown} is packed in a way that tui-trainer never writes; it is refused.")
    if damaged:
        raise CheckpointError(f"{shown} is damaged: {clean(damaged)} fails its checksum. Use an older checkpoint.")
    try:
        content = torch.load(io.BytesIO(packed), map_location=device, weights_only=True)
    except Exception as error:  # torch's own words recommend the unsafe way, so they go to the log only
        raise CheckpointError(f"{shown} holds something that is not plain numbers; tui-trainer refuses it.") from error
    if not isinstance(content, dict) or "model_state_dict" not in content:
        raise CheckpointError(f"{shown} is not a checkpoint of tui-trainer: it has no model_state_dict.")
    return content
