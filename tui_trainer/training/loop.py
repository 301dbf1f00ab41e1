"""The tutorial's training loop with every `print` turned into a `yield`. Whoever iterates it is the training thread."""

import math
import random
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tui_trainer.errors import DeviceError, DivergedError, FolderError, ModelError, TrainerError
from tui_trainer.own import admitted
from tui_trainer.own.loading import load as load_code
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
)
from tui_trainer.run.resume import Resume
from tui_trainer.settings.schema import Settings, is_of_script, short
from tui_trainer.text import clean
from tui_trainer.training import devices, models, tasks
from tui_trainer.training.before import batch_size
from tui_trainer.training.course import Course
from tui_trainer.training.data import examples
from tui_trainer.training.data.splits import load as load_data
from tui_trainer.training.models import weights
from tui_trainer.training.saving import checkpoint, safe_load, state
from tui_trainer.training.saving.checkpoint import Happening, in_order
from tui_trainer.training.saving.park import Kept
from tui_trainer.training.saving.resume import carry_on

MOST_ROLLBACKS = 3
"""Times that a run goes back by itself, each with half the rate, before it gives up."""
MOST_FAILED_SAVES = 3
"""Saves in a row that may fail before the run asks for room, or ends when nobody watches."""


class Stopped(Exception):
    """The user or a signal wants the run to end here; the weights are those after the last whole batch."""

    def __init__(self, command: commands.Stop | commands.HandOver) -> None:
        super().__init__()
        self.command = command


class Parked(Exception):
    """The device's memory is wanted for something else; `packed` is the run as it stands."""

    def __init__(self, packed: bytes) -> None:
        super().__init__()
        self.packed = packed


def train(course: Course) -> Iterator[Happening]:
    """One epoch, or what is left of it. X is [N, C, H, W] float32 on `course.device`, y is [N] int64 class indices."""
    course.learning_mode()
    for batch, (X, y) in course.train_batches():
        examples = len(X)
        if not examples:  # it is still waited for
            yield Preparing(what=course.waiting())
            yield from obey(course)
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
        if course.save_is_due():
            yield from course.save_now()
        yield from obey(course)  # pause here, change the learning rate here, or raise Stopped or Parked
        if course.at_end_of_epoch():
            break
    if not course.is_reported():
        yield course.report()
    yield from settle(course)


@torch.inference_mode()
def evaluate(
    course: Course, split: str, model: nn.Module | None = None, at: Evaluated | None = None
) -> Generator[Happening, None, Evaluated]:
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
            yield from obey(course, waits=waits)
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
        yield from obey(course, waits=waits)
        model.eval()
    course.measuring = False
    result = Evaluated(
        split=split,
        epoch=at.epoch if at else course.epoch,
        step=at.step if at else course.steps,
        loss=float(loss_sum) / examples,
        seconds=time.monotonic() - began,
        **meter.figures(),
    )
    yield result
    if not math.isfinite(result.loss):
        yield Warned(text=f"the {split} loss is not finite; it counts as no improvement")
    return result


def epochs(course: Course) -> Generator[Happening, None, str]:
    """The tutorial's last section: train and evaluate, epoch after epoch. Gives the reason why it ended."""
    yield from obey(course)
    reason = "finished"
    while True:
        try:
            if not course.done:
                yield from epoch(course)
            yield EpochEnded(epoch=course.epoch, train_loss=course.meter.mean(), seconds=course.watch.epoch_seconds())
        except DivergedError as error:
            yield from recover(course, error)
            continue
        if course.out_of_patience():
            reason = "out_of_patience"
            break
        if course.over or course.epoch >= course.settings.epochs:
            break
        course.begin_epoch(course.epoch + 1)
    if course.best is None:
        yield Warned(text="there is no best checkpoint: validation was never finite")
    elif course.splits.test is not None and (model := course.best_model()) is not None:
        yield from evaluate(course, "test", model, course.best)
    return reason


def epoch(course: Course) -> Iterator[Happening]:
    """An epoch, or what is left of it: training, validation, checkpoints."""
    yield from train(course)
    result, is_best = None, False
    if course.validates():
        result = yield from evaluate(course, "valid")
        is_best = course.is_best(result)
        if course.schedule.after_validation(course.monitored(result), course.step.updates):
            yield LearningRateChanged(lr=course.schedule.lr, by="plateau")
    course.done = True
    yield from course.save_after_epoch(is_best=is_best, result=result)
    park_if_told(course, result)  # during the validation it was too early


