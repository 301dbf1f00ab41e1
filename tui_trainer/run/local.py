"""A run as a face sees it: events to iterate and commands to send; and the one that trains in this process."""

import contextlib
import copy
import os
import random
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from tui_trainer.disk import remove_left_over
from tui_trainer.errors import FolderError, TrainerError
from tui_trainer.run import background
from tui_trainer.run.background import Orders
from tui_trainer.run.commands import Command, HandOver, Inbox
from tui_trainer.run.control import Control
from tui_trainer.run.disconnect import Stay, stay_of
from tui_trainer.run.events import (
    BatchTrained,
    CheckpointSaved,
    Event,
    Preparing,
    RunEnded,
    RunHandedOver,
    RunStarted,
    Warned,
)
from tui_trainer.run.events_json import rounded
from tui_trainer.run.folder import RunFolder, provenance
from tui_trainer.run.heartbeat import Pulse
from tui_trainer.run.journal import Journal
from tui_trainer.run.lock import Held
from tui_trainer.run.notify import Post, sentence
from tui_trainer.run.resume import Carried, Resume
from tui_trainer.run.state import RunState
from tui_trainer.run.thinning import told
from tui_trainer.run.waiting import Turn
from tui_trainer.settings.schema import Settings
from tui_trainer.text import clean

FOUND_OUT = ("dataset", "loss", "batch_size")
"""Settings that the run itself may choose: what it has used is what it is carried on with."""


Fit = Callable[[Settings, Inbox, Path, Resume | None], Iterator[Event]]
"""The training: settings, commands, the folder for checkpoints, how it is carried on -> what happens."""


class Run(Protocol):
    """All that a face knows of a run."""

    trains_here: bool
    """True when whoever iterates `events` is the training thread."""

    @property
    def read_only(self) -> bool:
        """True when commands would reach nobody."""

    @property
    def folder(self) -> RunFolder | None:
        """Where the run is on disk, once it is."""

    @property
    def earlier(self) -> RunState:
        """What a viewer knows before the first of `events`: the run's earlier life, when it is carried on."""

    @property
    def stay(self) -> Stay:
        """What becomes of it when its user leaves."""

    def events(self) -> Iterator[Event]:
        """What happens, until the run ends. Whoever iterates it waits with it."""

    def send(self, command: Command) -> None:
        """Tell the run something; its events are the answer."""

    def watched(self, yes: bool) -> None:
        """Whether somebody looks, and can answer when the run asks what to do."""


