"""A parked run: what stays of it in host memory while its device belongs to others.

The bytes of a checkpoint hold its `State`. Beside them is kept what a new process would begin anew and this one need
not: all of its progress, its clock, what became of its saves, and the commands that came while it was parked.
"""

import copy
import time
from dataclasses import replace
from pathlib import Path

import torch

from tui_trainer.run import commands
from tui_trainer.run.commands import Command
from tui_trainer.run.events import Event, RunEnded, RunPaused, Warned
from tui_trainer.text import number, size
from tui_trainer.training import devices
from tui_trainer.training.course import Course
from tui_trainer.training.saving import checkpoint


class Parked:
    """What stays of a parked run. It refers to no model, no optimizer and no data."""

    def __init__(self, course: Course, packed: bytes, folder: Path | None) -> None:
        """To be made before the last report, which begins a new stretch of time."""
        self.packed, self._folder = packed, folder
        self.settings = course.settings
        self.orders: list[Command] = []
        """What the run was told while it was parked and does when it goes on."""
        self._device, self._lr = course.device, course.schedule.lr
        self._held = devices.held(course.device)
        self._watch, self._since = copy.copy(course.reports.watch), time.monotonic()

    def note(self, course: Course) -> None:
        """Take down what is not in the checkpoint, once that is saved or was refused."""
        self._progress, self._record, self._spikes = course.progress, course.saver.record, course.reports.spikes
        self._ended = course.ended("stopped")
        self._run_name = course.saver.run_name
        self._compiled = course.settings.compile

    @property
    def saved(self) -> bool:
        """True when the disk has it too."""
        return not self._record.failed

    def memory_given_back(self, reason: str = "") -> RunPaused:
        """Give all memory back that the run has let go of, and tell how much; or the `reason` why it rests again."""
        if self._compiled:
            torch.compiler.reset()
        devices.give_back(self._device)
        where = "" if self._device.type == "cpu" else f" of {self._device}"
        text = reason or f"{size(max(0, self._held - devices.held(self._device)))}{where} given back"
        if not self.saved:
            text += "; its checkpoint is held in memory alone, as the disk refused it"
        return RunPaused(why="parked", text=text)

    def answer(self, command: Command) -> Event | None:
        """What is said to a command other than to go on or to end; those that can wait are kept."""
        kind = type(command).__name__
        match command:
            case commands.SetLearningRate(lr):
                self.orders.append(command)
                return Warned(text=f"the run is parked: the rate becomes {number(lr)} when it goes on", answers=kind)
            case commands.EndEpoch():
                self.orders.append(command)
                return Warned(text="the run is parked: the epoch is ended when it goes on", answers=kind)
            case commands.Evaluate():
                return Warned(text="the run is parked: it can be measured when it goes on", answers=kind)
            case commands.SaveCheckpoint() if self.saved:
                return Warned(text="the run is parked: it was saved then", answers=kind)
            case commands.SaveCheckpoint():
                return self.save()
        return None

    def save(self, *, at_last: bool = False) -> Event:
        """Have the checkpoint written once more. A disk that still refuses costs a warning: it stays in memory.

        Raises:
            FolderError: the disk still refuses it, and this was the last chance.
        """
        assert self._folder is not None
        try:
            event = checkpoint.save(
                self.packed, self._folder / "last.pt", kind="last", epoch=self._progress.epoch, step=self._progress.step
            )
        except OSError as error:
            reason = checkpoint.why_not(error, len(self.packed), self._folder)
            if at_last:
                raise checkpoint.refused("last.pt", reason, self._run_name) from error
            return Warned(text=f"last.pt was not saved ({reason}); it stays in memory", answers="SaveCheckpoint")
        self._record.saved, self._record.failed = True, 0
        return event

    def ended(self, reason: str, *, exit_code: int) -> RunEnded:
        """The run does not go on."""
        return replace(self._ended, at=time.time(), reason=reason, exit_code=exit_code, seconds=self._watch.elapsed())

    def restore(self, course: Course) -> None:
        """Give back to `course`, which was made from the checkpoint, what is kept beside it."""
        course.progress, course.saver.record, course.reports.spikes = self._progress, self._record, self._spikes
        course.schedule.hold(self._lr)
        self._watch.leave_out(time.monotonic() - self._since, of_epoch=True)
        self._watch.looked = time.monotonic()
        course.reports.watch = self._watch
        meter = course.reports.meter
        if meter.examples and any(isinstance(order, commands.SetLearningRate) for order in self.orders):
            meter.take()  # the last report told of these; the next is of another rate alone
