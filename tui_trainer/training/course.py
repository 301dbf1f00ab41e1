"""Where a run is on its way: its parts, its position, its clock, its best so far, and what of it is saved."""

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from tui_trainer.errors import DeviceError, DivergedError, ModelError, TrainerError
from tui_trainer.run.commands import Inbox, Stop
from tui_trainer.run.events import BatchTrained, CheckpointSaved, Evaluated, Event, RunEnded, RunStarted, Warned
from tui_trainer.run.thinning import SHORT, report_interval
from tui_trainer.settings.schema import Settings, is_place, short
from tui_trainer.text import clean, fixed
from tui_trainer.training import devices, models
from tui_trainer.training.data import balance
from tui_trainer.training.data.augment import make_own
from tui_trainer.training.data.batches import Batches, Order, choose_path, make_batches
from tui_trainer.training.data.examples import Batch, Data, Examples
from tui_trainer.training.data.mixing import Mixing
from tui_trainer.training.models.finetune import Freezing
from tui_trainer.training.models.layers import layers_of
from tui_trainer.training.saving import checkpoint, safe_load, state
from tui_trainer.training.saving.checkpoint import Save, Writer
from tui_trainer.training.step.average import Average
from tui_trainer.training.step.cuda_graph import Graph, why_no_graph
from tui_trainer.training.step.meter import LossMeter, Spikes, Watch
from tui_trainer.training.step.optimizers import make_optimizer
from tui_trainer.training.step.schedule import Schedule
from tui_trainer.training.step.step import Step
from tui_trainer.training.tasks import Task, make_loss

EVALUATION_BATCH = 512
"""Examples measured at once when training batches are smaller: no gradients are kept, so more fit."""


