"""Everything before the first step: device, data, model, and a trial of what could fail later."""

import random
from collections.abc import Generator
from pathlib import Path

import numpy as np
import torch

from tui_trainer.errors import ModelError
from tui_trainer.own.admitted import Admitted
from tui_trainer.own.loading import let_in
from tui_trainer.own.loading import load as load_code
from tui_trainer.run.commands import Inbox
from tui_trainer.run.events import Event, Preparing, Warned
from tui_trainer.run.resume import Resume
from tui_trainer.settings.places import short
from tui_trainer.settings.schema import Settings
from tui_trainer.text import clean
from tui_trainer.training import devices, models, tasks
from tui_trainer.training.before import batch_size
from tui_trainer.training.course import Course
from tui_trainer.training.data import examples
from tui_trainer.training.data.splits import load as load_data
from tui_trainer.training.models import weights
from tui_trainer.training.models.faults import first_line
from tui_trainer.training.saving import checkpoint, safe_load
from tui_trainer.training.saving.interruptions import Stopped
from tui_trainer.training.saving.resume import carry_on
from tui_trainer.training.saving.state import State
from tui_trainer.training.saving.state import batch_size as batch_size_of


def prepare(
    settings: Settings, inbox: Inbox, folder: Path | None, resume: Resume | None = None, code: Admitted | None = None
) -> Generator[Event, None, Course]:
    """Device, data and model, ready for the first step or for the next one of a run that is carried on.

    `code` is the user's own that was admitted; without it what the settings name is found here, and runs.
    """
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
    code = code or Admitted.find(settings)
    let_in(code)
    for kind, found in code.code.items():  # before the seed: what they draw when they are imported must not matter
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
        settings = settings.model_copy(update={"batch_size": batch_size_of(saved)})
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
            reason = first_line(error)
            yield Warned(
                text=f"the model is not compiled ({type(error).__name__}: {reason}); its layers run one by one"
            )
    course = Course(settings, splits, task, model, device, inbox, folder, forward)
    course.code = code
    try_out(course)
    if resume is None or saved is None:
        course.begin_epoch(1)
    else:
        course.resumed_from = shown
        for warning in carry_on(course, State.from_checkpoint(saved, shown), shown, resume):
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
