"""A run between two steps: its parts, its progress, its clock, and what it says of itself."""

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from tui_trainer.errors import CheckpointError, DivergedError
from tui_trainer.own.admitted import Admitted
from tui_trainer.run.commands import Inbox
from tui_trainer.run.events import BatchTrained, Evaluated, RunEnded, RunStarted, best_fields
from tui_trainer.settings.places import is_place
from tui_trainer.settings.schema import Settings
from tui_trainer.text import clean
from tui_trainer.training import devices, models
from tui_trainer.training.data import balance
from tui_trainer.training.data.augment import make_own
from tui_trainer.training.data.examples import Batch, Data, Examples
from tui_trainer.training.data.feeds import Feeds
from tui_trainer.training.data.mixing import Mixing
from tui_trainer.training.models.faults import fault_of_step, misfit_of_loss
from tui_trainer.training.models.finetune import Freezing
from tui_trainer.training.models.layers import layers_of
from tui_trainer.training.saving.checkpoint import pack
from tui_trainer.training.saving.monitor import Monitor
from tui_trainer.training.saving.safe_load import misfit
from tui_trainer.training.saving.saver import Saver
from tui_trainer.training.saving.state import (
    Progress,
    State,
    environment,
    finite_weights,
    first_not_finite,
    lacking,
    plain,
    random_numbers,
    set_random_numbers,
)
from tui_trainer.training.saving.writer import Save
from tui_trainer.training.step.average import Average
from tui_trainer.training.step.cuda_graph import Graph, why_no_graph
from tui_trainer.training.step.optimizers import make_optimizer
from tui_trainer.training.step.reports import Reports
from tui_trainer.training.step.schedule import Schedule
from tui_trainer.training.step.step import Step
from tui_trainer.training.tasks import Task, make_loss