class Course:
    """Everything that changes during a run, owned by the training thread."""

    def __init__(
        self,
        settings: Settings,
        splits: Data,
        task: Task,
        model: nn.Module,
        device: torch.device,
        inbox: Inbox,
        folder: Path | None,
        forward: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """`forward` is the compiled model, when there is one."""
        s = self.settings = settings
        self.splits, self.task, self.model, self.device = splits, task, model, device
        self.outputs = task.outputs(splits)
        """Numbers that the model gives for an example."""
        self.fingerprint = splits.fingerprint()
        self.inbox, self._folder = inbox, folder
        self.writer = Writer()
        self.loss_function = make_loss(s, task)
        self.code: dict[str, str] = {}
        """The user's own code, by file or module: the SHA-256."""
        weights = balance.weights_of(s, task, splits, self.outputs)
        weights = None if weights is None else weights.to(device)
        self.learned_loss = balance.loss_to_learn(s, task, weights) or self.loss_function
        """What training makes small: the loss that is measured, or the same with weights for the classes."""
        self.mixing = Mixing(s, splits, self.outputs, device) if s.mixup or s.cutmix else None
        """Mixes the examples of each batch, when that is wanted."""
        self.data_path = choose_path(s, splits.parts, device)
        """How the data reaches the device, and why."""
        shuffle = None if s.overfit_batches else s.seed or 0
        self.train_order = Order(
            len(splits.train),
            s.batch_size,
            seed=shuffle,
            limit=s.limit_train_batches,
            classes=balance.classes_to_draw(s, splits),
        )
        own_augment = make_own(s)
        self._train_batches = make_batches(
            self.data_path, splits, splits.train, self.train_order, device, s, own_augment
        )
        self.valid_batches = self._to_measure(splits.valid)
        self.test_batches = None if splits.test is None else self._to_measure(splits.test)
        self.batches = len(self.train_order)
        updates = -(-self.batches // s.grad_accum_steps)
        no_graph = why_no_graph(s, device)
        records = no_graph is None and s.cuda_graph != "off"
        self.optimizer = make_optimizer(model, s, graph=records)
        self.schedule = Schedule(self.optimizer, s, updates, wants_more=self.wants_more)
        self.average = Average(model, s.ema) if s.ema else None
        """The moving average of the weights, measured and kept in place of them when it is wanted."""
        measured, examples = (self.learned_loss, self.optimizer, self.schedule, s), self.train_order.examples
        self.step = Step(
            model,
            *measured,
            examples,
            device,
            forward=forward,
            average=self.average,
            repeats=models.repeats(s) and not is_place(s.loss) and own_augment is None,
            constants=() if weights is None else (weights,),
        )
        self._freezing = Freezing(model, s) if s.freeze_epochs else None
        self.warnings: list[str] = []
        """What fell back to something slower, and what else is still to be told."""
        if records:
            self.step.graph = Graph(self.step.learn, list(model.parameters()), self._warn_no_graph)
        elif s.cuda_graph == "on" or (s.cuda_graph == "auto" and device.type == "cuda"):
            self._warn_no_graph(no_graph or "")

        self.epoch = 0
        self.batch = 0
        """Batches done in this epoch."""
        self.done = False
        """All of this epoch is done, its validation too."""
        self.steps = 0
        """Batches done since the run's beginning."""
        self.best: Evaluated | None = None
        self.unimproved = 0
        """Validations since the best one."""
        self.paused = False
        """No step is taken until `Continue`."""
        self.parks = False
        """The run is to be parked as soon as no evaluation is under way."""
        self.measuring = False
        """True while an evaluation is under way, so that another one is not begun inside it."""
        self.ends_epoch = False
        """The user wants this epoch's remaining batches left out."""
        self.over = False
        """No epoch follows this one: `max_steps` or `max_time` is reached."""
        self.saved = False
        """A checkpoint of this run is on the disk."""
        self.failed_saves = 0
        """Saves in a row that the disk has refused."""
        self.why_not_saved = ""
        self.rollbacks = 0
        """Times this run went back by itself."""
        self.skipped: set[tuple[int, int]] = set()
        """Batches that are left out, by epoch and number."""
        self.resumed_from: str | None = None
        self.changed: tuple[tuple[str, str, str], ...] = ()
        """Settings that are not what they were when the checkpoint was taken: name, then, now."""
        self.top: list[tuple[float, int]] = []
        """Of the `save_top_k` best epochs: what is monitored, smaller is better, and the epoch's number."""
        self.watch, self.meter = Watch(), LossMeter()
        self._spikes = Spikes()
        self._best_packed: bytes | None = None
        self._last_packed: bytes | None = None
        self._made_again = False
        self._saved_at = time.monotonic()
        self.reported_at = -1
        """The step of the last report."""

    def _to_measure(self, images: Examples) -> Batches:
        """A split in its own order, in large batches."""
        size = max(self.settings.batch_size, EVALUATION_BATCH)
        order = Order(len(images), size, seed=None, limit=1 if self.settings.dry_run else 0)
        return make_batches(self.data_path, self.splits, images, order, self.device, self.settings)

    def _warn_no_graph(self, reason: str) -> None:
        self.warnings.append(f"steps are not replayed as a CUDA graph ({clean(reason)}); they are taken one by one")

    def close(self) -> None:
        """End the threads and processes that serve this run."""
        self.writer.close()
        for batches in (self._train_batches, self.valid_batches, self.test_batches):
            if batches is not None:
                batches.close()

    # --- going on ---

    def begin_epoch(self, epoch: int) -> None:
        self.epoch, self.batch = epoch, 0
        self.done = self.ends_epoch = False
        self.meter.epoch_loss, self.meter.epoch_examples = 0.0, 0
        self.watch.begin_epoch()
        self.freeze()

    def freeze(self) -> None:
        """Let rest the layers that do not learn in this epoch."""
        if self._freezing is not None and (news := self._freezing.set(self.epoch)):
            self.step.renew()
            self.warnings.append(news)

    def learning_mode(self) -> None:
        """Set the model to training, but for what rests."""
        self.model.train()
        if self._freezing is not None:
            self._freezing.rest()

    def train_batches(self) -> Iterator[tuple[int, Batch]]:
        """The batches that are left of the epoch, with their numbers from 1, X and y on the device.

        Waiting for them is measured.
        """
        if self.batch and self.at_end_of_epoch():
            return
        self.train_order.epoch, self.train_order.first = self.epoch, self.batch
        batches = iter(self._train_batches)
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                return
            self.watch.waited += time.perf_counter() - asked
            yield self.batch + 1, batch

    def learned_from(self, X: Tensor, y: Tensor, batch: int) -> Batch:
        """Batch number `batch` of the epoch as the step takes it: its targets as the task has them, mixed or not."""
        y = self.task.targets(y)
        return (X, y) if self.mixing is None else self.mixing(X, y, self.epoch, batch)

    def misfit_of_mixed(self, X: Tensor, pred: Tensor, y: Tensor) -> str:
        """Why the loss does not take mixed targets, as a sentence; nothing when it does, or nothing is mixed."""
        if self.mixing is None:
            return ""
        _, mixed = self.mixing(X, self.task.targets(y), 1, 1)
        try:
            self.learned_loss(pred, mixed)
        except Exception as error:
            text = clean(str(error).strip().split("\n")[0], 200)
            return (
                f"loss {clean(short(self.settings.loss), 60)} takes no mixed targets, {tuple(mixed.shape)} of "
                f"{mixed.dtype} ({type(error).__name__}: {text}); set mixup and cutmix to 0"
            )
        return ""

    def inputs_of(self, examples: Examples, indices: Tensor) -> Batch:
        """The examples at `indices` as the model sees them when it is measured, and their targets, on the device."""
        inputs, y = examples.raw(indices)
        return self.valid_batches.as_inputs(inputs.to(self.device)), y.to(self.device)

    def count(self, loss: float | Tensor, examples: int) -> None:
        """Take note of a batch that is done."""
        self.batch += 1
        self.steps += 1
        self.meter.add(loss, examples)
        self.watch.tick()
        self.over = self.over or self.reaches_limit()

    def reaches_limit(self) -> bool:
        """True when `max_steps` or `max_time` allows no further batch."""
        s = self.settings
        return bool((s.max_steps and self.steps >= s.max_steps) or (s.max_time and self.watch.elapsed() >= s.max_time))

    def at_end_of_epoch(self) -> bool:
        """True when no further batch of this epoch should be trained on; an accumulation group is always completed."""
        if self.batch == self.batches:
            return True
        return (self.ends_epoch or self.over) and self.step.ends_group(self.batch)

    def fault_of_step(self, error: Exception, X: Tensor) -> Exception:
        """What the user is told when a step or a measurement of the inputs `X` fails."""
        if isinstance(error, TrainerError | torch.OutOfMemoryError):
            return error
        kept = "What was saved before is kept."
        text = clean(str(error).strip().split("\n")[0], 200)
        if isinstance(error, torch.AcceleratorError):
            return DeviceError(f"{self.device} has failed at {self.place()}: {text}. {kept}")
        if "more than 1 value per channel" in str(error):
            return ModelError(
                f"{clean(short(self.settings.model), 60)} takes statistics of each batch, and that at {self.place()} "
                f"has too few values for it. {kept}\nChoose a --batch-size that leaves no single example over."
            )
        return ModelError(
            f"{clean(short(self.settings.model), 60)} failed at {self.place()} on inputs of shape {tuple(X.shape)}: "
            f"{type(error).__name__}: {text}. {kept}"
        )

    def place(self) -> str:
        return f"epoch {max(1, self.epoch)}, batch {min(self.batch + 1, self.batches):,} of {self.batches:,}"

    # --- telling ---

    def due(self) -> bool:
        """True when the batch just done should be reported: by its number or by the clock.

        By the clock a report comes every 0.2 s at first and every 2.5 s in a long run, and none when the epoch's last
        one is expected within three times that since the newest. So a day of training, in short epochs too, fits in a
        journal that opens at once.
        """
        if self.steps == 1 or self.batch == self.batches:
            return True
        if self.settings.log_interval:
            return self.batch == 1 or self.batch % self.settings.log_interval == 0
        watch, now = self.watch, time.monotonic()
        quiet, interval = now - watch.mark, report_interval(now - watch.began)
        if quiet < interval:
            return False
        left = (now - watch.epoch_began) / self.batch * (self.batches - self.batch)
        return quiet + left >= SHORT * interval

    def is_reported(self) -> bool:
        return self.reported_at == self.steps or self.meter.examples == 0

    def report(self) -> BatchTrained:
        """The batches since the last report, as an event. Waits for the device.

        Raises:
            DivergedError: the loss of one of them was not finite; its step was not taken, nor any after it.
        """
        if unused := self.step.unused():
            self.batch, self.steps = self.batch - unused, self.steps - unused
            self.step.updates -= unused // self.settings.grad_accum_steps
            self.meter.drop()
            raise DivergedError("The loss or its gradient is not finite")
        watch, now = self.watch, time.monotonic()
        seconds = max(1e-9, now - watch.mark)
        loss, examples = self.meter.take()
        event = BatchTrained(
            epoch=self.epoch,
            batch=self.batch,
            batches=self.batches,
            step=self.steps,
            loss=loss,
            lr=self.schedule.lr,
            grad_norm=self.step.grad_norm(),
            examples_per_second=examples / seconds,
            data_wait=min(1.0, watch.waited / seconds),
            elapsed=watch.elapsed(),
        )
        if (usual := self._spikes.leap(loss)) is not None:
            self.warnings.append(
                f"the loss leapt to {fixed(loss)} at step {self.steps:,}, usual was {fixed(usual)}; "
                "a lower lr or clip_grad 1 may calm it"
            )
        watch.waited, watch.mark, self.reported_at = 0.0, time.monotonic(), self.steps
        return event

    def started(self) -> RunStarted:
        splits = self.splits
        with self._freezing.lifted() if self._freezing else nullcontext():
            parameters, layers = models.count(self.model), layers_of(self.model, splits.shape)
        return RunStarted(
            settings=self.settings.model_dump(),
            classes=splits.classes,
            train_examples=len(splits.train),
            valid_examples=len(splits.valid),
            test_examples=len(splits.test) if splits.test else 0,
            parameters=parameters,
            layers=layers,
            device=devices.describe(self.device),
            data=f"{splits.source}, {self.data_path.why}",
            valid_is_test=splits.valid_is_test,
            task=self.task.name,
            shape=splits.shape,
            outputs=self.outputs,
            categories=splits.categories,
            mean=splits.mean,
            std=splits.std,
            target_mean=splits.target_mean,
            target_std=splits.target_std,
            scores=self.task.scores,
            resumed_from=self.resumed_from,
            epoch=self.epoch,
            batch=self.batch,
            step=self.steps,
            lr=self.schedule.lr,
            changed=self.changed,
            best_epoch=self.best.epoch if self.best else None,
            best_loss=self.best.loss if self.best else None,
            best_accuracy=self.best.accuracy if self.best else None,
            best_scores=self.best.scores if self.best else {},
        )

    def ended(self, reason: str, *, error: str | None = None, exit_code: int = 0) -> RunEnded:
        return RunEnded(
            reason=reason,
            error=error,
            exit_code=exit_code,
            best_epoch=self.best.epoch if self.best else None,
            best_loss=self.best.loss if self.best else None,
            best_accuracy=self.best.accuracy if self.best else None,
            best_scores=self.best.scores if self.best else {},
            seconds=self.watch.elapsed(),
        )

    # --- judging and keeping ---

    def validates(self) -> bool:
        """True when this epoch ends with a validation: by its number, and always the last one."""
        return self.over or self.epoch % self.settings.val_interval == 0 or self.epoch == self.settings.epochs

    def monitored(self, result: Evaluated) -> float:
        """What decides which epoch is best; what was not measured is never better."""
        value = result.score(self.settings.monitor.removeprefix("valid_"))
        return math.nan if value is None else value

    @property
    def wants_more(self) -> bool:
        """True when more of what is monitored is better."""
        name = self.settings.monitor.removeprefix("valid_")
        return any(score.name == name and score.better == "higher" for score in self.task.scores)

    def is_best(self, result: Evaluated) -> bool:
        """Compare with the best so far and remember the better one."""
        s = self.settings
        best = self.monitored(self.best) if self.best else None
        if is_better(self.monitored(result), best, wants_more=self.wants_more, min_delta=s.min_delta):
            self.best, self.unimproved = result, 0
            return True
        self.unimproved += 1
        return False

    def out_of_patience(self) -> bool:
        return 0 < self.settings.patience <= self.unimproved

    def save_after_epoch(self, *, is_best: bool, result: Evaluated | None) -> Iterator[Save]:
        """best.pt when it is, this epoch's own file when it is wanted, and last.pt. All hold the same bytes.

        last.pt comes last: a run that is carried on from it finds every file that it knows of.
        """
        kept, dropped = self._rank(result)
        packed = self.pack(result)
        if is_best:
            if self._folder is None:
                self._best_packed = packed
            yield from self._save(packed, "best.pt", "best")
        if kept or (self.settings.save_every and self.epoch % self.settings.save_every == 0):
            yield from self._save(packed, f"epoch-{self.epoch}.pt", "epoch", dropped=dropped)
        yield from self._save(packed, "last.pt", "last")

    def _rank(self, result: Evaluated | None) -> tuple[bool, int | None]:
        """Whether this epoch is among the `save_top_k` best, and the epoch whose file it pushes out."""
        if self.settings.save_top_k == 1 or result is None or not math.isfinite(self.monitored(result)):
            return False, None
        sign = -1 if self.wants_more else 1
        self.top = sorted([*self.top, (sign * self.monitored(result), self.epoch)])
        out = self.top.pop()[1] if len(self.top) > self.settings.save_top_k else None
        if out is not None and self.settings.save_every and out % self.settings.save_every == 0:
            return out != self.epoch, None
        return out != self.epoch, out if out != self.epoch else None

    def save_now(self, packed: bytes | None = None) -> Iterator[Save]:
        """last.pt as things are, in the middle of an epoch too, or as they were `packed`."""
        yield from self._save(packed or self.pack(None), "last.pt", "last")

    def _save(self, packed: bytes, name: str, kind: str, dropped: int | None = None) -> Iterator[Save]:
        """Have one checkpoint written. A disk that refuses costs a warning, not the run."""
        self._saved_at = time.monotonic()
        if self._folder is None:
            self._last_packed = packed
            return
        path, epoch, step = self._folder / name, self.epoch, self.steps
        gone = self._folder / f"epoch-{dropped}.pt" if dropped else None

        def write() -> CheckpointSaved:
            removed = f"{gone.parent.name}/{gone.name}" if gone else None
            self._make_folder_again()
            event = checkpoint.save(packed, path, kind=kind, epoch=epoch, step=step, replaces=removed)
            self.saved, self.failed_saves = True, 0
            if gone:  # not before its successor is on the disk
                gone.unlink(missing_ok=True)
            return event

        def failed(error: OSError) -> Event:
            self.failed_saves += 1
            self.why_not_saved = checkpoint.why_not(error, len(packed), path.parent)
            if isinstance(self.inbox.stop, Stop):
                raise checkpoint.refused(name, self.why_not_saved, self.run_name) from error
            text = f"{name} was not saved ({self.why_not_saved}); training goes on, and the next save tries again"
            return Warned(text=text, answers="SaveCheckpoint")

        yield self.writer.begin(write, failed)

    def _make_folder_again(self) -> None:
        """Once, when somebody has deleted it: what is saved from here on is better than nothing."""
        if self._folder is not None and not self._folder.exists() and not self._made_again:
            self._made_again = True
            self._folder.mkdir(mode=0o700, parents=True)
            self.warnings.append("the run folder was deleted; it is made again, with what is saved from here on")

    def pack(self, result: Evaluated | None) -> bytes:
        """This moment as the bytes of a checkpoint; `result` is the validation that belongs to it.

        Raises:
            DivergedError: a weight is not finite; nothing of it should replace what was saved before.
        """
        if self.step.scale_is_lost():
            raise DivergedError("The gradients are not finite, whatever fp16's loss scale")
        if self.step.unused():
            self.report()  # which tells of the loss that was not finite
        return checkpoint.pack(state.take(self, result))

    @property
    def run_name(self) -> str:
        """What `tui-trainer resume` finds this run by."""
        return clean(self._folder.parent.name) if self._folder else "RUN"

    def save_is_due(self) -> bool:
        """True when the last save is longer ago than the settings want."""
        return bool(self.settings.save_interval) and time.monotonic() - self._saved_at >= self.settings.save_interval

    # --- going back ---

    def go_back(self, *, halve: bool) -> None:
        """Put the run where it was when last.pt was saved, and let it take half the rate from there.

        Raises:
            CheckpointError: there is none, or it is damaged.
        """
        rate = self.schedule.base
        skipped = self.skipped
        if self._folder is not None:
            saved, shown, _ = checkpoint.newest(self._folder, set_aside=True)
        else:
            shown = "the last checkpoint"
            saved = safe_load.unpack(self._last_packed or b"", shown)
        elapsed = self.watch.elapsed()
        state.restore(self, saved, shown)
        self.watch.began = time.monotonic() - elapsed  # what was for nothing has taken its time too
        self.skipped |= skipped
        self.rollbacks += 1
        if halve:
            self.schedule.halve(rate, self.step.updates)

    def skip(self) -> None:
        """Leave out the next batch."""
        self.skipped.add((self.epoch, self.batch + 1))
        self.step.resume(None)

    def waiting(self) -> str:
        """How long the next batch has been waited for."""
        return f"waiting for data: {time.monotonic() - self.watch.looked:.0f} s"

    def leaves_out(self, batch: int) -> bool:
        """True for a batch that is to be skipped; it is counted as done."""
        if (self.epoch, batch) not in self.skipped:
            return False
        self.batch += 1
        self.steps += 1
        if self.step.ends_group(batch):
            self.step.resume(None)  # what the group's other batches have added up is of no use
        return True

    def is_sound(self) -> bool:
        """True when the model's buffers are finite: batch normalisation sees a batch before its loss is known."""
        return state.first_not_finite(dict(self.model.named_buffers())) is None

    def is_cut(self) -> bool:
        """True when a limit ended this epoch: with a higher one it would have gone on in it."""
        return self.over and self.batch < self.batches and not self.ends_epoch

    def measured_model(self) -> nn.Module:
        """The model whose weights are measured: the moving average where there is one."""
        return self.average.module if self.average else self.model

    def best_model(self) -> nn.Module | None:
        """A copy of the model with the best epoch's weights; None when there never was one."""
        self.writer.wait()
        if self._folder is not None and (path := self._folder / "best.pt").exists():
            saved = safe_load.load(path)
        elif self._best_packed is not None:
            saved = safe_load.unpack(self._best_packed, "the best checkpoint")
        else:
            return None
        if self.best is not None and saved["step"] != self.best.step:
            self.warnings.append("best.pt is not of the best epoch, whose save had failed: the test is left out")
            return None
        model = copy.deepcopy(self.model)
        model.load_state_dict(saved.get("ema_state_dict") or saved["model_state_dict"])
        return model


def is_better(value: float, best: float | None, *, wants_more: bool, min_delta: float) -> bool:
    """True when `value` beats `best` by more than `min_delta`. What is not finite never beats anything."""
    if not math.isfinite(value):
        return False
    if best is None:
        return True
    return value > best + min_delta if wants_more else value < best - min_delta
