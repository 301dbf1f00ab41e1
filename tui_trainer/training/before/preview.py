"""A look at data or model before a run, with the parts that the run would be made of."""

import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import Any, TypeVar

import psutil
import torch
from torch import Tensor, nn

from tui_trainer.outlook.preview.facts import Answer, DataFacts, Layer, Memory, ModelFacts, Order, Speed, Split
from tui_trainer.run.commands import Inbox
from tui_trainer.run.events import Event, Preparing, Warned
from tui_trainer.settings.schema import Settings
from tui_trainer.training import devices
from tui_trainer.training.before import samples
from tui_trainer.training.before.prepare import prepare, seed_everything
from tui_trainer.training.course import Course
from tui_trainer.training.data.batches import free_memory
from tui_trainer.training.data.examples import Batch, Data
from tui_trainer.training.data.splits import load
from tui_trainer.training.loop import out_of_memory
from tui_trainer.training.models.layers import ran

LONG_ENOUGH = 3.0
"""Seconds that are measured, about."""
MOST_BATCHES = 200

T = TypeVar("T")


def told(events: Generator[Event, None, T]) -> Generator[Answer, None, T]:
    """What is told on the way to the result, as answers."""
    while True:
        try:
            event = next(events)
        except StopIteration as done:
            result: T = done.value
            return result
        if isinstance(event, Preparing):
            yield Answer(preparing=event.what)
        elif isinstance(event, Warned):
            yield Answer(warning=event.text)


# --- data ---


def at_data(settings: Settings, orders: Iterator[Order]) -> Iterator[Answer]:
    """The facts of the data set, then a page of its images for each order.

    Raises:
        TrainerError: the data is missing or damaged.
    """
    seed_everything(settings.seed or 0)
    splits = yield from told(load(settings))
    yield Answer(preparing="counting")
    yield Answer(data=facts(splits, settings))
    if samples.is_pictured(splits.shape):
        for order in orders:
            yield Answer(samples=samples.page(splits, settings, order))


def facts(splits: Data, settings: Settings) -> DataFacts:
    """What is in the data set; ranges and columns are of an even sample of the training examples."""
    train = splits.train
    indices = samples.spread(train)
    inputs, y = train.raw(indices)
    finite = inputs.double()[torch.isfinite(inputs)]
    none = not len(finite)
    named = [("train", train), ("valid", splits.valid), ("test", splits.test)]
    table = not samples.is_pictured(splits.shape) and len(splits.shape) == 1
    return DataFacts(
        name=splits.name,
        source=splits.source,
        kind=splits.kind,
        shape=splits.shape,
        classes=splits.classes,
        splits=tuple(
            Split(name=name, examples=len(part), counts=samples.counts(part.targets, splits))
            for name, part in named
            if part is not None
        ),
        kept=str(inputs.dtype).removeprefix("torch."),
        low=0.0 if none else float(finite.min()),
        high=0.0 if none else float(finite.max()),
        mean=0.0 if none else float(finite.mean()),
        std=0.0 if none else float(finite.std(unbiased=False)),
        looked_at=len(indices),
        normalised=samples.normalised(splits),
        bytes=sum(part.nbytes for part in splits.parts),
        changes=samples.changes(settings),
        balanced=settings.sampler == "balanced",
        columns=samples.columns(inputs, splits) if table else (),
        rows=samples.rows(inputs[:40], y[:40], splits) if table else (),
        targets=samples.histograms(train.targets, splits.classes) if splits.kind == "number" else (),
    )


# --- model ---


def at_model(settings: Settings) -> Iterator[Answer]:
    """The layers of the model, then the memory and the time that training it takes on the settings' device.

    Raises:
        TrainerError: the model cannot be built or does not fit the data; the device is missing or full.
    """
    course: Course | None = None
    try:
        with devices.without_denormals():
            course = yield from told(prepare(settings, Inbox(), None))
            yield Answer(model=anatomy(course))
            yield Answer(preparing="measuring a few batches")
            yield from measured(course)
    except torch.OutOfMemoryError as error:
        raise out_of_memory(settings, course) from error
    finally:
        if course is not None:
            course.close()


def anatomy(course: Course) -> ModelFacts:
    """What the model is made of."""
    X, _ = course.inputs_of(course.splits.valid, torch.arange(min(2, len(course.splits.valid))))
    weights = list(course.model.parameters())
    return ModelFacts(
        name=course.settings.model,
        shape=course.splits.shape,
        outputs=course.outputs,
        layers=layers(course.model, X),
        parameters=sum(p.numel() for p in weights),
        trainable=sum(p.numel() for p in weights if p.requires_grad),
        loss=course.settings.loss,
        task=course.task.name,
    )


