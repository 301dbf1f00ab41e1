"""The events of a run: frozen dataclasses of plain values, alike in memory, in events.jsonl and on `--no-ui --json`."""

import dataclasses
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Score(NamedTuple):
    """Something that is measured beside the loss."""

    name: str
    """`accuracy`, `f1`, `mae`: what `monitor` calls valid_accuracy, valid_f1, valid_mae."""
    better: str = "higher"
    """higher or lower."""
    unit: str = "percent"
    """percent for fractions that are shown so; nothing for plain numbers."""


ACCURACY = Score("accuracy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened in a run."""

    at: float = field(default_factory=time.time)
    """Unix time in seconds; for display only, durations are measured by a clock that cannot jump."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparing(Event):
    """The run is busy with something that is not a training step."""

    what: str
    """torch, data, model, validation, test, stop, or a sentence such as `downloading data: 12.3 of 30.9 MB`, or
    `waiting for NAME to end: epoch 3 of 10` before the run has its turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """Everything is ready; the first step comes next."""

    settings: dict[str, Any]
    """The settings as used, the drawn seed included."""
    classes: tuple[str, ...]
    train_examples: int
    valid_examples: int
    """Examples measured after each epoch: a held-out part of the training split, or the test split."""
    test_examples: int
    """Examples measured once at the end; 0 when validation already uses the test split, or there is none."""
    parameters: int
    """Trainable numbers in the model."""
    layers: tuple[tuple[str, str, int], ...]
    """The layers in order: torch.nn name, output shape without the batch, parameters."""
    device: str
    """Such as `cuda:0 NVIDIA H200` or `cpu`."""
    data: str
    """Where the data came from, as a phrase."""
    valid_is_test: bool = True
    """Where no example is left to test at the end: validation uses the test split."""
    task: str = "classification"
    """What is to be predicted: the name of a task."""
    shape: tuple[int, ...] = (1, 28, 28)
    """One input without its batch: channels, height, width of an image, columns of a table."""
    outputs: int = 0
    """Numbers that the model gives for an example; 0 in old journals, where it is one a class."""
    categories: tuple[int, ...] = ()
    """Of a table: how many values each of its last columns has."""
    mean: tuple[float, ...] = ()
    """What inputs are normalised by, for each channel or column; empty when they are not."""
    std: tuple[float, ...] = ()
    target_mean: tuple[float, ...] = ()
    """What numbers to be predicted are standardised by on their way to the loss; empty when they are not."""
    target_std: tuple[float, ...] = ()
    scores: tuple[tuple[str, str, str], ...] = (ACCURACY,)
    """What is measured, each a `Score`; the first is shown as the result of the run."""
    resumed_from: str | None = None
    """The checkpoint this run carries on from, below its folder; None when it begins."""
    epoch: int = 0
    """Where it carries on: the epoch, the batches of it that are done, and the batches done in all."""
    batch: int = 0
    step: int = 0
    lr: float | None = None
    """The learning rate of the next step."""
    changed: tuple[tuple[str, str, str], ...] = ()
    """The settings that are not what they were: name, before, now."""
    best_epoch: int | None = None
    """The best epoch so far, with its loss and accuracy as in `RunEnded`."""
    best_loss: float | None = None
    best_accuracy: float | None = None
    best_scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchTrained(Event):
    """A report from within an epoch; a run's first batch and the last one of each epoch always get one."""

    epoch: int
    batch: int
    """Batches done in this epoch, from 1."""
    batches: int
    """Batches in this epoch."""
    step: int
    """Batches done since the run's beginning."""
    loss: float
    """Mean of the loss over the examples since the last report."""
    lr: float
    """The learning rate of this batch's step."""
    grad_norm: float | None
    """Length of the gradient over all weights, before clipping; None when it was not measured."""
    examples_per_second: float
    """Since the last report, pauses left out."""
    data_wait: float
    """Fraction of the time since the last report spent waiting for data, 0 to 1."""
    elapsed: float
    """Seconds since the run started, pauses included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated(Event):
    """The model was measured on examples it does not learn from."""

    split: str
    """`valid` after an epoch or on request, `test` once at the end with the best weights."""
    epoch: int
    step: int
    loss: float
    """Mean of the loss function over the split, nats per example for cross-entropy. Of predicted numbers it is in
    standard deviations of the training targets, where these are standardised."""
    seconds: float
    accuracy: float | None = None
    """Fraction right, 0 to 1: of the examples, of labels that of all their answers. None where nothing is right or
    wrong. Format as a percentage only on screen."""
    confusion: tuple[tuple[int, ...], ...] = ()
    """Counts, [true][predicted], C by C; empty when there are no classes. In a long run of short epochs this and the
    other tables come with some validations only: see `thinning`."""
    scores: dict[str, float] = field(default_factory=dict)
    """What else is measured, by name: f1, mae, r2."""
    labels: tuple[tuple[float, float, float, int], ...] = ()
    """Of each label: precision, recall, F1, and how many examples have it."""
    density: tuple[tuple[int, ...], ...] = ()
    """Of predicted numbers: counts of [true][predicted] in as many equal steps each from `low` to `high`. What lies
    beyond is counted in the outermost step. One number is in its own unit, several are together in standard deviations
    from their means in the training part."""
    residuals: tuple[int, ...] = ()
    """Counts of predicted less true, in equal steps from -`spread` to `spread`, what lies beyond in the outermost."""
    low: float = 0.0
    high: float = 0.0
    spread: float = 0.0

    @property
    def cells(self) -> int:
        """Numbers in its tables."""
        return sum(map(len, (*self.confusion, *self.labels, *self.density, self.residuals)))

    @property
    def has_tables(self) -> bool:
        """There is more to it than figures."""
        return self.cells > 0

    def without_tables(self) -> "Evaluated":
        """Its figures alone."""
        return dataclasses.replace(self, confusion=(), labels=(), density=(), residuals=())

    def score(self, name: str) -> float | None:
        """The loss, the accuracy, or another score, by its name; None when it was not measured."""
        if name == "loss":
            return self.loss
        return self.accuracy if name == "accuracy" else self.scores.get(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochEnded(Event):
    """All of an epoch is done, its validation and checkpoints included."""

    epoch: int
    train_loss: float
    """Mean of the loss over the epoch's training examples, each measured before its step."""
    seconds: float
    """Training, validation and saving, pauses left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSaved(Event):
    """A checkpoint is whole and on the disk."""

    kind: str
    """last, best, or epoch."""
    epoch: int
    step: int
    path: str
    """Below the run folder."""
    bytes: int
    seconds: float
    replaces: str | None = None
    """The path of a checkpoint that is no longer among the best and was removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningRateChanged(Event):
    """The learning rate jumped. The smooth course of a scheduler is told by `BatchTrained.lr` alone."""

    lr: float
    by: str
    """`you`, somebody in another process, or the scheduler's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPaused(Event):
    """No step is taken until `RunResumed`."""

    why: str = ""
    """`diverged` or `disk` when the run paused by itself and asks what to do, `parked` when the device's memory was
    given back; nothing when it was told to pause."""
    text: str = ""
    """For people: what is wrong when the run paused by itself, what was given back when it is parked."""
    by: str = ""
    """Who paused it, when that was somebody in another process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResumed(Event):
    """Steps go on after a pause."""

    by: str = ""
    """Who ended the pause, when that was somebody in another process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHandedOver(Event):
    """This process is done with the run, and another one in the background goes on from its checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned(Event):
    """Something the user should know; the run goes on."""

    text: str
    answers: str = ""
    """The kind of the command that this is the answer to, when it was not, or not just, carried out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded(Event):
    """The last event of a run."""

    reason: str
    """finished, out_of_patience, stopped, interrupted, diverged or failed."""
    error: str | None
    """What went wrong, for people, when the reason is diverged or failed."""
    exit_code: int
    """What a script is told."""
    best_epoch: int | None
    best_loss: float | None
    """Validation loss of the best epoch."""
    best_accuracy: float | None
    """Validation accuracy of the best epoch, a fraction."""
    seconds: float
    """Since the run started, pauses included."""
    best_scores: dict[str, float] = field(default_factory=dict)
    """The other scores of the best epoch."""


def best_fields(best: Evaluated | None) -> dict[str, Any]:
    """The best validation as events have it: `best_epoch`, `best_loss`, `best_accuracy`, `best_scores`."""
    return {
        "best_epoch": best.epoch if best else None,
        "best_loss": best.loss if best else None,
        "best_accuracy": best.accuracy if best else None,
        "best_scores": best.scores if best else {},
    }