class LocalRun:
    """A run that trains in this process: whoever iterates `events` is the training thread."""

    trains_here = True
    read_only = False

    def __init__(
        self,
        settings: Settings,
        fit: Fit,
        carried: Carried | None = None,
        *,
        folder: RunFolder | None = None,
        lock: int | None = None,
    ) -> None:
        """`fit` trains. `carried` is the run that is carried on, in its own folder, with `settings` from here on.

        `folder` is where a run begins that has one already, and `lock` the descriptor of a lock that was handed over.

        Raises:
            SettingsError: the run that this one should wait for is not there.
        """
        if settings.seed is None:
            settings = settings.model_copy(update={"seed": random.SystemRandom().randrange(2**31)})
        self.settings = settings
        self.carried = carried
        self._fit = fit
        self.inbox = Inbox()
        self._turn = None if carried else Turn(settings)
        if self._turn is not None:
            self.settings = self._turn.settings
        self._folder: RunFolder | None = carried.folder if carried else folder
        self._lock = lock
        self._began, self._state = time.monotonic(), RunState()
        self._paused = self._parked = False
        """What the run was before it was handed over."""

    @property
    def folder(self) -> RunFolder | None:
        return self._folder

    @property
    def earlier(self) -> RunState:
        return copy.deepcopy(self.carried.state) if self.carried else RunState()

    @property
    def stay(self) -> Stay:
        return stay_of(os.getpid())

    def send(self, command: Command) -> None:
        self.inbox.send(command)

    def watched(self, yes: bool) -> None:
        self.inbox.watched_here = yes

    def events(self) -> Iterator[Event]:
        """The run from its beginning, or from where it is carried on. Every event is in the journal before it is given.

        Raises:
            FolderError, LockedError: there is no folder to run in. Every later fault is a `RunEnded`.
        """
        folder = self._folder = self._folder or RunFolder.create(self.settings)
        with folder.lock.hold(self._lock) as held:
            made_by = provenance()
            try:
                remove_left_over(folder.path)
                remove_left_over(folder.checkpoints)
                if self.carried is None:
                    folder.write_manifest(self.settings, made_by)
                journal = Journal(folder.journal)
            except OSError as error:
                raise FolderError(
                    f"The run folder {clean(folder.path)} cannot be written: {error.strerror}. Nothing was trained."
                ) from error
            unwritten: RunStarted | None = None
            started: RunStarted | None = None
            control = Control(folder.path, self.inbox)
            post = Post(self.settings.notify_url, folder.path.name) if self.settings.notify_url else None
            try:
                for event in map(rounded, self._guarded(folder, control.problem)):
                    warning = journal.append(event)  # one event to all viewers, live or from the disk
                    if isinstance(event, RunStarted):
                        unwritten = started = event
                        self.settings = self.settings.model_copy(update={n: event.settings[n] for n in FOUND_OUT})
                    if unwritten and (self.carried is None or isinstance(event, BatchTrained)):
                        self._write_manifest(folder, unwritten, made_by)  # what was changed counts from the first step
                        unwritten = None
                    if isinstance(event, CheckpointSaved) and started and not folder.journal.exists():
                        self._make_again(folder, held, journal, started, made_by)
                    if isinstance(event, RunHandedOver):
                        control.close()
                        if failed := self._hand_over(folder, held):
                            journal.append(failed)
                            yield failed
                            return
                    if post and (text := sentence(event, self._state)):
                        post.send(text)
                    yield event
                    if not warning and post and not isinstance(event, RunEnded) and (trouble := post.trouble()):
                        warning = Warned(text=trouble)
                    if warning:
                        journal.append(warning)
                        yield warning
            finally:
                control.close()
                journal.close()
        if post and (trouble := post.close()):  # the run is over: its last word was RunEnded
            folder.write_log(f"warning: {trouble}\n")

    def _make_again(
        self, folder: RunFolder, held: Held, journal: Journal, started: RunStarted, made_by: dict[str, object]
    ) -> None:
        """Somebody has deleted the folder, and a checkpoint has made it again: now it can be found and resumed, too."""
        with contextlib.suppress(OSError):
            journal.make_again()
            self._write_manifest(folder, started, made_by)
            folder.lock.hold_again(held)

    def _hand_over(self, folder: RunFolder, held: Held) -> RunEnded | None:
        """Start the process that goes on with the run, and give it the lock; how the run ended when that fails."""
        try:
            was = {"paused": self._paused, "parked": self._parked}
            background.start(Orders.of(folder, held.fd, self.settings, self.carried, **was))
        except OSError as error:
            name = clean(folder.path.name)
            return self._ended(
                "failed",
                error=f"No process in the background can be started: {error.strerror}. The run is saved.\n"
                f"Carry on with: tui-trainer resume {name}",
                exit_code=1,
            )
        held.given = True
        return None

    def _guarded(self, folder: RunFolder, problem: str) -> Iterator[Event]:
        """The training, with every exception turned into the `RunEnded` it means; `problem` is told first, if any."""
        self._began, self._state = time.monotonic(), RunState()
        pulse = Pulse(folder)
        try:
            if problem:
                yield Warned(text=problem)
            if self._turn is not None and self._turn.waits:
                for waited in self._turn.wait(self.inbox):
                    pulse.beat(resting=True)
                    if waited is not None:
                        yield waited
                if isinstance(stop := self.inbox.stop, HandOver):
                    yield RunHandedOver()
                    return
                if stop is not None:
                    code = 128 + stop.signal if stop.signal else 0
                    yield self._ended("interrupted" if stop.signal else "stopped", exit_code=code)
                    return
                self.settings = self.settings.model_copy(update={"device": self._turn.device})
                pulse.beat(resting=False)
            yield Preparing(what="torch")
            how = self.carried.how if self.carried else None
            for event in told(self._fit(self.settings, self.inbox, folder.checkpoints, how), self._state):
                self._paused, self._parked = bool(self._state.paused_in), self._state.parked
                self._state.apply(event)
                pulse.beat(resting=bool(self._state.paused_in))
                yield event
        except GeneratorExit:
            raise
        except BaseException as error:
            folder.write_log(traceback.format_exc())
            known = isinstance(error, TrainerError)
            text = str(error) if known else f"{type(error).__name__}: {error}\nThis is a bug in tui-trainer."
            yield self._ended(
                "failed",
                error=f"{text}\nThe details are in {folder.log}.",
                exit_code=error.exit_code if isinstance(error, TrainerError) else 1,
            )
        finally:
            pulse.stop()

    def _ended(self, reason: str, *, error: str | None = None, exit_code: int) -> RunEnded:
        best = self._state.best
        return RunEnded(
            reason=reason,
            error=error,
            exit_code=exit_code,
            best_epoch=best.epoch if best else None,
            best_loss=best.loss if best else None,
            best_accuracy=best.accuracy if best else None,
            best_scores=best.scores if best else {},
            seconds=time.monotonic() - self._began,
        )

    def _write_manifest(self, folder: RunFolder, started: RunStarted, made_by: dict[str, object]) -> None:
        with contextlib.suppress(OSError):  # a full disk is no reason to stop; checkpoints will say so
            folder.write_manifest(self.settings, made_by | {"device": started.device, "data": started.data})


def preview(carried: Carried, fit: Fit) -> Iterator[Event]:
    """What `carried` would begin with, up to its `RunStarted`, or to the `RunEnded` that says why it cannot.

    Data and checkpoint are read as for the run itself; nothing on the disk changes.
    """
    how = replace(carried.how, looks_only=True)
    for event in fit(carried.settings, Inbox(), carried.folder.checkpoints, how):
        yield event
        if isinstance(event, RunStarted):
            return
