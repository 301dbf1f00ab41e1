"""A trained model taken out of its run: the weights of a checkpoint in the model they belong to, and how to feed it.

All that using a model needs of data sets and models is here, so that exporting and predicting know of neither.
"""

import re
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tui_trainer.catalog import Shape
from tui_trainer.errors import CheckpointError, DataError, DeviceError, UsageError
from tui_trainer.own import trust
from tui_trainer.own.admitted import Admitted, admit_again
from tui_trainer.own.loading import let_in
from tui_trainer.run.events import Evaluated, Preparing, RunStarted, Warned
from tui_trainer.run.folder import RunFolder
from tui_trainer.run.journal import read
from tui_trainer.run.resume import own_settings
from tui_trainer.run.state import RunState
from tui_trainer.settings.places import short
from tui_trainer.settings.schema import Settings
from tui_trainer.settings.sources import resolve
from tui_trainer.text import clean
from tui_trainer.training import devices, models, tasks
from tui_trainer.training.data.batches import Order, choose_path, make_batches, normal
from tui_trainer.training.data.examples import Batch, Data, Examples
from tui_trainer.training.data.feeds import EVALUATION_BATCH
from tui_trainer.training.data.splits import load
from tui_trainer.training.models.faults import failed_on
from tui_trainer.training.saving import safe_load
from tui_trainer.training.step.precision import autocast
from tui_trainer.training.tasks import Task

CHECKPOINTS = ("best", "last", "prev")
"""The checkpoints of every run, in the order in which they are taken when none is named; beside them epoch-N."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A model with the weights that its run has measured, in evaluation mode."""

    run: str
    """The run's name."""
    checkpoint: str
    """The checkpoint the weights are of: `best`, `last`, `epoch-3`."""
    model: nn.Module
    device: torch.device
    settings: Settings
    classes: tuple[str, ...]
    shape: Shape
    """One input: channels, height, width of an image, the border of `pad` included; columns of a table."""
    started: RunStarted
    """What the run has said of itself."""
    task: Task
    epoch: int | None
    step: int | None
    """Batches done since the run's beginning; None when the file does not say."""
    averaged: bool
    """The weights are the moving average, as they are measured, and not those of the last step."""
    scores: dict[str, float] = field(default_factory=dict)
    """What the run has measured with these very weights, such as `valid_loss` and `test_accuracy`."""

    @torch.inference_mode()
    def __call__(self, X: Tensor) -> Tensor:
        """Raw outputs [N, C] on the model's device for inputs [N, C, H, W], computed as the run's evaluation does.

        Raises:
            ModelError: the model fails on these inputs.
            DeviceError: the device's memory is full.
        """
        X = X.to(self.device)
        if self.settings.channels_last:
            X = X.to(memory_format=torch.channels_last)
        try:
            with autocast(self.settings, self.device):
                return self.model(X)  # type: ignore[no-any-return]
        except torch.OutOfMemoryError as error:
            raise DeviceError(
                f"{self.device} is out of memory ({devices.memory(self.device)}). Compute elsewhere with --device cpu."
            ) from error
        except Exception as error:
            raise failed_on(X, error, self.settings) from error

    @property
    def probabilities(self) -> Callable[[Tensor], Tensor]:
        """What makes probabilities [N, C] of raw outputs [N, C], or the predicted numbers [N, K] in their own units."""
        if self.settings.loss == "bce" and self.task.name == "classification":
            return torch.sigmoid  # a question a class
        return self.task.probabilities

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images, before the border is put around them."""
        return self.shape[1] - 2 * self.settings.pad, self.shape[2] - 2 * self.settings.pad

    def inputs(self, images: Tensor) -> Tensor:
        """Images [N, C, H, W] uint8 of `image_size` as the model's inputs, float32 from 0 to 1."""
        X = F.pad(images, [self.settings.pad] * 4).float().div_(255)
        return self.normalised(X)

    def normalised(self, X: Tensor) -> Tensor:
        """Inputs [N, ...] float32 as the model has learned to take them."""
        scale = normal(self.started.mean, self.started.std, self.shape, X.device)
        return X if scale is None else (X - scale[0]) / scale[1]

    def preprocessing(self, found: Data) -> dict[str, Any]:
        """How an image or a row of a table becomes an input: plain values that JSON can hold. `found` is the data."""
        normalised = {"mean": self.started.mean, "std": self.started.std} if self.started.mean else "none"
        if len(self.shape) != 3:
            columns = {"columns": found.recipe} if found.recipe else {}
            return {"layout": "N, columns", "dtype": "float32", **columns, "normalize": normalised}
        return {
            "layout": "NCHW",
            "dtype": "float32",
            "colour": "grey" if self.shape[0] == 1 else "RGB",
            "value_range": [0, 1],
            "resize": list(self.image_size),
            "pad": self.settings.pad,
            "normalize": normalised,
        }


