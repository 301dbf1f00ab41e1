"""Checkpoints as files: packed into bytes, written whole, read back."""

import contextlib
import errno
import io
import shutil
import time
from pathlib import Path

import torch

from tui_trainer import disk
from tui_trainer.errors import CheckpointError, FolderError
from tui_trainer.run.events import CheckpointSaved
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
