"""What a viewer knows of a run: its events, folded. Live, recorded and crashed runs are all a `RunState`."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from tui_trainer.run import scores
from tui_trainer.run.events import (
    ACCURACY,
    BatchTrained,
    CheckpointSaved,
    EpochEnded,
    Evaluated,
    Event,
    LearningRateChanged,
    Preparing,
    RunEnded,
    RunHandedOver,
    RunPaused,
    RunResumed,
    RunStarted,
    Score,
    Warned,
)
from tui_trainer.run.rows import CheckpointRow, EpochRow, LogRow
from tui_trainer.run.series import Series
from tui_trainer.text import clean, number, size

ENDINGS = ("finished", "out_of_patience", "stopped", "interrupted", "diverged", "failed")
_PHASES = {"validation": "validating", "test": "testing", "stop": "stopping"}

NEWEST_EPOCHS = 1_000
"""Epochs that all have a row, counted from the newest."""
MOST_EPOCHS = 2_000
"""Rows of epochs kept at most: beyond them the older ones are thinned."""
MOST_CHECKPOINTS = 200
"""Rows of checkpoints kept at most."""
MOST_NOTES = 500
"""Rows of the log kept at most."""


def by(who: str) -> str:
    """Who did it, when that was somebody else."""
    return f" ({clean(who, 40)})" if who else ""


@dataclass(slots=True)
class RunState:
    """A run as its viewers see it. `apply` every event once, in order."""

    phase: str = "preparing"
    """waiting, preparing, training, validating, testing, stopping or over."""
    paused_in: str = ""
    """The phase that a pause interrupts; empty while the run is not paused."""
    parked: bool = False
    """The pause has given the device's memory back."""
    asks: str = ""
    """Why the run paused by itself and asks what to do: `diverged` or `disk`; empty otherwise."""
    lost: bool = False
    """Nobody trains any more, and nobody said goodbye."""
    activity: str = ""
    """What is being prepared, while something is."""
    settings: dict[str, Any] = field(default_factory=dict)
    valid_is_test: bool = True
    """As the run says; in journals that do not, `valid_fraction` has the last word."""
    task: str = "classification"
    """What is to be predicted."""
    scores: tuple[Score, ...] = (ACCURACY,)
    """What is measured beside the loss; the first is the result of the run."""
    shape: tuple[int, ...] = (1, 28, 28)
    """One input without its batch."""
    classes: tuple[str, ...] = ()
    train_examples: int = 0
    valid_examples: int = 0
    test_examples: int = 0
    parameters: int = 0
    layers: tuple[tuple[str, str, int], ...] = ()
    device: str = ""
    data: str = ""
    resumed_from: str | None = None

    epoch: int = 0
    batch: int = 0
    batches: int = 0
    step: int = 0
    loss: float | None = None
    lr: float | None = None
    grad_norm: float | None = None
    examples_per_second: float | None = None
    """Smoothed over the last reports."""
    data_wait: float | None = None
    elapsed: float = 0.0
    """Seconds since the run started, as of the last event that says so."""
    validation_seconds: float | None = None
    """How long the last validation took."""

    train_curve: Series = field(default_factory=Series)
    """Loss over step, as reported; a report weighs as many batches as it covers."""
    valid_curve: Series = field(default_factory=Series)
    """Validation loss over step."""
    score_curve: Series = field(default_factory=Series)
    """The result over step: the main score of each validation."""
    epoch_curve: Series = field(default_factory=Series)
    """Mean training loss over step, a point an epoch."""
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=240))
    """The newest reported losses, for the sparkline."""
    epochs: list[EpochRow] = field(default_factory=list)
    """Oldest first: the newest ones all, the best one always, and of those before every `epoch_stride`th."""
    epoch_stride: int = 1
    """1, 10, 100 ...; of what a million epochs say, a viewer keeps as much as it can show."""
    thinned_until: int = 0
    """The last epoch that the stride applies to, 0 while every epoch has its row."""
    evaluation: Evaluated | None = None
    """The newest measurement, validation or test, with its tables: one whose tables were not told does not count."""
    validation: Evaluated | None = None
    """The newest measurement on the validation examples."""
    best: Evaluated | None = None
    """The validation of the best epoch so far."""
    test: Evaluated | None = None
    """The measurement on the test examples, with the best weights."""
    checkpoints: dict[str, CheckpointRow] = field(default_factory=dict)
    """By path, oldest first. When there are too many, those of single epochs go first, never best or last."""
    log: deque[LogRow] = field(default_factory=lambda: deque(maxlen=MOST_NOTES))
    ended: RunEnded | None = None

    def apply(self, event: Event) -> None:
        """Take in one event."""
        match event:
            case BatchTrained():  # first, as nearly all are: each case costs its while
                self._train(event)
            case Preparing():
                self.activity = event.what
                self.phase = _PHASES.get(event.what, self.phase)
                if self.phase in ("preparing", "waiting"):
                    self.phase = "waiting" if event.what.startswith("waiting for ") else "preparing"
            case RunStarted():
                self._start(event)
            case Evaluated():
                self._evaluate(event)
            case EpochEnded():
                self._end_epoch(event)
            case CheckpointSaved():
                self._save(event)
            case LearningRateChanged():
                self._note(event, "info", f"learning rate {number(self.lr)} → {number(event.lr)} ({event.by})")
                self.lr = event.lr
            case RunPaused():
                self.paused_in, self.parked = self.phase, event.why == "parked"
                self.asks = "" if self.parked else event.why
                word = "parked" if self.parked else "paused"
                self._note(event, "warning", f"{word}: {event.text}" if event.text else f"{word}{by(event.by)}")
            case RunResumed():
                self.paused_in, self.asks, self.parked = "", "", False
                self._note(event, "info", f"carries on{by(event.by)}")
            case RunHandedOver():
                self.phase, self.activity = "preparing", "in the background"
                self.paused_in, self.asks, self.parked = "", "", False
                self._note(event, "info", "handed over to a process in the background")
            case Warned():
                self._note(event, "warning", event.text)
            case RunEnded():
                self._end(event)

    @property
    def status(self) -> str:
        """A phase, paused, parked, one of `ENDINGS`, or lost."""
        if self.ended is not None:
            return self.ended.reason
        if self.lost:
            return "lost"
        if self.paused_in != self.phase:
            return self.phase
        return "parked" if self.parked else "paused"

    @property
    def is_over(self) -> bool:
        """True when no further event will come."""
        return self.ended is not None or self.lost

    @property
    def total_epochs(self) -> int:
        return int(self._setting("epochs"))

    @property
    def main(self) -> Score:
        """The score that is shown as the result of the run."""
        return self.scores[0]

    @property
    def validates_on_test(self) -> bool:
        """True when the test split is what each epoch is measured on."""
        return not self.test_examples and self.valid_is_test and not self._setting("valid_fraction")

    @property
    def things(self) -> str:
        """What examples are, for a speed: images, rows of a table, or just examples."""
        return {1: "rows", 3: "images"}.get(len(self.shape), "examples")

    def result(self, seen: Evaluated | None) -> float | None:
        """The main score of an evaluation; None when it was not measured."""
        return seen.score(self.main.name) if seen else None

    def figure(self, seen: Evaluated | None) -> str:
        """The result without its name, for a place that has it: `87.9 %`, `0.3120`."""
        return scores.figure(self.result(seen), self.main)

    def headline(self, seen: Evaluated | None) -> str:
        """The result where it stands alone: `87.9 %`, `MAE 0.3120`."""
        return scores.headline(self.result(seen), self.main)

    def sentence(self, seen: Evaluated) -> str:
        """All that was measured: `loss 0.3400, accuracy 87.9 %`."""
        return scores.sentence(seen.loss, self.scores, scores.measured(seen))

    def _setting(self, name: str) -> float:
        """A setting that is a number; 0 when a journal from elsewhere has something else in its place."""
        value = self.settings.get(name)
        return float(value) if isinstance(value, (int, float)) and abs(value) < 1e15 else 0.0

    def lose(self) -> None:
        """The run has neither ended nor anybody who trains it."""
        if self.ended is None:
            self.lost = True

    # --- time ---

    def seconds_left(self) -> tuple[float | None, float | None]:
        """Estimates for (this epoch, the whole run), validation included, from this session's speed; or None."""
        rate = self.examples_per_second
        if self.is_over or not rate or not self.batches:
            return None, None
        batch_seconds = min(self._setting("batch_size") or 1, self.train_examples) / rate
        validation = self.validation_seconds
        if validation is None:
            validation = self.valid_examples / rate / 3  # forward only: about a third of a training step
        interval = max(1, int(self._setting("val_interval")))
        epoch = (self.batches - self.batch) * batch_seconds
        if not self.epochs or self.epochs[-1].epoch != self.epoch:
            epoch += validation if self.epoch % interval == 0 or self.epoch == self.total_epochs else 0
        more = max(0, self.total_epochs - self.epoch)
        validated = self.total_epochs // interval - self.epoch // interval
        if more and self.total_epochs % interval:
            validated += 1  # the last epoch is always validated
        run = epoch + more * self.batches * batch_seconds + max(0, validated) * validation
        if self.test_examples and self.valid_examples:
            run += validation * self.test_examples / self.valid_examples
        if max_steps := int(self._setting("max_steps")):
            run = min(run, max(0, max_steps - self.step) * batch_seconds)
        if max_time := self._setting("max_time"):
            run = min(run, max(0.0, max_time - self.elapsed))
        return epoch, run

    # --- folding, event by event ---

    def _start(self, event: RunStarted) -> None:
        self.phase, self.activity = "training", "first step"
        self.settings, self.classes, self.layers = event.settings, event.classes, event.layers
        self.valid_is_test = event.valid_is_test
        self.task, self.scores, self.shape = event.task, scores.of(event), event.shape
        self.train_examples, self.valid_examples = event.train_examples, event.valid_examples
        self.test_examples, self.parameters = event.test_examples, event.parameters
        self.device, self.data, self.resumed_from = event.device, event.data, event.resumed_from
        self.lr = self._setting("lr") or None
        self.ended, self.examples_per_second = None, None
        self.paused_in, self.lost, self.parked = "", False, False
        if event.resumed_from is None:
            self._note(event, "info", f"started on {event.device}, {event.data}")
            return
        self.lr = event.lr or self.lr
        self._go_back(event.step)
        self.epoch, self.batch, self.step = event.epoch, event.batch, event.step
        ended = event.epoch if event.batch == self.batches else event.epoch - 1
        self.epochs = [row for row in self.epochs if row.epoch <= ended]
        if event.best_epoch is None or event.best_loss is None:
            self.best = None
        elif self.best is None or self.best.epoch != event.best_epoch or self.best.loss != event.best_loss:
            self.best = Evaluated(
                split="valid",
                epoch=event.best_epoch,
                step=event.step,
                loss=event.best_loss,
                accuracy=event.best_accuracy,
                scores=event.best_scores,
                seconds=0.0,
            )
        place = f"at epoch {event.epoch}, batch {event.batch + 1:,}"
        if ended == event.epoch:
            place = f"after epoch {event.epoch}"
        self._note(event, "info", f"carries on {place}, on {event.device}")
        for name, before, now in event.changed:
            self._note(event, "info", f"{name} {before} → {now}")

    def _go_back(self, step: int) -> None:
        """Forget what came after `step`: the run went back to a checkpoint and takes these steps again."""
        for curve in (self.train_curve, self.valid_curve, self.score_curve, self.epoch_curve):
            curve.cut(step)
        if self.validation is not None and self.validation.step > step:
            self.validation = None
        if self.evaluation is not None and self.evaluation.step > step:
            self.evaluation = None
        self.test = None

    def _train(self, event: BatchTrained) -> None:
        self.phase, self.activity = "training", ""
        before: float = self.step
        if event.step <= before:
            self._go_back(event.step - 1)
            before = self.train_curve.xs[-1] if len(self.train_curve) else 0
        self.epoch, self.batch, self.batches, self.step = event.epoch, event.batch, event.batches, event.step
        self.loss, self.lr, self.data_wait = event.loss, event.lr, event.data_wait
        self.grad_norm = event.grad_norm if event.grad_norm is not None else self.grad_norm
        self.elapsed = event.elapsed
        if event.examples_per_second > 0:
            old = self.examples_per_second
            new = event.examples_per_second
            self.examples_per_second = new if old is None else old + 0.2 * (new - old)
        if event.loss == event.loss and abs(event.loss) != float("inf"):
            self.train_curve.add(event.step, event.loss, event.step - before)
            self.recent.append(event.loss)

    def _evaluate(self, event: Evaluated) -> None:
        self.phase, self.activity = self.paused_in or "training", ""
        if event.has_tables or self.evaluation is None or not self.evaluation.has_tables:
            self.evaluation = event
        if event.split == "test":
            self.test = event
            self._note(event, "good", f"test: {self.sentence(event)}")
            return
        self.validation, self.validation_seconds = event, event.seconds
        if abs(event.loss) < float("inf"):
            self.valid_curve.add(event.step, event.loss)
        if (result := self.result(event)) is not None and abs(result) < float("inf"):
            self.score_curve.add(event.step, result)
        place = f"epoch {event.epoch}" if self.batch == self.batches else f"step {event.step:,}"
        self._note(event, "info", f"validation at {place}: {self.sentence(event)}")

    def _end_epoch(self, event: EpochEnded) -> None:
        if self.epochs and (self.epochs[-1].epoch, self.epochs[-1].train_loss) == (event.epoch, event.train_loss):
            return  # told again by a run that is carried on from there
        seen = self.validation if self.validation and self.validation.step == self.step else None
        row = EpochRow(
            epoch=event.epoch,
            train_loss=event.train_loss,
            valid_loss=seen.loss if seen else None,
            score=self.result(seen),
            lr=self.lr,
            seconds=event.seconds,
        )
        while self.epochs and self.epochs[-1].epoch >= row.epoch:  # trained again after a resume
            self.epochs.pop()
        self.thinned_until = min(self.thinned_until, row.epoch - 1)
        self.epochs.append(row)
        if len(self.epochs) > MOST_EPOCHS:
            self._thin_epochs()
        if abs(event.train_loss) < float("inf"):
            self.epoch_curve.add(self.step, event.train_loss)

    def _thin_epochs(self) -> None:
        """Leave out rows before the newest, until their number is well below what brought us here."""
        older, newest = self.epochs[:-NEWEST_EPOCHS], self.epochs[-NEWEST_EPOCHS:]
        best = self.best.epoch if self.best else 0
        while len(older) > (MOST_EPOCHS - NEWEST_EPOCHS) // 2:
            older = [row for row in older if row.epoch % self.epoch_stride == 0 or row.epoch in (1, best)]
            if len(older) > (MOST_EPOCHS - NEWEST_EPOCHS) // 2:
                self.epoch_stride *= 10
        self.thinned_until = newest[0].epoch - 1
        self.epochs = older + newest

    def _save(self, event: CheckpointSaved) -> None:
        self.activity = ""
        seen = self.validation if self.validation and self.validation.step == event.step else None
        if event.kind == "best":
            self.best = seen
        self.checkpoints.pop(event.path, None)
        self.checkpoints.pop(event.replaces or "", None)
        self.checkpoints[event.path] = CheckpointRow(
            event.kind, event.epoch, event.step, seen.loss if seen else None, event.path, event.bytes, event.at
        )
        if len(self.checkpoints) > MOST_CHECKPOINTS:
            oldest = (path for path, row in self.checkpoints.items() if row.kind == "epoch")
            self.checkpoints.pop(next(oldest, next(iter(self.checkpoints))))
        level = "good" if event.kind == "best" else "info"
        self._note(event, level, f"saved {event.kind} checkpoint, {size(event.bytes)} in {1000 * event.seconds:.0f} ms")

    def _end(self, event: RunEnded) -> None:
        self.phase, self.paused_in, self.asks, self.activity, self.ended = "over", "", "", "", event
        self.elapsed = event.seconds
        text = {
            "finished": "finished",
            "out_of_patience": "ended early: no improvement within the patience",
            "stopped": "stopped, as asked",
            "interrupted": "interrupted by a signal",
            "diverged": "stopped: the loss is not finite",
            "failed": "failed",
        }.get(event.reason, event.reason)
        bad = event.reason in ("diverged", "failed")
        first = (event.error or "").split("\n")[0]
        self._note(event, "error" if bad else "good", f"{text}: {first}" if bad and first else text)

    def _note(self, event: Event, level: str, text: str) -> None:
        self.log.append(LogRow(event.at, level, text))
