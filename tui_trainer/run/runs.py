"""A run as a face sees it: events to iterate and commands to send, whether it trains here or is read from disk."""

import contextlib
import itertools
import random
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from tui_trainer.errors import FolderError, TrainerError
from tui_trainer.run.commands import Command, Inbox
from tui_trainer.run.events import Event, Preparing, RunEnded, RunStarted, rounded
from tui_trainer.run.folder import RunFolder, provenance
from tui_trainer.run.journal import Journal, follow, read
from tui_trainer.run.state import RunState
from tui_trainer.settings import Settings
from tui_trainer.text import clean


class Run(Protocol):
    """All that a face knows of a run."""

    read_only: bool
    """True when commands would reach nobody."""

    @property
    def folder(self) -> RunFolder | None:
        """Where the run is on disk, once it is."""

    def events(self) -> Iterator[Event]:
        """What happens, until the run ends. Whoever iterates it waits with it."""

    def send(self, command: Command) -> None:
        """Tell the run something; its events are the answer."""


class LocalRun:
    """A run that trains in this process: whoever iterates `events` is the training thread."""

    read_only = False

    def __init__(self, settings: Settings) -> None:
        if settings.seed is None:
            settings = settings.model_copy(update={"seed": random.SystemRandom().randrange(2**31)})
        self.settings = settings
        self.inbox = Inbox()
        self._folder: RunFolder | None = None

    @property
    def folder(self) -> RunFolder | None:
        return self._folder

    def send(self, command: Command) -> None:
        self.inbox.send(command)

    def events(self) -> Iterator[Event]:
        """The run from its beginning. Every event is in the journal before it is given out.

        Raises:
            FolderError, LockedError: there is no folder to run in. Every later fault is a `RunEnded`.
        """
        folder = self._folder = RunFolder.create(self.settings)
        with folder.lock():
            made_by = provenance()
            try:
                folder.write_manifest(self.settings, made_by)
                journal = Journal(folder.journal)
            except OSError as error:
                raise FolderError(
                    f"The run folder {clean(folder.path)} cannot be written: {error.strerror}. Nothing was trained."
                ) from error
            try:
                for event in map(rounded, self._guarded(folder)):  # one event to all viewers, live or from the disk
                    warning = journal.append(event)
                    if isinstance(event, RunStarted):
                        used = self.settings.model_copy(update={"dataset": event.settings["dataset"]})
                        with contextlib.suppress(OSError):  # a full disk is no reason to stop; checkpoints will say so
                            folder.write_manifest(used, made_by | {"device": event.device, "data": event.data})
                    yield event
                    if warning:
                        journal.append(warning)
                        yield warning
            finally:
                journal.close()

    def _guarded(self, folder: RunFolder) -> Iterator[Event]:
        """The training, with every exception turned into the `RunEnded` it means."""
        began, state = time.monotonic(), RunState()
        try:
            yield Preparing(what="torch")
            from tui_trainer.training.loop import fit  # torch takes seconds: only the thread that trains waits for it

            for event in fit(self.settings, self.inbox, folder.checkpoints):
                state.apply(event)
                yield event
        except GeneratorExit:
            raise
        except BaseException as error:
            folder.write_log(traceback.format_exc())
            known = isinstance(error, TrainerError)
            text = str(error) if known else f"{type(error).__name__}: {error}\nThis is a bug in tui-trainer."
            yield RunEnded(
                reason="failed",
                error=f"{text}\nThe details are in {folder.log}.",
                exit_code=error.exit_code if isinstance(error, TrainerError) else 1,
                best_epoch=state.best.epoch if state.best else None,
                best_loss=state.best.loss if state.best else None,
                best_accuracy=state.best.accuracy if state.best else None,
                seconds=time.monotonic() - began,
            )


class RecordedRun:
    """A run read from its folder: all that has happened, then, while somebody trains there, what happens next."""

    read_only = True
    POLL = 0.25
    """Seconds between two looks at a journal that may grow."""
    BUNCH = 5_000
    """Events given at once at most: folding them takes a few hundredths of a second, in which no key is answered."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder: RunFolder | None = folder
        self._path: Path = folder.journal
        self._closed = False

    def send(self, command: Command) -> None:
        """Nobody listens."""

    def close(self) -> None:
        """Make `events` end soon, though the run goes on."""
        self._closed = True

    def events(self) -> Iterator[Event]:
        return itertools.chain.from_iterable(self.bunches())

    def bunches(self) -> Iterator[list[Event]]:
        """The events in lists of what is there by now, so that a screen need not wake for each of a day's events."""
        assert self.folder is not None
        with self._path.open("rb") as file:
            while not self._closed:
                held = self.folder.is_held()  # asked before reading: what is written until it lets go is then seen
                found = follow(file)
                while not self._closed and (bunch := list(itertools.islice(found, self.BUNCH))):
                    yield bunch
                if not held:
                    return
                time.sleep(self.POLL)

    def so_far(self) -> list[Event]:
        """Everything that has happened until now."""
        return list(read(self._path))