def recover(course: Course, error: DivergedError) -> Iterator[Happening]:
    """Go on after a loss that is not finite, as the settings or whoever watches want it.

    Raises:
        DivergedError: the run ends here.
    """
    yield from settle(course)
    place, policy = course.place(), course.settings.on_nonfinite
    answer: commands.Command | None = None
    if policy == "ask" and course.inbox.watched:
        answer = yield from ask(course, RunPaused(why="diverged", text=f"{error} at {place}."))
    elif policy == "rollback" and course.rollbacks < MOST_ROLLBACKS:
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
    yield Warned(text=f"{error} at {place}: back to step {course.steps:,}{', with half the rate' if halve else ''}")
    if halve:
        yield LearningRateChanged(lr=course.schedule.lr, by="rollback")


def ask(course: Course, question: RunPaused) -> Generator[Happening, None, commands.Command]:
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
                course.watch.leave_out(time.monotonic() - since, of_epoch=True)
                yield RunResumed(by=answer.by)
                return answer
            case commands.HandOver():
                course.inbox.stop = None
                yield Warned(text="the run is not handed over before its question is answered", answers="HandOver")
            case commands.Park():
                yield Warned(text="the run asks what to do; it can be parked once that is answered", answers="Park")


def park_if_told(course: Course, result: Evaluated | None = None) -> None:
    """Leave the loop when the run is to be parked; `result` is the validation that belongs to this moment, if any.

    Raises:
        Parked: with the run as it stands, before anything more is reported.
        DivergedError: a weight is not finite.
    """
    if course.parks and not course.measuring:
        raise Parked(course.pack(result))


def obey(course: Course, *, waits: bool = True) -> Iterator[Happening]:
    """Carry out the commands that have come; while paused, wait for more (unless `waits` is False).

    Raises:
        Stopped: the run should end here.
        Parked: its memory is wanted for something else.
    """
    park_if_told(course)  # a loss that was not finite may have been in the way before
    if course.writer.news():
        yield None
    if course.failed_saves >= MOST_FAILED_SAVES:
        yield from wait_for_room(course)
    since = time.monotonic()
    while command := (yield from next_command(course)) if course.paused and waits else course.inbox.take():
        now = time.monotonic()
        course.watch.leave_out(now - since, of_epoch=course.paused)
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
                course.watch.leave_out_stop()
            case commands.Evaluate() if not course.measuring:
                yield from evaluate(course, "valid")
                course.learning_mode()
            case commands.EndEpoch() if course.at_end_of_epoch():
                yield Warned(text=f"epoch {course.epoch} has no batch left to leave out", answers="EndEpoch")
            case commands.EndEpoch():
                course.ends_epoch = True
                where = f"after batch {course.batch:,} of {course.batches:,}"
                yield Warned(text=f"epoch {course.epoch} ends early, {where}", answers="EndEpoch")
            case commands.SetLearningRate(lr=lr):
                if not course.is_reported():
                    yield course.report()  # the batches so far were trained at the old rate
                course.schedule.set_lr(lr, course.step.updates)
                yield LearningRateChanged(lr=lr, by=command.by or "you")
        now = time.monotonic()
        course.watch.leave_out(now - since, of_epoch=False)
        since = now
        park_if_told(course)


def save_to_hand_over(course: Course, command: commands.HandOver) -> Iterator[Happening]:
    """Save this moment for the process that goes on from it. What cannot be saved is not handed over.

    Raises:
        Stopped: it is saved, and the run ends here.
    """
    reason = "it has objects of a script, which are in its process only" if is_of_script(course.settings) else ""
    if not reason:
        yield from course.save_now()
        yield from settle(course)
        if not course.failed_saves:
            raise Stopped(command)
        reason = f"it cannot be saved ({course.why_not_saved})"
    course.inbox.stop = None
    yield Warned(text=f"the run is not handed over: {reason}", answers="HandOver")


def wait_for_room(course: Course) -> Iterator[Happening]:
    """The disk has refused several saves in a row: a run that cannot keep anything should not just go on.

    Raises:
        FolderError: nobody watches who could make room.
    """
    if not course.inbox.watched:
        raise FolderError(
            f"{course.failed_saves} saves in a row failed: {course.why_not_saved}. What was saved before is kept.\n"
            f"Make room or mend the folder, then carry on with: tui-trainer resume {course.run_name}"
        )
    yield from ask(course, RunPaused(why="disk", text=f"Nothing can be saved: {course.why_not_saved}"))
    course.failed_saves = 0
    yield from course.save_now()


def make_up_for_failed_saves(course: Course) -> Iterator[Happening]:
    """At the end of a run: what it has come to is not given up because the disk refused the last save.

    Raises:
        FolderError: it still does, and nobody watches who could make room.
    """
    yield from settle(course)
    while course.failed_saves:
        yield from course.save_now()
        yield from settle(course)
        if course.failed_saves:
            yield from wait_for_room(course)


def settle(course: Course) -> Iterator[Happening]:
    """Wait for what is being saved, and let it be told of."""
    course.writer.wait()
    yield None
    while course.warnings:
        yield Warned(text=course.warnings.pop(0))


