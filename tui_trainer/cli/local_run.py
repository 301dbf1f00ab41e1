"""A run that trains in this process: `run/local.py` knows no training, so it is handed in here."""

from collections.abc import Iterator
from pathlib import Path

from tui_trainer.own.admitted import Admitted
from tui_trainer.run.commands import Inbox
from tui_trainer.run.events import Event
from tui_trainer.run.folder import RunFolder
from tui_trainer.run.local import LocalRun
from tui_trainer.run.resume import Carried, Resume
from tui_trainer.settings.schema import Settings


def fit(
    settings: Settings, inbox: Inbox, checkpoints: Path, resume: Resume | None, code: Admitted | None = None
) -> Iterator[Event]:
    """`training.loop.fit`. torch takes seconds to import: only the thread that calls this waits for it."""
    from tui_trainer.training.loop import fit as train

    return train(settings, inbox, checkpoints, resume, code)


def local_run(
    settings: Settings,
    carried: Carried | None = None,
    *,
    folder: RunFolder | None = None,
    lock: int | None = None,
    code: Admitted | None = None,
) -> LocalRun:
    """A `LocalRun` that trains by `fit`.

    Raises:
        SettingsError: the run that this one should wait for is not there.
    """
    return LocalRun(settings, fit, carried, folder=folder, lock=lock, code=code)