def load_trained(folder: RunFolder, checkpoint: str | None = None, device: str | None = "cpu") -> Trained:
    """The model of a run with the weights of a checkpoint: of the one named, else of best.pt or last.pt.

    The weights are the moving average where the run keeps one, as its evaluation takes them. A run that is under way
    can be read too: its checkpoints are whole at any moment. `device` None is the run's own, or the CPU where that is
    not here.

    Raises:
        UsageError: there can be no checkpoint of that name.
        CheckpointError: it is missing, damaged, or of another model.
        DeviceError: there is no device of that name.
        FolderError, SettingsError: the run's own settings cannot be read.
    """
    name, run = _choose(folder, checkpoint), clean(folder.path.name)
    state, measured, started = RunState(), [], None
    for event in read(folder.journal):
        state.apply(event)
        if isinstance(event, RunStarted):
            started = event
        if isinstance(event, Evaluated):
            measured.append(event)
    settings = resolve([own_settings(folder, state)]).settings
    path = folder.checkpoints / f"{name}.pt"
    try:
        saved = safe_load.load(path)
    except CheckpointError as error:
        others = ", ".join(other for other in _there(folder) if other != name)
        hint = f"\nThe run has others, for --checkpoint: {others}." if others else ""
        raise CheckpointError(f"{error}{hint}") from error
    code = Admitted.find(settings)
    if changes := trust.changes(saved.get("code") or {}, code.digests()):
        raise CheckpointError("\n".join([*changes, "Bring back the code that the run has learned with."]))
    let_in(admit_again(code, (), changed=False))
    if started is None:
        raise CheckpointError(f"The journal of {run} does not say what it has trained: it has no RunStarted.")
    model = _build(settings, started)
    own = model.state_dict()
    weights = safe_load.without_prefix(saved.get("ema_state_dict") or saved["model_state_dict"], own)
    if reason := safe_load.misfit(own, weights, clean(path)):
        raise CheckpointError(f"{reason}\nThe run {run} was trained as {clean(short(settings.model), 60)}.")
    model.load_state_dict(weights)
    place = devices.pick(device) if device else _place(settings)
    model = model.to(place).eval()
    if settings.channels_last:
        model = model.to(memory_format=torch.channels_last)
    step = _whole(saved.get("step"))
    scores = {
        f"{event.split}_{name}": value
        for event in measured
        if event.step == step and step is not None
        for name in ("loss", *(name for name, *_ in started.scores))
        if (value := event.score(name)) is not None
    }
    return Trained(
        run=folder.path.name,
        checkpoint=name,
        model=model,
        device=place,
        settings=settings,
        classes=started.classes,
        shape=started.shape,
        started=started,
        task=tasks.standardised(tasks.named(started.task), started.target_mean, started.target_std),
        epoch=_whole(saved.get("epoch")),
        step=step,
        averaged=bool(saved.get("ema_state_dict")),
        scores=scores,
    )


def _place(settings: Settings) -> torch.device:
    try:
        return devices.pick(settings.device)
    except DeviceError:
        return torch.device("cpu")


def _build(settings: Settings, started: RunStarted) -> nn.Module:
    """The model as its run has built it, before any weight is loaded."""
    outputs = started.outputs or len(started.classes)
    settings = settings.model_copy(update={"pretrained": False})  # the checkpoint has its weights
    return models.build(settings, started.shape, outputs, categories=started.categories, classes=started.classes)


def splits(trained: Trained) -> Generator[str, None, Data]:
    """The data of the run, split as it was; what that takes, in lines.

    Raises:
        DataError: it is not on this machine, or is damaged.
    """
    loading = load(trained.settings)
    told = False
    while True:
        try:
            event = next(loading)
        except StopIteration as done:
            found: Data = done.value
            return found
        except DataError as error:
            first = str(error).split("\n")[0]
            raise DataError(f"{first}\nThe data that {clean(trained.run)} has learned from is needed here.") from error
        if isinstance(event, Warned):
            yield event.text
        elif isinstance(event, Preparing) and not told:
            told = True
            yield event.what


def some(trained: Trained, found: Data, most: int) -> Tensor:
    """The first inputs of the validation split, at most so many: X [N, ...], as the model takes them."""
    X, _ = found.valid.raw(torch.arange(min(most, len(found.valid))))
    X = X.float().div_(255) if X.dtype == torch.uint8 else X
    return trained.normalised(X)


def measured(trained: Trained, found: Data, split: str) -> Iterator[Batch]:
    """A split, `valid` or `test`, in the batches in which the run's evaluation takes it: X and y."""
    s = trained.settings
    images: Examples = found.valid if split == "valid" or found.test is None else found.test
    order = Order(len(images), max(s.batch_size, EVALUATION_BATCH), seed=None, limit=1 if s.dry_run else 0)
    s = s.model_copy(update={"workers": 0, "augment": "none"})  # worker processes cost more than one pass gains
    batches = make_batches(choose_path(s, [images], trained.device), found, images, order, trained.device, s)
    try:
        yield from batches
    finally:
        batches.close()


def _choose(folder: RunFolder, name: str | None) -> str:
    """The name of the checkpoint to be read, without its ending."""
    there, run = _there(folder), clean(folder.path.name)
    if name is not None:
        name = name.removesuffix(".pt")
        if name not in CHECKPOINTS and not re.fullmatch(r"epoch-[0-9]{1,9}", name):
            raise UsageError(f"--checkpoint: must be best, last, prev or epoch-N; found {clean(repr(name), 60)}")
    if not there:
        what = "tui-trainer send {0} checkpoint" if folder.is_held() else "tui-trainer --config {1}"
        command = what.format(run, clean(folder.manifest))
        raise CheckpointError(f"The run {run} has saved no checkpoint yet. Get one with: {command}")
    if name is None:
        return next((name for name in CHECKPOINTS if name in there), there[-1])
    if name not in there:
        raise CheckpointError(f"The run {run} has no checkpoint {name}. It has: {', '.join(there)}.")
    return name


def _there(folder: RunFolder) -> list[str]:
    """The checkpoints of a run, by the names that can be given."""
    found = {path.stem for path in folder.checkpoints.glob("*.pt")}
    epochs = sorted(int(name[6:]) for name in found if re.fullmatch(r"epoch-[0-9]{1,9}", name))
    return [name for name in CHECKPOINTS if name in found] + [f"epoch-{epoch}" for epoch in epochs]


def _whole(value: object) -> int | None:
    return value if type(value) is int else None