class Course:
    """All that a run is made of, owned by the training thread. What can be saved of it is a `State`."""

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
        self.fingerprint, self.inbox = splits.fingerprint(), inbox
        self.monitor, self.loss_function = Monitor(s, task.scores), make_loss(s, task)
        self.code = Admitted()
        """The user's own code that it is made with."""
        weights = balance.weights_of(s, task, splits, self.outputs)
        weights = None if weights is None else weights.to(device)
        self.learned_loss = balance.loss_to_learn(s, task, weights) or self.loss_function
        """What training makes small: the loss that is measured, or the same with weights for the classes."""
        self.mixing = Mixing(s, splits, self.outputs, device) if s.mixup or s.cutmix else None
        """Mixes the examples of each batch, when that is wanted."""
        own_augment = make_own(s)
        self._feeds = f = Feeds(s, splits, device, own_augment)
        self.data_path, self.train_order, self.valid_batches, self.test_batches = f.path, f.order, f.valid, f.test
        self.batches = len(self.train_order)
        no_graph = why_no_graph(s, device)
        records = no_graph is None and s.cuda_graph != "off"
        self.optimizer = make_optimizer(model, s, graph=records)
        self.schedule = Schedule(
            self.optimizer, s, -(-self.batches // s.grad_accum_steps), wants_more=self.monitor.wants_more
        )
        self.average = Average(model, s.ema) if s.ema else None
        """The moving average of the weights, measured and kept in place of them when it is wanted."""
        self.step = Step(
            *(model, self.learned_loss, self.optimizer, self.schedule),
            *(s, self.train_order.examples, device),
            forward=forward,
            average=self.average,
            repeats=models.repeats(s) and not is_place(s.loss) and own_augment is None,
            constants=() if weights is None else (weights,),
        )
        self._freezing = Freezing(model, s) if s.freeze_epochs else None
        self.warnings: list[str] = []
        """What fell back to something slower, and what else is still to be told."""
        self.saver = Saver(s, folder, self.monitor, inbox, self.warnings)
        if records:
            self.step.graph = Graph(self.step.learn, list(model.parameters()), self._warn_no_graph)
        elif s.cuda_graph == "on" or (s.cuda_graph == "auto" and device.type == "cuda"):
            self._warn_no_graph(no_graph or "")
        self.progress, self.reports = Progress(), Reports(s, self.batches)
        self.paused = False
        """No step is taken until `Continue`."""
        self.parks = False
        """The run is to be parked as soon as no evaluation is under way."""
        self.measuring = False
        """An evaluation is under way: another one is not begun inside it."""
        self.resumed_from: str | None = None
        self.changed: tuple[tuple[str, str, str], ...] = ()
        """Settings that are not what they were when the checkpoint was taken: name, then, now."""

    def _warn_no_graph(self, reason: str) -> None:
        self.warnings.append(f"steps are not replayed as a CUDA graph ({clean(reason)}); they are taken one by one")

    def close(self) -> None:
        """End the threads and processes that serve this run."""
        self.saver.close()
        self._feeds.close()

    # --- going on ---

    def begin_epoch(self, epoch: int) -> None:
        self.progress.begin_epoch(epoch)
        self.reports.begin_epoch()
        self.freeze()

    def freeze(self) -> None:
        """Let rest the layers that do not learn in this epoch."""
        if self._freezing is not None and (warning := self._freezing.set(self.progress.epoch)):
            self.step.renew()
            self.warnings.append(warning)

    def learning_mode(self) -> None:
        """Set the model to training, but for what rests."""
        self.model.train()
        if self._freezing is not None:
            self._freezing.rest()

    def train_batches(self) -> Iterator[tuple[int, Batch]]:
        """The batches that are left of the epoch, with their numbers from 1, X and y on the device.

        Waiting for them is measured.
        """
        progress = self.progress
        if progress.batch and self.at_end_of_epoch():
            return
        batches = self._feeds.train(progress.epoch, progress.batch)
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                return
            self.reports.watch.waited += time.perf_counter() - asked
            yield self.progress.batch + 1, batch

    def learned_from(self, X: Tensor, y: Tensor, batch: int) -> Batch:
        """Batch number `batch` of the epoch as the step takes it: its targets as the task has them, mixed or not."""
        y = self.task.targets(y)
        return (X, y) if self.mixing is None else self.mixing(X, y, self.progress.epoch, batch)

    def misfit_of_mixed(self, X: Tensor, pred: Tensor, y: Tensor) -> str:
        """Why the loss does not take mixed targets, as a sentence; nothing when it does, or nothing is mixed."""
        if self.mixing is None:
            return ""
        _, mixed = self.mixing(X, self.task.targets(y), 1, 1)
        return misfit_of_loss(self.learned_loss, self.settings, pred, mixed)

    def inputs_of(self, examples: Examples, indices: Tensor) -> Batch:
        """The examples at `indices` as the model sees them when it is measured, and their targets, on the device."""
        return self._feeds.inputs_of(examples, indices)

    def count(self, loss: float | Tensor, examples: int) -> None:
        """Take note of a batch that is done."""
        progress = self.progress
        progress.batch += 1
        progress.step += 1
        self.reports.meter.add(loss, examples)
        self.reports.watch.tick()
        progress.over = progress.over or self.reaches_limit()

    def reaches_limit(self) -> bool:
        """True when `max_steps` or `max_time` allows no further batch."""
        s = self.settings
        return bool(
            (s.max_steps and self.progress.step >= s.max_steps)
            or (s.max_time and self.reports.watch.elapsed() >= s.max_time)
        )

    def at_end_of_epoch(self) -> bool:
        """True when no further batch of this epoch should be trained on; an accumulation group is always completed."""
        progress = self.progress
        if progress.batch == self.batches:
            return True
        return (progress.ends_epoch or progress.over) and self.step.ends_group(progress.batch)

    def fault_of_step(self, error: Exception, X: Tensor) -> Exception:
        """What the user is told when a step or a measurement of the inputs `X` fails."""
        return fault_of_step(error, X, self.settings, self.device, self.place())

    def place(self) -> str:
        batch = min(self.progress.batch + 1, self.batches)
        return f"epoch {max(1, self.progress.epoch)}, batch {batch:,} of {self.batches:,}"

    # --- telling ---

    def due(self) -> bool:
        """True when the batch just done should be reported: by its number or by the clock."""
        return self.reports.due(self.progress)

    def is_reported(self) -> bool:
        """True when there is nothing new to report."""
        return self.reports.is_reported(self.progress)

    def report(self) -> BatchTrained:
        """The batches since the last report, as an event. Waits for the device.

        Raises:
            DivergedError: the loss of one of them was not finite; its step was not taken, nor any after it.
        """
        progress = self.progress
        if unused := self.step.unused():
            progress.batch, progress.step = progress.batch - unused, progress.step - unused
            self.step.updates -= unused // self.settings.grad_accum_steps
            self.reports.meter.drop()
            raise DivergedError("The loss or its gradient is not finite")
        event, warning = self.reports.report(progress, lr=self.schedule.lr, grad_norm=self.step.grad_norm())
        self.warnings += warning
        return event

    def started(self) -> RunStarted:
        splits, progress, best = self.splits, self.progress, self.progress.best
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
            epoch=progress.epoch,
            batch=progress.batch,
            step=progress.step,
            lr=self.schedule.lr,
            changed=self.changed,
            **best_fields(best),
        )

    def ended(self, reason: str, *, error: str | None = None, exit_code: int = 0) -> RunEnded:
        """How the run has ended."""
        best = self.progress.best
        return RunEnded(
            reason=reason,
            error=error,
            exit_code=exit_code,
            **best_fields(best),
            seconds=self.reports.watch.elapsed(),
        )

    # --- judging and keeping ---

    def validates(self) -> bool:
        """True when this epoch ends with a validation: by its number, and always the last one."""
        s, epoch = self.settings, self.progress.epoch
        return self.progress.over or epoch % s.val_interval == 0 or epoch == s.epochs

    def is_best(self, result: Evaluated) -> bool:
        """Compare with the best so far and remember the better one."""
        progress = self.progress
        if self.monitor.is_better(result, progress.best):
            progress.best, progress.unimproved = result, 0
            return True
        progress.unimproved += 1
        return False

    def out_of_patience(self) -> bool:
        return 0 < self.settings.patience <= self.progress.unimproved

    def state(self, result: Evaluated | None) -> State:
        """This moment; `result` is the validation that belongs to it, if any. Its tensors are those of the run.

        Raises:
            DivergedError: a weight is not finite; nothing of it should replace what was saved before.
        """
        if self.step.scale_is_lost():
            raise DivergedError("The gradients are not finite, whatever fp16's loss scale")
        if self.step.unused():
            self.report()  # which tells of the loss that was not finite
        step = self.step
        return State(
            weights=finite_weights(self.model),
            progress=replace(self.progress, done=self.progress.done and not self.is_cut()),
            average=self.average.module.state_dict() if self.average else None,
            optimizer=plain(self.optimizer.state_dict()),
            scaler=step.scaler.state_dict() if step.scaler else None,
            schedule=self.schedule.state_dict(),
            updates=step.updates,
            gradients=step.unfinished(),
            loss=result.loss if result else self.reports.meter.mean(),
            meter=self.reports.meter.state_dict(),
            watch=self.reports.watch.state_dict(),
            rng=random_numbers(self.device),
            data=self.fingerprint,
            code=self.code.digests(),
            environment=environment(self.device),
            settings=self.settings.model_dump(),
        )

    def pack(self, result: Evaluated | None) -> bytes:
        """`state` as the bytes of a checkpoint.

        Raises:
            DivergedError: a weight is not finite.
        """
        return pack(self.state(result).to_checkpoint())

    def restore(self, state: State, shown: str) -> None:
        """Put the run where it was when `state` was taken. `shown` names its file in messages.

        Settings that differ from those saved keep what they say now: the rest of the learning-rate curve, say, is that
        of the settings of this run.

        Raises:
            CheckpointError: it is of another model, or lacks what a run needs to carry on.
        """
        if reason := misfit(self.model.state_dict(), state.weights, shown):
            raise CheckpointError(reason)
        try:
            self._restore(state)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError) as error:
            raise lacking(shown, error) from error

    def _restore(self, state: State) -> None:
        self.model.load_state_dict(state.weights)
        if self.average is not None:
            self.average.module.load_state_dict(state.average)  # type: ignore[arg-type]
            self.average.has_begun = state.updates > 0
        # The groups hold what settings say, such as weight decay and which kernel is used: those of now count.
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state.optimizer["state"], "param_groups": groups})
        self.progress = replace(state.progress, rollbacks=self.progress.rollbacks)
        self.freeze()
        step = self.step
        step.updates = state.updates
        step.resume(state.gradients)
        if step.scaler is not None and state.scaler:
            step.scaler.load_state_dict(state.scaler)
        self.schedule.load_state_dict(state.schedule, lr_then=state.settings["lr"], update=step.updates)
        self.reports.meter.load_state_dict(state.meter)
        self.reports.watch.load_state_dict(state.watch)
        self.reports.reported_at = self.progress.step  # there is nothing new to report before the next step
        self.progress.over = self.reaches_limit()
        self.progress.done = self.progress.done or self.progress.over
        set_random_numbers(state.rng, self.device)

    def save_after_epoch(self, *, is_best: bool, result: Evaluated | None) -> Iterator[Save]:
        """The checkpoints of an epoch that is done; `result` is its validation, if it has one."""
        ranked = self.saver.rank(self.progress, result)
        yield from self.saver.after_epoch(self.pack(result), self.progress, is_best=is_best, ranked=ranked)

    def save_now(self, packed: bytes | None = None) -> Iterator[Save]:
        """last.pt as things are, in the middle of an epoch too, or as they were `packed`."""
        yield from self.saver.now(packed or self.pack(None), self.progress)

    # --- going back ---

    def go_back(self, *, halve: bool) -> None:
        """Put the run where it was when last.pt was saved, and let it take half the rate from there.

        Raises:
            CheckpointError: there is none, or it is damaged.
        """
        rate, skipped, elapsed = self.schedule.base, self.progress.skipped, self.reports.watch.elapsed()
        saved, shown = self.saver.newest()
        self.restore(State.from_checkpoint(saved, shown), shown)
        self.reports.watch.began = time.monotonic() - elapsed  # what was for nothing has taken its time too
        self.progress.skipped |= skipped
        self.progress.rollbacks += 1
        if halve:
            self.schedule.halve(rate, self.step.updates)

    def skip(self) -> None:
        """Leave out the next batch."""
        self.progress.skipped.add((self.progress.epoch, self.progress.batch + 1))
        self.step.resume(None)

    def waiting(self) -> str:
        """How long the next batch has been waited for."""
        return f"waiting for data: {time.monotonic() - self.reports.watch.looked:.0f} s"

    def leaves_out(self, batch: int) -> bool:
        """True for a batch that is to be skipped; it is counted as done."""
        progress = self.progress
        if (progress.epoch, batch) not in progress.skipped:
            return False
        progress.batch += 1
        progress.step += 1
        if self.step.ends_group(batch):
            self.step.resume(None)  # what the group's other batches have added up is of no use
        return True

    def is_sound(self) -> bool:
        """True when the model's buffers are finite: batch normalisation sees a batch before its loss is known."""
        return first_not_finite(dict(self.model.named_buffers())) is None

    def is_cut(self) -> bool:
        """True when a limit ended this epoch: with a higher one it would have gone on in it."""
        progress = self.progress
        return progress.over and progress.batch < self.batches and not progress.ends_epoch

    def measured_model(self) -> nn.Module:
        """The model whose weights are measured: the moving average where there is one."""
        return self.average.module if self.average else self.model

    def best_model(self) -> nn.Module | None:
        """A copy of the model with the best epoch's weights; None when there never was one. Saves must be flushed."""
        saved = self.saver.best()
        if saved is None:
            return None
        if self.progress.best is not None and saved["step"] != self.progress.best.step:
            self.warnings.append("best.pt is not of the best epoch, whose save had failed: the test is left out")
            return None
        model = copy.deepcopy(self.model)
        model.load_state_dict(saved.get("ema_state_dict") or saved["model_state_dict"])
        return model
