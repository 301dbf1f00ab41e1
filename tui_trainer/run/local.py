"""The run that trains in this process: the training between its folder, its control socket and its notifications."""

import copy
import os
import random
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path

from tui_trainer.errors import TrainerError
from tui_trainer.own.admitted import Admitted
from tui_trainer.run import background
from tui_trainer.run.background import Orders
from tui_trainer.run.commands import Command, HandOver, Inbox
from tui_trainer.run.control import Control
from tui_trainer.run.disconnect import AfterDisconnect, after_disconnect
from tui_trainer.run.events import (
    Event,
    Preparing,
    RunEnded,
    RunHandedOver,
    RunStarted,
    Warned,
    best_fields,
)
from tui_trainer.run.events_json import rounded
from tui_trainer.run.folder import RunFolder
from tui_trainer.run.folder_writer import FolderWriter
from tui_trainer.run.heartbeat import Heartbeat
from tui_trainer.run.lock import Held
from tui_trainer.run.notify import Notifier, notification_text
from tui_trainer.run.resume import Carried, Resume
from tui_trainer.run.state import RunState
from tui_trainer.run.thinning import thinned
from tui_trainer.run.waiting import Waiting
from tui_trainer.settings.schema import Settings
from tui_trainer.text import clean

FOUND_OUT = ("dataset", "loss", "batch_size")
"""Settings that the run itself may choose: what it has used is what it is carried on with."""


Fit = Callable[[Settings, Inbox, Path, Resume | None, Admitted | None], Iterator[Event]]
"""The training: settings, commands, the folder for checkpoints, how it is carried on, the code -> what happens."""


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
        code: Admitted | None = None,
    ) -> None:
        """`fit` trains. `carried` is the run that is carried on, in its own folder, with `settings` from here on.

        `folder` is where a run begins that has one already, `lock` the descriptor of a lock that was handed over, and
        `code` the user's own code that was admitted: that of `carried` when there is one.

        Raises:
            SettingsError: the run that this one should wait for is not there.
        """
        if settings.seed is None:
            settings = settings.model_copy(update={"seed": random.SystemRandom().randrange(2**31)})
        self.settings = settings
        self.carried = carried
        self._fit = fit
        self.inbox = Inbox()
        self._waiting = None if carried else Waiting(settings)
        if self._waiting is not None:
            self.settings = self._waiting.settings
        self._folder: RunFolder | None = carried.folder if carried else folder
        self._lock = lock
        self._code = carried.code if carried else code
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
    def after_disconnect(self) -> AfterDisconnect:
        return after_disconnect(os.getpid())

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
            writer = FolderWriter(folder, held, None if self.carried else self.settings)
            control = Control(folder.path, self.inbox)
            notifier = Notifier(self.settings.notify_url, folder.path.name) if self.settings.notify_url else None
            try:
                for event in map(rounded, self._guarded(folder, control.problem)):
                    if isinstance(event, RunStarted):
                        self.settings = self.settings.model_copy(update={n: event.settings[n] for n in FOUND_OUT})
                    warning = writer.write(event, self.settings)
                    if isinstance(event, RunHandedOver):
                        control.close()  # the process that goes on opens its own
                        if failed := self._hand_over(folder, held):
                            writer.write(failed, self.settings)
                            yield failed
                            return
                    if notifier and (text := notification_text(event, self._state)):
                        notifier.send(text)
                    yield event
                    if notifier and warning is None and not isinstance(event, RunEnded):
                        warning = _not_sent(notifier)
                    if warning:
                        writer.write(warning, self.settings)
                        yield warning
            finally:
                control.close()
                writer.close()
        if notifier and (trouble := notifier.close()):  # the run is over: its last word was RunEnded
            folder.write_log(f"warning: {trouble}\n")

    def _guarded(self, folder: RunFolder, problem: str) -> Iterator[Event]:
        """The run, with every exception turned into the `RunEnded` it means; `problem` is warned of first, if any."""
        self._began, self._state = time.monotonic(), RunState()
        heartbeat = Heartbeat(folder)
        try:
            if problem:
                yield Warned(text=problem)
            if (yield from self._wait(heartbeat)):
                yield from self._train(folder, heartbeat)
        except GeneratorExit:
            raise
        except BaseException as error:
            folder.write_log(traceback.format_exc())
            yield self._failed(error, folder)
        finally:
            heartbeat.stop()

    def _wait(self, heartbeat: Heartbeat) -> Generator[Event, None, bool]:
        """Wait for what the settings name, another run or free memory; False when the run ends before it has begun."""
        if self._waiting is None or not self._waiting.waits:
            return True
        for event in self._waiting.wait(self.inbox):
            heartbeat.beat(resting=True)
            if event is not None:
                yield event
        stop = self.inbox.stop
        if isinstance(stop, HandOver):
            yield RunHandedOver()
        elif stop is not None:
            code = 128 + stop.signal if stop.signal else 0
            yield self._ended("interrupted" if stop.signal else "stopped", exit_code=code)
        if stop is not None:
            return False
        self.settings = self.settings.model_copy(update={"device": self._waiting.device})
        heartbeat.beat(resting=False)
        return True

    def _train(self, folder: RunFolder, heartbeat: Heartbeat) -> Iterator[Event]:
        """What the training yields, thinned and folded."""
        yield Preparing(what="torch")
        how = self.carried.how if self.carried else None
        for event in thinned(self._fit(self.settings, self.inbox, folder.checkpoints, how, self._code), self._state):
            self._paused, self._parked = bool(self._state.paused_in), self._state.parked
            self._state.apply(event)
            heartbeat.beat(resting=bool(self._state.paused_in))
            yield event

    def _hand_over(self, folder: RunFolder, held: Held) -> RunEnded | None:
        """Start the process that goes on with the run, and give it the lock; how the run ended when that fails."""
        try:
            was = {"paused": self._paused, "parked": self._parked}
            background.start(Orders.of(folder, held.fd, self.settings, self.carried, code=self._code, **was))
        except OSError as error:
            name = clean(folder.path.name)
            return self._ended(
                "failed",
                error=f"No process in the background can be started: {error.strerror}. The run is saved.\n"
                f"Carry on with: tui-trainer resume {name}",
                exit_code=1,
            )
        held.handed_over = True
        return None

    def _failed(self, error: BaseException, folder: RunFolder) -> RunEnded:
        """How a run ends by an exception."""
        known = isinstance(error, TrainerError)
        text = str(error) if known else f"{type(error).__name__}: {error}\nThis is a bug in tui-trainer."
        return self._ended(
            "failed",
            error=f"{text}\nThe details are in {folder.log}.",
            exit_code=error.exit_code if isinstance(error, TrainerError) else 1,
        )

    def _ended(self, reason: str, *, error: str | None = None, exit_code: int) -> RunEnded:
        return RunEnded(
            reason=reason,
            error=error,
            exit_code=exit_code,
            **best_fields(self._state.best),
            seconds=time.monotonic() - self._began,
        )


def _not_sent(notifier: Notifier) -> Warned | None:
    """A warning, once, that a notification did not arrive."""
    trouble = notifier.trouble()
    return Warned(text=trouble) if trouble else None


def preview(carried: Carried, fit: Fit) -> Iterator[Event]:
    """What `carried` would begin with, up to its `RunStarted`, or to the `RunEnded` that says why it cannot.

    Data and checkpoint are read as for the run itself; nothing on the disk changes.
    """
    how = replace(carried.how, looks_only=True)
    for event in fit(carried.settings, Inbox(), carried.folder.checkpoints, how, carried.code):
        yield event
        if isinstance(event, RunStarted):
            return