def next_command(course: Course) -> Generator[Happening, None, commands.Command]:
    """The next command, however long it takes."""
    yield from settle(course)
    return course.inbox.wait()


def prepare(
    settings: Settings, inbox: Inbox, folder: Path | None, resume: Resume | None = None
) -> Generator[Event, None, Course]:
    """Device, data and model, ready for the first step or for the next one of a run that is carried on."""
    saved = None
    if resume is not None and resume.packed is not None:
        saved, shown = safe_load.unpack(resume.packed, "the parked run"), ""
    elif resume is not None:
        assert folder is not None
        yield Preparing(what="checkpoint")
        saved, shown, warning = checkpoint.newest(folder, set_aside=not resume.looks_only)
        if warning:
            yield Warned(text=warning)
    yield Preparing(what="device")
    device = devices.pick(settings.device)
    devices.tune(settings, device)
    code = admitted.places(settings)
    for kind, found in code.items():  # before the seed: what they draw when they are imported must not matter
        yield Preparing(what=f"{kind} {clean(found.attribute, 60)}")
        load_code(found, kind)  # type: ignore[arg-type]
    seed_everything(settings.seed or 0)
    yield Preparing(what="data")
    loading = load_data(settings)
    while True:
        try:
            yield next(loading)
        except StopIteration as done:
            splits: examples.Data = done.value
            break
        if inbox.stop is not None:
            raise Stopped(inbox.stop)
    used: dict[str, object] = {"dataset": splits.name}  # not the one asked for when that could not be had
    if settings.dry_run:
        used |= {"epochs": 1, "limit_train_batches": 1, "warmup_epochs": 0.0}
    task = tasks.find(settings, splits)
    used["loss"] = tasks.loss_name(settings, task)
    settings = settings.model_copy(update=used)
    yield Preparing(what="model")
    if resume is None and settings.pretrained:
        yield from weights.fetch(settings.model)
    built = settings if resume is None else settings.model_copy(update={"pretrained": False})  # its weights are saved
    outputs = task.outputs(splits)
    model = models.build(built, splits.shape, outputs, categories=splits.categories, classes=splits.classes).to(device)
    if settings.channels_last:
        model = model.to(memory_format=torch.channels_last)
    if not settings.batch_size and saved is not None:
        settings = settings.model_copy(update={"batch_size": state.batch_size(saved)})
    if not settings.batch_size:
        yield Preparing(what="the largest batch size that fits")
        size, why = batch_size.find(settings, splits, task, model)
        settings = settings.model_copy(update={"batch_size": size})
        yield Warned(text=f"batch size {size:,}: {why}")
    forward = None
    if settings.compile:
        yield Preparing(what="compiling the model")
        try:
            forward = models.compiled(model, splits.shape, settings, device)
        except Exception as error:  # whatever the compiler trips over, the model itself still runs
            reason = clean(str(error).strip().split("\n")[0], 200)
            yield Warned(
                text=f"the model is not compiled ({type(error).__name__}: {reason}); its layers run one by one"
            )
    course = Course(settings, splits, task, model, device, inbox, folder, forward)
    course.code = admitted.digests(code)
    try_out(course)
    if resume is None or saved is None:
        course.begin_epoch(1)
    else:
        course.resumed_from = shown
        for warning in carry_on(course, saved, shown, resume):
            yield Warned(text=warning)
    return course


SANITY_BATCHES = 2
"""Validation batches that are measured before the first step."""


@torch.no_grad()  # a model may keep what it makes at its first call: not inference mode, which could not be trained
def try_out(course: Course) -> None:
    """Measure two validation batches before the first step: what does not fit together is told at once.

    Raises:
        ModelError: the model or the loss fails, or they do not fit each other.
    """
    size, examples = course.settings.batch_size, course.splits.valid
    few = torch.arange(min(len(examples), SANITY_BATCHES * size))
    was_training = course.model.training
    course.model.eval()
    with torch.random.fork_rng(devices=[]):
        for indices in few.split(size):  # type: ignore[no-untyped-call]
            X, y = course.inputs_of(examples, indices)
            try:
                with course.step.autocast:
                    pred = course.model(X)
                reason = course.task.needs(pred, y, course.outputs)
                loss = None if reason else course.loss_function(pred, course.task.targets(y))
            except Exception as error:
                raise course.fault_of_step(error, X) from error
            if reason:
                raise ModelError(f"{clean(short(course.settings.model), 60)} {reason}. Nothing was trained.")
            if not isinstance(loss, torch.Tensor) or loss.dim():
                shape = tuple(loss.shape) if isinstance(loss, torch.Tensor) else type(loss).__name__
                name = clean(short(course.settings.loss), 60)
                raise ModelError(f"loss {name} gives {shape}, not one number. Nothing was trained.")
            if reason := course.misfit_of_mixed(X, pred, y):
                raise ModelError(f"{reason}. Nothing was trained.")
    course.model.train(was_training)


