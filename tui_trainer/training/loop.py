"""The tutorial's training loop with every `print` turned into a `yield`. Whoever iterates it is the training thread."""

import math
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from tui_trainer.errors import DeviceError, DivergedError, TrainerError
from tui_trainer.own.admitted import Admitted
from tui_trainer.run import commands
from tui_trainer.run.commands import Inbox
from tui_trainer.run.events import (
    EpochEnded,
    Evaluated,
    Event,
    LearningRateChanged,
    Preparing,
    RunEnded,
    RunHandedOver,
    RunPaused,
    RunResumed,
    Warned,
    best_fields,
)
from tui_trainer.run.resume import Resume
from tui_trainer.settings.schema import Settings, is_of_script
from tui_trainer.training import devices
from tui_trainer.training.before.prepare import prepare
from tui_trainer.training.course import Course
from tui_trainer.training.saving.interruptions import (
    MOST_FAILED_SAVES,
    ParkRequested,
    Stopped,
    flush_saves,
    make_up_for_failed_saves,
    next_command,
    recover,
    wait_for_room,
)
from tui_trainer.training.saving.park import Parked
from tui_trainer.training.saving.writer import Item, in_order


def train(course: Course) -> Iterator[Item]:
    """One epoch, or what is left of it. X is [N, C, H, W] float32 on `course.device`, y is [N] int64 class indices."""
    course.learning_mode()
    for batch, (X, y) in course.train_batches():
        examples = len(X)
        if not examples:  # it is still waited for
            yield Preparing(what=course.waiting())
            yield from handle_commands(course)
            continue
        if course.leaves_out(batch):
            continue
        try:
            loss = course.step(*course.learned_from(X, y, batch), batch)  # predict, measure, backward, update
        except Exception as error:
            raise course.fault_of_step(error, X) from error
        course.count(loss, examples)
        if course.due():  # .item() waits for the device, so only when it will be seen
            yield course.report()
        if course.warnings:
            yield Warned(text=course.warnings.pop(0))
        if course.saver.is_due():
            yield from course.save_now()
        yield from handle_commands(course)  # pause or change the rate here, or raise Stopped or ParkRequested
        if course.at_end_of_epoch():
            break
    if not course.is_reported():
        yield course.report()
    yield from flush_saves(course)


@torch.inference_mode()
def evaluate(
    course: Course, split: str, model: nn.Module | None = None, at: Evaluated | None = None
) -> Generator[Item, None, Evaluated]:
    """The average loss and the scores of the task over `valid` or `test`, without learning from it."""
    yield Preparing(what="test" if split == "test" else "validation")
    began = time.monotonic()
    model = model or course.measured_model()
    waits = not course.paused  # a measurement asked for in a pause is made in it
    batches = course.test_batches if split == "test" else course.valid_batches
    assert batches is not None
    loss_sum = torch.zeros((), device=course.device)
    meter = course.task.meter(course.splits, course.device)
    examples = 0
    course.measuring = True
    model.eval()
    for X, y in batches:
        if not len(X):
            yield Preparing(what=course.waiting())
            yield from handle_commands(course, waits=waits)
            continue
        y = course.task.targets(y)
        try:
            with course.step.autocast, course.step.quickly:
                pred = model(X)
                loss_sum += course.loss_function(pred, y) * len(X)
        except Exception as error:
            raise course.fault_of_step(error, X) from error
        meter.add(pred, y)  # stays on the device
        examples += len(X)
        yield from handle_commands(course, waits=waits)
        model.eval()
    course.measuring = False
    result = Evaluated(
        split=split,
        epoch=at.epoch if at else course.progress.epoch,
        step=at.step if at else course.progress.step,
        loss=float(loss_sum) / examples,
        seconds=time.monotonic() - began,
        **meter.figures(),
    )
    yield result
    if not math.isfinite(result.loss):
        yield Warned(text=f"the {split} loss is not finite; it counts as no improvement")
    return result


def epochs(course: Course) -> Generator[Item, None, str]:
    """The tutorial's last section: train and evaluate, epoch after epoch. Gives the reason why it ended."""
    yield from handle_commands(course)
    reason = "finished"
    while True:
        try:
            if not course.progress.done:
                yield from epoch(course)
            yield EpochEnded(
                epoch=course.progress.epoch,
                train_loss=course.reports.meter.mean(),
                seconds=course.reports.watch.epoch_seconds(),
            )
        except DivergedError as error:
            yield from recover(course, error)
            continue
        if course.out_of_patience():
            reason = "out_of_patience"
            break
        if course.progress.over or course.progress.epoch >= course.settings.epochs:
            break
        course.begin_epoch(course.progress.epoch + 1)
    if course.progress.best is None:
        yield Warned(text="there is no best checkpoint: validation was never finite")
    elif course.splits.test is not None:
        yield from flush_saves(course)  # best.pt may still be on its way to the disk
        if (model := course.best_model()) is not None:
            yield from evaluate(course, "test", model, course.progress.best)
    return reason


