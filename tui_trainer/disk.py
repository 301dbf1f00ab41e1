"""The file calls that a run's promises rest on, in one place: a test's disk fails at whichever of them it likes."""

import contextlib
import os
import shutil
import uuid
from pathlib import Path


class Disk:
    """The operating system's calls. Each raises OSError when the disk is full, read-only or gone."""

    def create(self, path: Path) -> int:
        """A descriptor of a new file that only its owner can read."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def write(self, fd: int, content: bytes | memoryview) -> int:
        """How many of the bytes were written: a disk that is nearly full takes fewer."""
        return os.write(fd, content)

    def sync(self, fd: int) -> None:
        """Wait until all of a file or folder lies on the disk itself, where a power cut leaves it."""
        os.fsync(fd)

    def close(self, fd: int) -> None:
        os.close(fd)

    def link(self, path: Path, new: Path) -> None:
        """A second name for a file; a copy on exFAT and the many network disks that have no second names."""
        try:
            os.link(path, new)
        except OSError:
            shutil.copyfile(path, new)

    def replace(self, path: Path, new: Path) -> None:
        os.replace(path, new)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def open_folder(self, path: Path) -> int:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


DISK = Disk()
"""The disk of this machine. Tests put another in its place."""


def write_whole(content: bytes, path: Path, *, keep: str | None = None) -> None:
    """Put `content` at `path` so that a kill or a power cut at any moment leaves either the old file or the new one.

    Bytes reach the disk under a name of their own before the old file gives up its name, and the folder with the
    names after that. `keep` is the name beside `path` under which the old file lives on.

    Raises:
        OSError: the disk is full, read-only or gone; the old file is as it was.
    """
    new = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    link = new.with_suffix(".link")
    fd = DISK.create(new)
    try:
        try:
            left = memoryview(content)
            while left:
                left = left[DISK.write(fd, left) :]
            DISK.sync(fd)
        finally:
            DISK.close(fd)
        if keep and path.exists():
            DISK.link(path, link)
            DISK.replace(link, path.with_name(keep))
        DISK.replace(new, path)
    except BaseException:
        with contextlib.suppress(OSError):
            DISK.unlink(new)
        raise
    finally:
        with contextlib.suppress(OSError):
            DISK.unlink(link)  # it is left when a rename failed, or found the same file under both names
    folder = DISK.open_folder(path.parent)
    try:
        DISK.sync(folder)
    finally:
        DISK.close(folder)


def remove_left_over(folder: Path) -> list[str]:
    """Delete what saves that were cut off have left in `folder`, whose lock the caller holds; their names."""
    names = [p.name for p in folder.glob(".*.tmp")] + [p.name for p in folder.glob(".*.link")]
    for name in names:
        with contextlib.suppress(OSError):
            DISK.unlink(folder / name)
    return names
