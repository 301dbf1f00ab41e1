"""A batch as a step: predict, measure, backward, update, with accumulation, clipping and the moving average."""

import inspect
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from tui_trainer.errors import DivergedError
from tui_trainer.settings.places import is_place
from tui_trainer.settings.schema import Settings
from tui_trainer.training.step.average import Average
from tui_trainer.training.step.cpu_replay import Tape, replays
from tui_trainer.training.step.cuda_graph import Graph
from tui_trainer.training.step.deferred_grads import Descent, Product, is_plain_sgd
from tui_trainer.training.step.finite import watcher
from tui_trainer.training.step.losses import LossFunction
from tui_trainer.training.step.onednn import Quickly, is_worth_it
from tui_trainer.training.step.precision import LEAST_SCALE, autocast, loss_scaler
from tui_trainer.training.step.schedule import Schedule
from tui_trainer.training.step.ways import Autograd, Replayed


class Step:
    """Predict, measure, backward, update: what the tutorial does with a batch, with accumulation and clipping.

    How loss and gradients are computed is one of `ways`; who checks that they are finite is one of `finite`. Both are
    chosen here, once, from settings and device.
    """

    def __init__(
        self,
        model: nn.Module,
        loss_function: LossFunction,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        settings: Settings,
        examples: int,
        device: torch.device,
        *,
        forward: Callable[[Tensor], Tensor] | None = None,
        average: Average | None = None,
        repeats: bool = True,
        constants: Sequence[Tensor] = (),
    ) -> None:
        """`forward` is the compiled model, when there is one; `average` follows the weights.

        `repeats` is true when every step does the same operations, whatever the numbers; `constants` are what the
        loss uses beside outputs and targets. `examples` are those of an epoch.
        """
        self.updates = 0
        """Optimizer steps taken since the run's beginning."""
        s = self._settings = settings
        self._model, self._loss_function, self._constants = model, loss_function, constants
        self._optimizer, self._schedule, self._average = optimizer, schedule, average
        self._examples = examples
        self._batches = -(-examples // s.batch_size)
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._norm: Tensor | None = None
        self._deferred: Sequence[Product] = ()
        self._stale = True  # the gradients belong to a step already taken
        self.autocast = autocast(s, device)
        """Sixteen bits where that is safe, in training and in measuring."""
        self.scaler = loss_scaler(s, device)
        # The profiler's hooks and a switch for differentiable optimizers cost as much as the update of a small model.
        self._optimizer_step = type(optimizer).step if is_place(s.optimizer) else inspect.unwrap(type(optimizer).step)
        self._finite = watcher(self._parameters, optimizer, device, scaled=self.scaler is not None)
        by_autograd = (loss_function, self.autocast, self.scaler, self._finite)
        self._ragged = Autograd(model, *by_autograd)
        """For a batch of another size than the usual: neither a tape nor the compiled model is made for it."""
        self._whole = Autograd(forward or model, *by_autograd)
        self._replayed = Replayed(self._new_tape(), self._finite) if repeats and replays(s, device) else None
        self.graph: Graph | None = None
        """Replays whole steps on batches of the usual size, when they were recorded."""
        self.quickly = Quickly() if self._replayed is not None and is_worth_it() else nullcontext()
        """Has the products of a measurement computed as the tape computes them."""

    @property
    def tape(self) -> Tape | None:
        """What replays forward and backward pass on a CPU, where that is done."""
        return self._replayed.tape if self._replayed is not None else None

    def _new_tape(self) -> Tape:
        factored = self._finite.defers and not self._settings.clip_grad and is_plain_sgd(self._optimizer)
        self._descent = Descent(self._optimizer)
        return Tape(
            lambda X, y: self._loss_function(self._model(X), y), self._model, self._constants, factored=factored
        )

    def renew(self) -> None:
        """Other layers learn from here on than before: what was noted down or recorded of a step is of no more use."""
        self.resume(None)
        if self._replayed is not None:
            self._replayed = Replayed(self._new_tape(), self._finite)
        if isinstance(self._optimizer, torch.optim.SGD) and self._settings.momentum:
            for parameter in self._parameters:
                if parameter.requires_grad:  # its one kernel wants a momentum of all or none; the first adds to 0
                    self._optimizer.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))

    def __call__(self, X: Tensor, y: Tensor, batch: int) -> float | Tensor:
        """The loss of batch number `batch` (from 1) of an epoch; weights are updated when a group is whole.

        A number on the CPU, else a tensor on the device that the next step may overwrite.

        Raises:
            DivergedError: the loss or a gradient is not finite; the weights are as they were.
        """
        self._schedule.before_update(self.updates)  # every batch of a group has the rate of its step
        if self.graph is not None and len(X) == self._settings.batch_size:
            loss, ends = self.graph(X, y), True
        elif self._settings.grad_accum_steps == 1:
            loss, ends = self.learn(X, y), True
        else:
            ends = self.ends_group(batch)
            loss = self.learn(X, y, share=len(X) / self._examples_in_group(batch), ends_group=ends)
        self.updates += ends
        self._stale = ends
        return loss

    def learn(self, X: Tensor, y: Tensor, share: float = 1.0, *, ends_group: bool = True) -> float | Tensor:
        """The tutorial's step. `share` is this batch's part of the examples in its accumulation group."""
        if self._stale:
            self._drop_gradients()
            self._stale = False
        way = self._way(len(X))
        try:
            loss = way(X, y, share)
            self._deferred = way.deferred
            self._finite.gradients(loss, self._deferred)
        except DivergedError:
            self._drop_gradients()
            raise
        if ends_group:
            self._update()
        return loss

    def _way(self, examples: int) -> Autograd | Replayed:
        """How loss and gradients of so many examples are computed."""
        if examples != self._settings.batch_size:
            return self._ragged
        replayed = self._replayed
        return self._whole if replayed is None or replayed.tape.refused else replayed

    def _update(self) -> None:
        """Clip the gradients, update the weights by them, and average the weights."""
        if self.scaler is not None:
            self.scaler.unscale_(self._optimizer)
        if self._settings.clip_grad > 0:
            self._norm = nn.utils.clip_grad_norm_(self._parameters, self._settings.clip_grad)
        if self.scaler is not None:
            self.scaler.step(self._optimizer)
            self.scaler.update()
        else:
            with torch.no_grad():
                if self._deferred:
                    self._descent.step(self._deferred)
                else:
                    self._optimizer_step(self._optimizer)
        if self._average is not None:
            self._average.update()

    def _drop_gradients(self) -> None:
        self._deferred = ()
        for parameter in self._parameters:  # what zero_grad does, without its hook for the profiler
            parameter.grad = None

    def scale_is_lost(self) -> bool:
        """True when fp16's scaler has found infinite gradients time after time: no step is taken any more."""
        return self.scaler is not None and self.scaler.get_scale() < LEAST_SCALE

    def unfinished(self) -> list[Tensor | None] | None:
        """The gradients of the accumulation group under way; None between two groups."""
        return None if self._stale else [parameter.grad for parameter in self._parameters]

    def resume(self, gradients: list[Tensor | None] | None) -> None:
        """Go on in an accumulation group with the gradients that it had, or anew without."""
        self._stale = gradients is None
        self._drop_gradients()
        for parameter, gradient in zip(self._parameters, gradients or (), strict=gradients is not None):
            parameter.grad = None if gradient is None else gradient.to(parameter.device).clone()
        self._finite.begin_anew()
        if self.graph is not None:
            self.graph.forget()  # it writes to where the optimizer's state was

    def unused(self) -> int:
        """Batches since the first whose step was left out though nobody was told yet; waits for the device."""
        return self._finite.unused()

    def ends_group(self, batch: int) -> bool:
        """True when the gradients of batch number `batch` complete an optimizer step."""
        return batch % self._settings.grad_accum_steps == 0 or batch == self._batches

    def _examples_in_group(self, batch: int) -> int:
        """Examples in the accumulation group of this batch; the last group and the last batch may be smaller."""
        size, group = self._settings.batch_size, self._settings.grad_accum_steps
        first = (batch - 1) // group * group
        return min(self._examples, (first + group) * size) - first * size

    def grad_norm(self) -> float | None:
        """Length of the newest gradient over all weights, before clipping; None while a group is incomplete."""
        if not self._stale:
            return None
        if self._settings.clip_grad > 0:
            return None if self._norm is None else float(self._norm)
        whole = float(nn.utils.get_total_norm([p.grad for p in self._parameters if p.grad is not None]))
        return math.hypot(whole, *(product.norm() for product in self._deferred))
