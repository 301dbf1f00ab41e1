"""A run as a face sees it: events to iterate and commands to send, whether it trains here or is read from disk."""

import contextlib
import copy
import faulthandler
import itertools
import random
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from tui_trainer.errors import FolderError, TrainerError
from tui_trainer.run.commands import Command, Inbox
from tui_trainer.run.disk import remove_left_over
from tui_trainer.run.events import BatchTrained, Event, Preparing, RunEnded, RunStarted, Warned, rounded
from tui_trainer.run.folder import RunFolder, provenance
from tui_trainer.run.journal import Journal, follow, read
from tui_trainer.run.notify import Post, sentence
from tui_trainer.run.resume import Carried
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

    @property
    def earlier(self) -> RunState:
        """What a viewer knows before the first of `events`: the run's earlier life, when it is carried on."""

    def events(self) -> Iterator[Event]:
        """What happens, until the run ends. Whoever iterates it waits with it."""

    def send(self, command: Command) -> None:
        """Tell the run something; its events are the answer."""

    def watched(self, yes: bool) -> None:
        """Whether somebody looks, and can answer when the run asks what to do."""


class LocalRun:
    """A run that trains in this process: whoever iterates `events` is the training thread."""

    read_only = False

    def __init__(self, settings: Settings, carried: Carried | None = None) -> None:
        """`carried` is the run that is carried on, in its own folder, with `settings` from here on."""
        if settings.seed is None:
            settings = settings.model_copy(update={"seed": random.SystemRandom().randrange(2**31)})
        self.settings = settings
        self.carried = carried
        self.inbox = Inbox()
        self._folder: RunFolder | None = carried.folder if carried else None

    @property
    def folder(self) -> RunFolder | None:
        return self._folder

    @property
    def earlier(self) -> RunState:
        return copy.deepcopy(self.carried.state) if self.carried else RunState()

    def send(self, command: Command) -> None:
        self.inbox.send(command)

    def watched(self, yes: bool) -> None:
        self.inbox.watched = yes

    def events(self) -> Iterator[Event]:
        """The run from its beginning, or from where it is carried on. Every event is in the journal before it is given.

        Raises:
            FolderError, LockedError: there is no folder to run in. Every later fault is a `RunEnded`.
        """
        folder = self._folder = self._folder or RunFolder.create(self.settings)
        with folder.lock():
            made_by = provenance()
            try:
                remove_left_over(folder.checkpoints)
                if self.carried is None:
                    folder.write_manifest(self.settings, made_by)
                journal = Journal(folder.journal)
            except OSError as error:
                raise FolderError(
                    f"The run folder {clean(folder.path)} cannot be written: {error.strerror}. Nothing was trained."
                ) from error
            unwritten: RunStarted | None = None
            state = RunState()
            post = Post(self.settings.notify_url, folder.path.name) if self.settings.notify_url else None
            try:
                for event in map(
                    rounded, self._guarded(folder, state)
                ):  # one event to all viewers, live or from the disk
                    warning = journal.append(event)
                    if isinstance(event, RunStarted):
                        unwritten = event
                    if unwritten and (self.carried is None or isinstance(event, BatchTrained)):
                        self._write_manifest(folder, unwritten, made_by)  # what was changed counts from the first step
                        unwritten = None
                    if post and (text := sentence(event, state)):
                        post.send(text)
                    yield event
                    if not warning and post and not isinstance(event, RunEnded) and (trouble := post.trouble()):
                        warning = Warned(text=trouble)
                    if warning:
                        journal.append(warning)
                        yield warning
            finally:
                journal.close()
        if post and (trouble := post.close()):  # the run is over: its last word was RunEnded
            folder.write_log(f"warning: {trouble}\n")

    def _guarded(self, folder: RunFolder, state: RunState) -> Iterator[Event]:
        """The training, with every exception turned into the `RunEnded` it means; `state` follows it."""
        began = time.monotonic()
        pulse = Pulse(folder)
        try:
            yield Preparing(what="torch")
            from tui_trainer.training.loop import fit  # torch takes seconds: only the thread that trains waits for it

            how = self.carried.how if self.carried else None
            for event in fit(self.settings, self.inbox, folder.checkpoints, how):
                state.apply(event)
                pulse.beat(resting=bool(state.paused_in))
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
        finally:
            pulse.stop()

    def _write_manifest(self, folder: RunFolder, started: RunStarted, made_by: dict[str, object]) -> None:
        used = self.settings.model_copy(update={"dataset": started.settings["dataset"]})
        with contextlib.suppress(OSError):  # a full disk is no reason to stop; checkpoints will say so
            folder.write_manifest(used, made_by | {"device": started.device, "data": started.data})


class Pulse:
    """Tells others that a run is alive; and when it is not, notes in log.txt where each of its threads stands."""

    SILENCE = 120.0
    """Seconds without an event after which something hangs, or takes very long."""
    EVERY = 1.0
    """Seconds between two beats at most: each starts a thread."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder, self._log = folder, None
        self._beaten = 0.0
        with contextlib.suppress(OSError):
            self._log = folder.log.open("a")
        self.beat(resting=False)

    def beat(self, *, resting: bool) -> None:
        """Something happened; `resting` when nothing will for a while, on purpose."""
        now = time.monotonic()
        if now - self._beaten < self.EVERY and not resting:
            return
        self._beaten = now
        self._folder.say_alive()
        if self._log is None:
            return
        if resting:
            faulthandler.cancel_dump_traceback_later()
        else:
            faulthandler.dump_traceback_later(self.SILENCE, file=self._log)

    def stop(self) -> None:
        faulthandler.cancel_dump_traceback_later()
        if self._log is not None:
            self._log.close()


def preview(carried: Carried) -> Iterator[Event]:
    """What `carried` would begin with, up to its `RunStarted`, or to the `RunEnded` that says why it cannot.

    Data and checkpoint are read as for the run itself; nothing on the disk changes.
    """
    from tui_trainer.training.loop import fit

    how = replace(carried.how, looks_only=True)
    for event in fit(carried.settings, Inbox(), carried.folder.checkpoints, how):
        yield event
        if isinstance(event, RunStarted):
            return


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

    @property
    def earlier(self) -> RunState:
        """Nothing: all of it comes as events."""
        return RunState()

    def send(self, command: Command) -> None:
        """Nobody listens."""

    def watched(self, yes: bool) -> None:
        """It asks nothing."""

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