def epoch(course: Course) -> Iterator[Item]:
    """An epoch, or what is left of it: training, validation, checkpoints."""
    yield from train(course)
    result, is_best = None, False
    if course.validates():
        result = yield from evaluate(course, "valid")
        is_best = course.is_best(result)
        if course.schedule.after_validation(course.monitor.value(result), course.step.updates):
            yield LearningRateChanged(lr=course.schedule.lr, by="plateau")
    course.progress.done = True
    yield from course.save_after_epoch(is_best=is_best, result=result)
    park_if_told(course, result)  # during the validation it was too early


def park_if_told(course: Course, result: Evaluated | None = None) -> None:
    """Leave the loop when the run is to be parked; `result` is the validation that belongs to this moment, if any.

    Raises:
        ParkRequested: with the run as it stands, before anything more is reported.
        DivergedError: a weight is not finite.
    """
    if course.parks and not course.measuring:
        raise ParkRequested(course.pack(result))


def handle_commands(course: Course, *, waits: bool = True) -> Iterator[Item]:
    """Carry out the commands that have come; while paused, wait for more (unless `waits` is False).

    Raises:
        Stopped: the run should end here.
        ParkRequested: its memory is wanted for something else.
    """
    park_if_told(course)  # a loss that was not finite may have been in the way before
    if course.saver.writer.news():
        yield None
    if course.saver.record.failed >= MOST_FAILED_SAVES:
        yield from wait_for_room(course)
    since = time.monotonic()
    while command := (yield from next_command(course)) if course.paused and waits else course.inbox.take():
        now = time.monotonic()
        course.reports.watch.leave_out(now - since, of_epoch=course.paused)
        since = now
        match command:
            case commands.Stop():
                raise Stopped(command)
            case commands.HandOver():
                yield from save_to_hand_over(course, command)
            case commands.Pause() if not course.paused and not course.parks:
                course.paused = True
                yield RunPaused(by=command.by)
            case commands.Continue() if course.paused or course.parks:
                course.paused = course.parks = False
                yield RunResumed(by=command.by)
            case commands.Park():
                course.parks = True
                if course.measuring and course.paused and waits:  # the evaluation is finished first
                    course.paused = False
                    yield RunResumed(by=command.by)
            case commands.SaveCheckpoint():
                yield from course.save_now()
            case commands.Wake() if not course.paused:
                course.reports.watch.leave_out_stop()
            case commands.Evaluate() if not course.measuring:
                yield from evaluate(course, "valid")
                course.learning_mode()
            case commands.EndEpoch() if course.at_end_of_epoch():
                yield Warned(text=f"epoch {course.progress.epoch} has no batch left to leave out", answers="EndEpoch")
            case commands.EndEpoch():
                course.progress.ends_epoch = True
                where = f"after batch {course.progress.batch:,} of {course.batches:,}"
                yield Warned(text=f"epoch {course.progress.epoch} ends early, {where}", answers="EndEpoch")
            case commands.SetLearningRate(lr=lr):
                if not course.is_reported():
                    yield course.report()  # the batches so far were trained at the old rate
                course.schedule.set_lr(lr, course.step.updates)
                yield LearningRateChanged(lr=lr, by=command.by or "you")
        now = time.monotonic()
        course.reports.watch.leave_out(now - since, of_epoch=False)
        since = now
        park_if_told(course)


def save_to_hand_over(course: Course, command: commands.HandOver) -> Iterator[Item]:
    """Save this moment for the process that goes on from it. What cannot be saved is not handed over.

    Raises:
        Stopped: it is saved, and the run ends here.
    """
    reason = "it has objects of a script, which are in its process only" if is_of_script(course.settings) else ""
    if not reason:
        yield from course.save_now()
        yield from flush_saves(course)
        if not course.saver.record.failed:
            raise Stopped(command)
        reason = f"it cannot be saved ({course.saver.record.why_not})"
    course.inbox.stop = None
    yield Warned(text=f"the run is not handed over: {reason}", answers="HandOver")


def fit(
    settings: Settings,
    inbox: Inbox,
    folder: Path | None = None,
    resume: Resume | None = None,
    code: Admitted | None = None,
) -> Iterator[Event]:
    """A whole run, from loading the data to `RunEnded`. Checkpoints go to `folder`; without one none are written.

    With `resume` it carries on from the newest checkpoint there. `code` is the user's own that was admitted.

    Raises:
        TrainerError: data, model, device, checkpoint or disk fail; what was saved before stays as it was.
    """
    with devices.without_denormals():
        yield from in_order(run_states(Run(settings, inbox, folder, code), resume))


@dataclass
class Run:
    """What the states of a run share."""

    settings: Settings
    inbox: Inbox
    folder: Path | None
    code: Admitted | None
    began: float = field(default_factory=time.monotonic)
    course: Course | None = None
    """All that it is made of, while it is prepared, trained or ended."""
    parked: Parked | None = None
    """What stays of it while its device belongs to others."""


RunState = Generator[Item, None, "RunState | None"]
"""A state of a run: it yields what happens and gives the state that follows, None after the last."""