def seed_everything(seed: int) -> None:
    """Start every source of random numbers from `seed`."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def fit(settings: Settings, inbox: Inbox, folder: Path | None = None, resume: Resume | None = None) -> Iterator[Event]:
    """A whole run, from loading the data to `RunEnded`. Checkpoints go to `folder`; without one none are written.

    With `resume` it carries on from the newest checkpoint there.

    Raises:
        TrainerError: data, model, device, checkpoint or disk fail; what was saved before stays as it was.
    """
    with devices.without_denormals():
        yield from in_order(happenings(settings, inbox, folder, resume))


def happenings(
    settings: Settings, inbox: Inbox, folder: Path | None, resume: Resume | None = None
) -> Iterator[Happening]:
    """All that `fit` tells of; saves that are still being written are placeholders."""
    began = time.monotonic()
    course: Course | None = None
    resting: Kept | None = None
    try:
        try:
            course = yield from prepare(settings, inbox, folder, resume)
            yield course.started()
            if settings.on_nonfinite != "stop" and not course.steps:
                yield from course.save_now()  # so that there always is one to go back to
            while True:
                try:
                    reason = yield from epochs(course)
                    yield from make_up_for_failed_saves(course)
                    break
                except Parked as parked:
                    resting = yield from put_away(course, parked.packed, folder)
                course = None  # from here on nothing refers to its model, optimizer or data
                yield resting.given_back()
                course = yield from come_back(resting, inbox, folder)
                resting = None
            yield course.ended(reason)
        except Stopped as stopped:
            command = stopped.command
            if isinstance(command, commands.HandOver):
                yield RunHandedOver()
                return
            reason, code = ("interrupted", 128 + command.signal) if command.signal else ("stopped", 0)
            if resting is not None and course is None:
                if command.save and not resting.saved:
                    yield resting.save(at_last=True)
                yield resting.ended(reason, exit_code=code)
            elif course is None:
                yield RunEnded(
                    reason=reason,
                    error=None,
                    exit_code=code,
                    best_epoch=None,
                    best_loss=None,
                    best_accuracy=None,
                    seconds=time.monotonic() - began,
                )
            else:
                # As things were before the report: a run that is carried on reports when it would have anyway.
                last = course.pack(None) if command.save else None
                if not course.is_reported():
                    yield course.report()  # the last step there is, before the checkpoint that holds it
                yield Preparing(what="stop")
                if last:
                    yield from course.save_now(last)
                yield course.ended(reason, exit_code=code)
    except DivergedError as error:
        assert course is not None
        course.writer.wait()
        yield None
        kept = "The checkpoints from before are kept." if course.saved else "No checkpoint was saved before."
        step = "" if error.step_taken else " The step was not taken."
        text = f"{error} at {course.place()}.{step} {kept}\nTry a lower --lr, or --clip-grad 1."
        yield course.ended("diverged", error=text, exit_code=error.exit_code)
    except torch.OutOfMemoryError as error:
        raise out_of_memory(settings, course) from error
    finally:
        if course is not None:
            course.close()


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


def put_away(course: Course, packed: bytes, folder: Path | None) -> Generator[Happening, None, Kept]:
    """Save the run as it was `packed`, and end all that serves it; what stays in memory."""
    kept = Kept(course, packed, folder)
    if not course.is_reported():
        yield course.report()  # the last step there is, before the checkpoint that holds it
    yield from course.save_now(packed)
    yield from settle(course)
    course.close()
    kept.note(course)
    return kept


def come_back(kept: Kept, inbox: Inbox, folder: Path | None) -> Generator[Happening, None, Course]:
    """Wait, parked, until the run is to go on; it, as it was.

    Raises:
        Stopped: the run should end here.
    """
    while True:
        while not isinstance(command := inbox.wait(), commands.Continue):
            if isinstance(command, commands.Stop) or (isinstance(command, commands.HandOver) and kept.saved):
                raise Stopped(command)
            if isinstance(command, commands.HandOver):
                inbox.stop = None
                yield Warned(text="the run is not handed over: it could not be saved", answers="HandOver")
            elif answer := kept.hear(command):
                yield answer
        try:
            course = yield from prepare(kept.settings, inbox, folder, Resume(packed=kept.packed))
        except torch.OutOfMemoryError:
            reason = str(out_of_memory(kept.settings, None)).split("\n")[0]
        except TrainerError as error:
            reason = str(error).split("\n")[0]
        else:
            kept.restore(course)
            inbox.put_back(kept.orders)
            yield RunResumed()
            return course
        yield kept.given_back(f"it cannot go on yet. {reason}")
