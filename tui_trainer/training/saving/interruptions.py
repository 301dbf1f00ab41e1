"""What interrupts a training run: a stop, a park, a loss that is not finite, a disk that refuses every save.

Here the run waits: for its saves (`flush_saves`), for a command (`next_command`), for an answer (`ask`).
"""

import time
from collections.abc import Generator, Iterator

from tui_trainer.errors import DivergedError, FolderError
from tui_trainer.run import commands
from tui_trainer.run.events import LearningRateChanged, RunPaused, RunResumed, Warned
from tui_trainer.training.course import Course
from tui_trainer.training.saving.writer import Item

MOST_ROLLBACKS = 3
"""Times that a run goes back by itself, each with half the rate, before it gives up."""
MOST_FAILED_SAVES = 3
"""Saves in a row that may fail before the run asks for room, or ends when nobody watches."""


class Stopped(Exception):
    """The user or a signal wants the run to end here; the weights are those after the last whole batch."""

    def __init__(self, command: commands.Stop | commands.HandOver) -> None:
        super().__init__()
        self.command = command


class ParkRequested(Exception):
    """The device's memory is wanted for something else; `packed` is the run as it stands."""

    def __init__(self, packed: bytes) -> None:
        super().__init__()
        self.packed = packed


def flush_saves(course: Course) -> Iterator[Item]:
    """Wait for what is being saved, and let it be told of."""
    course.saver.writer.wait()
    yield None
    while course.warnings:
        yield Warned(text=course.warnings.pop(0))


def next_command(course: Course) -> Generator[Item, None, commands.Command]:
    """The next command, however long it takes."""
    yield from flush_saves(course)
    return course.inbox.wait()


def recover(course: Course, error: DivergedError) -> Iterator[Item]:
    """Go on after a loss that is not finite, as the settings or whoever watches want it.

    Raises:
        DivergedError: the run ends here.
    """
    yield from flush_saves(course)
    place, policy = course.place(), course.settings.on_nonfinite
    answer: commands.Command | None = None
    if policy == "ask" and course.inbox.watched:
        answer = yield from ask(course, RunPaused(why="diverged", text=f"{error} at {place}."))
    elif policy == "rollback" and course.progress.rollbacks < MOST_ROLLBACKS:
        answer = commands.RollBack(halve=True)
    if answer is None:
        raise error
    if isinstance(answer, commands.SkipBatch) and not error.step_taken:
        course.skip()
        yield Warned(text=f"{error}: {place} is left out")
        if course.is_sound():
            return
    halve = answer.halve if isinstance(answer, commands.RollBack) else isinstance(answer, commands.Continue)
    course.go_back(halve=halve)
    yield Warned(
        text=f"{error} at {place}: back to step {course.progress.step:,}{', with half the rate' if halve else ''}"
    )
    if halve:
        yield LearningRateChanged(lr=course.schedule.lr, by="rollback")


def ask(course: Course, question: RunPaused) -> Generator[Item, None, commands.Command]:
    """Wait for whoever watches to say what is to be done; the answer.

    Raises:
        Stopped: the run should end here.
    """
    course.paused, since = True, time.monotonic()
    yield question
    while True:
        answer = yield from next_command(course)
        match answer:
            case commands.Stop():
                raise Stopped(answer)
            case commands.Continue() | commands.SkipBatch() | commands.RollBack():
                course.paused = False
                course.reports.watch.leave_out(time.monotonic() - since, of_epoch=True)
                yield RunResumed(by=answer.by)
                return answer
            case commands.HandOver():
                course.inbox.stop = None
                yield Warned(text="the run is not handed over before its question is answered", answers="HandOver")
            case commands.Park():
                yield Warned(text="the run asks what to do; it can be parked once that is answered", answers="Park")


def wait_for_room(course: Course) -> Iterator[Item]:
    """The disk has refused several saves in a row: a run that cannot keep anything should not just go on.

    Raises:
        FolderError: nobody watches who could make room.
    """
    record = course.saver.record
    if not course.inbox.watched:
        raise FolderError(
            f"{record.failed} saves in a row failed: {record.why_not}. What was saved before is kept.\n"
            f"Make room or mend the folder, then carry on with: tui-trainer resume {course.saver.run_name}"
        )
    yield from ask(course, RunPaused(why="disk", text=f"Nothing can be saved: {record.why_not}"))
    record.failed = 0
    yield from course.save_now()


def make_up_for_failed_saves(course: Course) -> Iterator[Item]:
    """At the end of a run: what it has come to is not given up because the disk refused the last save.

    Raises:
        FolderError: it still does, and nobody watches who could make room.
    """
    yield from flush_saves(course)
    while course.saver.record.failed:
        yield from course.save_now()
        yield from flush_saves(course)
        if course.saver.record.failed:
            yield from wait_for_room(course)