def layers(model: nn.Module, X: Tensor) -> tuple[Layer, ...]:
    """The layers in the order in which they first end on the inputs X, with the parameters that are their own."""
    found: dict[nn.Module, Layer] = {}
    counted: set[nn.Parameter] = set()
    names = {module: name for name, module in model.named_modules()}
    for module, shape, kind in ran(model, X):
        if module in found:  # it is used more than once
            continue
        own = set(module.parameters()) - counted  # what it computes with those of a part that does not run, it owns
        counted |= own
        found[module] = Layer(
            name=names[module],
            type=type(module).__name__,
            output=shape or kind,
            parameters=sum(p.numel() for p in own),
            trainable=sum(p.numel() for p in own if p.requires_grad),
        )
    return tuple(found.values())


def measured(course: Course) -> Iterator[Answer]:
    """What a step takes: memory after the first batches, time after some more."""
    device, settings = course.device, course.settings
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    batches = endless(course)
    course.learning_mode()
    kept = kept_for_backward(course, *next(batches))
    left_out = 6 if device.type == "cuda" else 3  # a step is noted down or recorded in these
    for _ in range(left_out):
        began = time.perf_counter()
        step(course, next(batches))
        wait_for(device)
        one = time.perf_counter() - began
    yield Answer(memory=memory(course, kept))
    wanted = max(3, min(MOST_BATCHES, int(LONG_ENOUGH / max(one, 1e-6))))
    process = psutil.Process()
    examples, waited, gpu = 0, course.reports.watch.waited, None
    began, computed = time.perf_counter(), sum(process.cpu_times()[:2])
    for _ in range(wanted):
        examples += step(course, next(batches))
    with suppress(Exception):  # it takes NVIDIA's library, and a driver that answers
        gpu = torch.cuda.utilization(device) / 100 if device.type == "cuda" else None
    wait_for(device)
    seconds = time.perf_counter() - began
    cores = (sum(process.cpu_times()[:2]) - computed) / seconds
    waited = course.reports.watch.waited - waited
    yield Answer(preparing="measuring the validation")
    yield Answer(
        speed=Speed(
            batches=wanted,
            left_out=left_out,
            batch_size=settings.batch_size,
            batches_per_second=wanted / seconds,
            examples_per_second=examples / seconds,
            epoch_batches=course.batches,
            epochs=settings.epochs,
            epoch_seconds=course.train_order.examples * seconds / examples,
            valid_seconds=validation(course),
            cores_used=cores,
            cores=psutil.cpu_count() or 1,
            gpu=gpu,
            waited=min(1.0, waited / seconds),
            peak=torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
            data_path=course.data_path.why,
        )
    )


def endless(course: Course) -> Iterator[Batch]:
    """Training batches on the device, epoch after epoch."""
    while True:
        course.begin_epoch(course.progress.epoch + 1)
        for _, (X, y) in course.train_batches():
            if len(X):  # else it is still waited for
                yield X, y


def step(course: Course, batch: Batch) -> int:
    """Learn from a batch as a run does; its examples."""
    X, y = batch
    try:
        number = course.progress.batch + 1
        loss = course.step(*course.learned_from(X, y, number), number)
    except Exception as error:
        raise course.fault_of_step(error, X) from error
    course.count(loss, len(X))
    return len(X)


def validation(course: Course) -> float:
    """Seconds of the validation, from as many of its batches as take a second."""
    course.model.eval()
    done, began = 0, time.perf_counter()
    with torch.inference_mode(), course.step.autocast:
        for X, _ in course.valid_batches:
            if len(X):
                course.model(X)
                done += len(X)
                wait_for(course.device)
            if time.perf_counter() - began > 1:
                break
    return (time.perf_counter() - began) * course.valid_batches.order.examples / max(1, done)


def kept_for_backward(course: Course, X: Tensor, y: Tensor) -> int:
    """Bytes that a forward pass of a batch keeps for the backward pass, beside the weights."""
    own = {t.untyped_storage().data_ptr() for t in (*course.model.parameters(), *course.model.buffers())}
    held: dict[int, Any] = {}

    def note(tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage  # held, so that no other tensor gets its place

    try:
        with torch.autograd.graph.saved_tensors_hooks(note, lambda _: X), course.step.autocast:
            X, y = course.learned_from(X, y, 1)
            course.learned_loss(course.model(X), y)
    except Exception as error:
        raise course.fault_of_step(error, X) from error
    return sum(storage.nbytes() for storage in held.values())


def memory(course: Course, activations: int) -> Memory:
    """What training takes where the model computes, once a step was taken."""
    model = course.model
    state: list[Any] = [value for values in course.optimizer.state.values() for value in values.values()]
    weights = [*model.parameters(), *model.buffers()]
    return Memory(
        batch_size=course.settings.batch_size,
        weights=sum(t.nbytes for t in weights) * (2 if course.average else 1),
        gradients=sum(p.nbytes for p in model.parameters() if p.requires_grad),
        optimizer=sum(value.nbytes for value in state if isinstance(value, Tensor)),
        activations=activations,
        data=sum(part.nbytes for part in course.splits.parts) if course.data_path.resident else 0,
        optimizer_name=course.settings.optimizer,
        free=free_memory(course.device),
        device=devices.describe(course.device),
    )


def wait_for(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