def run_states(run: Run, resume: Resume | None) -> Iterator[Item]:
    """preparing -> training -> the end; from any of them to stopping or diverged, and to parked and back."""
    state: RunState | None = preparing(run, resume)
    try:
        while state is not None:
            try:
                state = yield from state
            except Stopped as stopped:
                state = stopping(run, stopped.command)
            except ParkRequested as requested:
                state = parking(run, requested.packed)
            except DivergedError as error:
                state = diverged(run, error)
    except torch.OutOfMemoryError as error:
        raise out_of_memory(run.settings, run.course) from error
    finally:
        if run.course is not None:
            run.course.close()


def preparing(run: Run, resume: Resume | None) -> RunState:
    """Make all that the run needs; a run that may go back to a checkpoint saves its first."""
    course = run.course = yield from prepare(run.settings, run.inbox, run.folder, resume, run.code)
    run.code = course.code
    yield course.started()
    if run.settings.on_nonfinite != "stop" and not course.progress.step:
        yield from course.save_now()
    return training(run)


def training(run: Run) -> RunState:
    """Epoch after epoch to the end."""
    assert run.course is not None
    reason = yield from epochs(run.course)
    yield from make_up_for_failed_saves(run.course)
    yield run.course.ended(reason)
    return None


def parking(run: Run, packed: bytes) -> RunState:
    """Save the run as it was `packed`, end all that serves it, and let go of its model, optimizer and data."""
    course = run.course
    assert course is not None
    kept = Parked(course, packed, run.folder)
    if not course.is_reported():
        yield course.report()  # the last step there is, before the checkpoint that holds it
    yield from course.save_now(packed)
    yield from flush_saves(course)
    course.close()
    kept.note(course)
    run.course, run.parked = None, kept
    return parked(run)  # once this frame is gone nothing refers to the course any more


def parked(run: Run) -> RunState:
    """Wait until the run is to go on."""
    assert run.parked is not None
    yield run.parked.memory_given_back()
    run.course = yield from unpark(run.parked, run)
    run.parked = None
    return training(run)


def stopping(run: Run, command: commands.Stop | commands.HandOver) -> RunState:
    """Save, unless that is not wanted, and end; a run that was handed over has been saved already."""
    if isinstance(command, commands.HandOver):
        yield RunHandedOver()
        return None
    reason, code = ("interrupted", 128 + command.signal) if command.signal else ("stopped", 0)
    course = run.course
    if course is not None:
        # As things were before the report: a run that is carried on reports when it would have anyway.
        last = course.pack(None) if command.save else None
        if not course.is_reported():
            yield course.report()  # the last step there is, before the checkpoint that holds it
        yield Preparing(what="stop")
        if last:
            yield from course.save_now(last)
        yield course.ended(reason, exit_code=code)
    elif run.parked is not None:
        if command.save and not run.parked.saved:
            yield run.parked.save(at_last=True)
        yield run.parked.ended(reason, exit_code=code)
    else:
        seconds = time.monotonic() - run.began
        yield RunEnded(reason=reason, error=None, exit_code=code, seconds=seconds, **best_fields(None))
    return None


def diverged(run: Run, error: DivergedError) -> RunState:
    """End a run whose numbers are not finite any more."""
    course = run.course
    assert course is not None
    yield from flush_saves(course)
    kept = "The checkpoints from before are kept." if course.saver.record.saved else "No checkpoint was saved before."
    step = "" if error.step_taken else " The step was not taken."
    text = f"{error} at {course.place()}.{step} {kept}\nTry a lower --lr, or --clip-grad 1."
    yield course.ended("diverged", error=text, exit_code=error.exit_code)
    return None


def out_of_memory(settings: Settings, course: Course | None) -> DeviceError:
    """What to say of a device that is full."""
    settings = course.settings if course else settings
    size = f", with batch size {settings.batch_size}" if settings.batch_size else ""
    where = f" at {course.place()}" if course else ""
    memory = devices.memory(course.device if course else devices.pick(settings.device))
    return DeviceError(
        f"{settings.device} is out of memory{where}{size} ({memory}). "
        f"Saved checkpoints are kept.\nTry --batch-size {max(1, settings.batch_size // 2)} --grad-accum-steps 2."
    )


def unpark(kept: Parked, run: Run) -> Generator[Item, None, Course]:
    """Wait, parked, until the run is to go on; it, as it was.

    Raises:
        Stopped: the run should end here.
    """
    inbox = run.inbox
    while True:
        while not isinstance(command := inbox.wait(), commands.Continue):
            if isinstance(command, commands.Stop) or (isinstance(command, commands.HandOver) and kept.saved):
                raise Stopped(command)
            if isinstance(command, commands.HandOver):
                inbox.stop = None
                yield Warned(text="the run is not handed over: it could not be saved", answers="HandOver")
            elif answer := kept.answer(command):
                yield answer
        try:
            course = yield from prepare(kept.settings, inbox, run.folder, Resume(packed=kept.packed), run.code)
        except torch.OutOfMemoryError:
            reason = str(out_of_memory(kept.settings, None)).split("\n")[0]
        except TrainerError as error:
            reason = str(error).split("\n")[0]
        else:
            kept.restore(course)
            inbox.put_back(kept.orders)
            yield RunResumed()
            return course
        yield kept.memory_given_back(f"it cannot go on yet. {reason}")
