"""What a run writes into its folder while it trains: the journal and the manifest, again when somebody deletes them."""

import contextlib

from tui_trainer.disk import remove_left_over
from tui_trainer.errors import FolderError
from tui_trainer.run.events import BatchTrained, CheckpointSaved, Event, RunStarted, Warned
from tui_trainer.run.folder import RunFolder, provenance
from tui_trainer.run.journal import Journal
from tui_trainer.run.lock import Held
from tui_trainer.settings.schema import Settings
from tui_trainer.text import clean


class FolderWriter:
    """Writes journal and manifest of the run that holds `folder`. For the training thread alone."""

    def __init__(self, folder: RunFolder, held: Held, new: Settings | None) -> None:
        """Open the journal. `new` are the settings of a run that begins; None of one that is carried on.

        A run that is carried on keeps its manifest until its first step: only then do changed settings count.

        Raises:
            FolderError: the folder cannot be written.
        """
        self._folder, self._held = folder, held
        self._carried_on = new is None
        self._provenance = provenance()
        self._started: RunStarted | None = None
        self._manifest_due = False
        """The manifest lacks what the last `RunStarted` says."""
        try:
            remove_left_over(folder.path)
            remove_left_over(folder.checkpoints)
            if new is not None:
                folder.write_manifest(new, self._provenance)
            self._journal = Journal(folder.journal)
        except OSError as error:
            raise FolderError(
                f"The run folder {clean(folder.path)} cannot be written: {error.strerror}. Nothing was trained."
            ) from error

    def write(self, event: Event, settings: Settings) -> Warned | None:
        """Append `event` to the journal, and write the manifest when it is due; a warning when the journal fails."""
        warning = self._journal.append(event)
        if isinstance(event, RunStarted):
            self._started, self._manifest_due = event, True
        if self._started is None:
            return warning
        if self._manifest_due and (not self._carried_on or isinstance(event, BatchTrained)):
            self._write_manifest(self._started, settings)
            self._manifest_due = False
        if isinstance(event, CheckpointSaved) and not self._folder.journal.exists():
            self._restore(self._started, settings)
        return warning

    def _restore(self, started: RunStarted, settings: Settings) -> None:
        """Put back what somebody has deleted, and hold the lock there: the run can be found and carried on again.

        The folder itself is there: a checkpoint has just been saved in it.
        """
        with contextlib.suppress(OSError):
            self._journal.make_again()
            self._write_manifest(started, settings)
            self._folder.lock.hold_again(self._held)

    def _write_manifest(self, started: RunStarted, settings: Settings) -> None:
        with contextlib.suppress(OSError):  # a full disk is no reason to stop; checkpoints will say so
            found = {"device": started.device, "data": started.data}
            self._folder.write_manifest(settings, self._provenance | found)

    def close(self) -> None:
        self._journal.close()
