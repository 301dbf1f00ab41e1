"""Deleting a run: the folder and all that is in it, when it is one and nobody trains there."""

import os
import shutil
import stat

from tui_trainer.errors import FolderError, LockedError
from tui_trainer.run.folder import RunFolder
from tui_trainer.text import clean


def delete(folder: RunFolder) -> None:
    """Remove a run from the disk.

    Raises:
        LockedError: a process trains there.
        FolderError: it is no run's folder, or it could not be removed; the message says what is left.
    """
    name = clean(folder.path.name)
    try:
        is_folder = stat.S_ISDIR(os.lstat(folder.path).st_mode)
        has_journal = stat.S_ISREG(os.lstat(folder.journal).st_mode)
    except OSError as error:
        raise FolderError(f"{name} is not deleted: {clean(error.strerror)}.") from None
    if not is_folder or not has_journal:
        what = "has no journal of its own" if is_folder else "is a link, not a folder"
        raise FolderError(f"{name} is not deleted: it {what}. Remove it by hand if you are sure.")
    if folder.is_held():
        raise LockedError(f"{name} is not deleted: it is held by {folder.lock.holder()}. Stop it first.")
    try:
        shutil.rmtree(folder.path)
    except OSError as error:
        raise FolderError(
            f"{name} is deleted only in part: {clean(error.filename)}: {clean(error.strerror)}."
        ) from None
