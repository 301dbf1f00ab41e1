"""How a batch becomes a step: the optimizers, the learning rate over time, clipping and accumulation."""

import inspect
import math
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from tui_trainer.errors import DivergedError
from tui_trainer.own import arguments, loading
from tui_trainer.settings.schedule import lr_factor
from tui_trainer.settings.schema import Settings, is_place
from tui_trainer.training.models import finetune, own
from tui_trainer.training.step.average import Average
from tui_trainer.training.step.cpu_replay import Calls, Product, Tape
from tui_trainer.training.step.cuda_graph import Graph
from tui_trainer.training.step.losses import LossFunction
from tui_trainer.training.step.onednn import Quickly, is_worth_it

LEAST_SCALE = 2.0**-6
"""fp16's loss scale begins at 2^16 and is halved at each step that is left out: 22 in a row, or nearly so."""

FEW = 8192
"""Numbers of a gradient that are looked at in each step."""
LOOK_AT_ALL = 8
"""Steps from one look at all gradients to the next."""

Kinds = tuple[list[Product], list[Tensor]]
"""What learns by products, and the parameters that learn by a gradient."""

SIXTEEN_BITS = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""The types of mixed precision by the words of the setting `amp`."""


def autocast(settings: Settings, device: torch.device) -> AbstractContextManager[object]:
    """Sixteen bits where that is safe, when the settings want them."""
    return nullcontext() if settings.amp == "off" else torch.autocast(device.type, SIXTEEN_BITS[settings.amp])


def make_optimizer(model: nn.Module, settings: Settings, *, graph: bool = False) -> torch.optim.Optimizer:
    """The optimizer of torch.optim that the settings name, as one kernel for all weights where torch has one.

    For a step that is recorded as a `graph` the learning rate is a tensor, which the recording reads anew each time.
    """
    s, parameters = settings, [p for p in model.parameters() if p.requires_grad]
    typed = arguments.arguments(s.optimizer_arg, "--optimizer-arg")
    if is_place(s.optimizer):
        given = {"lr": s.lr, "weight_decay": s.weight_decay, "momentum": s.momentum, "settings": s}
        return own.make_optimizer(loading.load(s.optimizer, "optimizer"), model, given, typed)
    options: dict[str, Any] = {"lr": s.lr, "weight_decay": s.weight_decay}
    learns: list[Any] = finetune.groups(model, s) if s.layer_decay < 1 else parameters
    if graph:
        options["lr"] = torch.tensor(s.lr, device=parameters[0].device)
        for group in learns if s.layer_decay < 1 else ():
            group["lr"] = torch.tensor(group["lr"], device=parameters[0].device)
    if s.optimizer in ("sgd", "rmsprop"):
        options["momentum"] = s.momentum
    if s.optimizer == "sgd":
        options["nesterov"] = s.nesterov
    if graph and s.optimizer in ("adam", "adamw"):
        options["capturable"] = True
    kind = OPTIMIZERS[s.optimizer]
    if not s.compile:
        without_compiler()
    if typed:
        call = partial(arguments.call, kind, typed=typed, shown=s.optimizer, flag="--optimizer-arg", first=[learns])
        made: torch.optim.Optimizer = call(given=options)
        return made
    if s.optimizer == "rmsprop" or (s.optimizer == "adagrad" and parameters[0].device.type == "cuda"):
        return kind(learns, **options)  # torch has no such kernel for it
    try:
        return kind(learns, fused=True, **options)
    except RuntimeError:  # nor for others on every device
        return kind(learns, **options)


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adagrad": torch.optim.Adagrad,
    "rmsprop": torch.optim.RMSprop,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}


def without_compiler() -> None:
    """Spare the import of torch's compiler (1.5 s), wanted only to say that some methods are not to be compiled.

    torch keeps that mark on the function itself, in an attribute without which it asks the compiler for it.
    """
    if "torch._dynamo" in sys.modules:
        return
    names = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    modes = (Calls.__torch_dispatch__, Quickly.__torch_dispatch__)
    for marked in (*(getattr(torch.optim.Optimizer, name) for name in names), *modes):
        method = getattr(marked, "__wrapped__", None)
        if method is not None:
            method.__dict__.setdefault("__dynamo_disable", method)


class Schedule:
    """The learning rate over a run: a curve fixed by the settings, times a base that plateau and the user can move."""

    def __init__(
        self, optimizer: torch.optim.Optimizer, settings: Settings, updates_per_epoch: int, *, wants_more: bool = False
    ) -> None:
        """`wants_more` is true when more of what is monitored is better: plateau must know."""
        self._optimizer = optimizer
        self._settings = settings
        self._updates_per_epoch = updates_per_epoch
        self._base = self._lr = settings.lr
        self._plateau: ReduceLROnPlateau | None = None
        if settings.scheduler == "plateau":
            self._plateau = ReduceLROnPlateau(
                optimizer,
                mode="max" if wants_more else "min",
                factor=settings.decay_rate,
                patience=settings.decay_epochs,
                threshold=settings.min_delta,
                threshold_mode="abs",
                min_lr=settings.min_lr,
            )

    @property
    def lr(self) -> float:
        """The learning rate that the optimizer holds now."""
        return self._lr

    def before_update(self, update: int) -> None:
        """Set the rate for optimizer step `update`, counted from 0 at the run's beginning."""
        self._write(self._base * lr_factor(self._settings, update, self._updates_per_epoch))

    def after_validation(self, value: float, update: int) -> bool:
        """Tell plateau the monitored value; True when it lowered the rate. What is not finite it never hears of."""
        warming = update < self._settings.warmup_epochs * self._updates_per_epoch
        if self._plateau is None or warming or not math.isfinite(value):
            return False
        self._write(self._base)
        self._plateau.step(value)
        lowest = float(self._optimizer.param_groups[0]["lr"])  # of the last layer, whose rate is not scaled
        lowered = lowest < self._base
        self._base = lowest
        self._write(lowest, anew=True)
        return lowered

    def set_lr(self, lr: float, update: int) -> None:
        """Make `lr` the rate of the next step; the rest of the curve keeps its shape in proportion."""
        factor = lr_factor(self._settings, update, self._updates_per_epoch)
        self._base = lr / factor if factor > 0 else lr
        self._write(lr)

    def state_dict(self) -> dict[str, Any]:
        return {"base": self._base, "plateau": self._plateau.state_dict() if self._plateau else None}

    def load_state_dict(self, saved: dict[str, Any], *, lr_then: float, update: int) -> None:
        """Go on at optimizer step `update`. A learning rate set anew since, other than `lr_then`, is the new base.

        Of plateau only its progress is taken over: how much it lowers the rate, and when, is said by the settings.
        """
        self._base = float(saved["base"]) if self._settings.lr == lr_then else self._settings.lr
        if self._plateau is not None and saved["plateau"] is not None:
            for name in ("best", "num_bad_epochs", "cooldown_counter", "last_epoch"):
                setattr(self._plateau, name, saved["plateau"][name])
        self.before_update(update)

    def halve(self, at_most: float, update: int) -> None:
        """Half the base, or half of `at_most` when that is less."""
        self._base = min(self._base, at_most) / 2
        self.before_update(update)

    @property
    def base(self) -> float:
        """The factor of the curve: the learning rate where the curve is 1."""
        return self._base

    def hold(self, lr: float) -> None:
        """Let the optimizer hold `lr` until its next step, which sets the rate anew."""
        self._write(lr)

    def _write(self, lr: float, *, anew: bool = False) -> None:
        """Give `lr` to the optimizer, to each group at its scale; `anew` when it may hold something else by now."""
        if lr == self._lr and not anew:
            return
        self._lr = lr
        for group in self._optimizer.param_groups:
            scaled = lr * group.get("lr_scale", 1.0)
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(scaled)
            else:
                group["lr"] = scaled


class Step:
    """Predict, measure, backward, update: what the tutorial does with a batch, with accumulation and clipping.

    A loss that is not finite never reaches the weights. On the CPU it is looked at before the backward pass. On a GPU
    looking would wait for the device at every batch: a flag on the device then makes the fused update, this one and
    all after it, leave weights and state alone, and `unused` tells of it when a report waits for the device anyway.
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
        loss uses beside outputs and targets.
        """
        self.updates = 0
        """Optimizer steps taken since the run's beginning."""
        s = self._settings = settings
        self._model, self._forward, self._average = model, forward or model, average
        self._loss_function = loss_function
        self._optimizer, self._schedule = optimizer, schedule
        self._examples = examples
        self._batches = -(-examples // s.batch_size)
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._norm: Tensor | None = None
        self._products: list[Product] = []
        self._stale = True  # the gradients belong to a step already taken
        self.autocast = autocast(s, device)
        """Sixteen bits where that is safe, in training and in measuring."""
        self.scaler = torch.amp.GradScaler(device.type) if s.amp == "fp16" else None
        # The profiler's hooks and a switch for differentiable optimizers cost as much as the update of a small model.
        self._update = type(optimizer).step if is_place(s.optimizer) else inspect.unwrap(type(optimizer).step)
        self._bad, self._unused = torch.zeros((), device=device), torch.zeros((), device=device)
        """On the device: 1 since a loss or a gradient was not finite, else 0; and the batches since then."""
        self._one = torch.ones((), device=device)
        self._looks_later = looks_later(device) and bool(optimizer.defaults.get("fused")) and self.scaler is None
        if self._looks_later:
            optimizer.found_inf = self._bad  # type: ignore[attr-defined]
        self._waits = device.type != "cpu" or self._looks_later
        """To look at a number makes the processor wait for the device."""
        self._few = [p for p in self._parameters if p.numel() <= FEW]
        self._seen = 0
        self.graph: Graph | None = None
        """Replays whole steps on batches of the usual size, when they were recorded."""
        self._constants = constants
        self.tape = self._blank_tape() if repeats and replays(settings, device) else None
        """Replays forward and backward pass of such batches on a CPU."""
        self.quickly = Quickly() if self.tape is not None and is_worth_it() else nullcontext()
        """Has the products of a measurement computed as the tape computes them."""

    def _blank_tape(self) -> Tape:
        self._by_kind: list[Kinds] | None = None
        factored = not self._looks_later and not self._settings.clip_grad and descends(self._optimizer)
        return Tape(
            lambda X, y: self._loss_function(self._model(X), y), self._model, self._constants, factored=factored
        )

    def renew(self) -> None:
        """Other layers learn from here on than before: what was noted down or recorded of a step is of no more use."""
        self.resume(None)
        if self.tape is not None:
            self.tape = self._blank_tape()
        if isinstance(self._optimizer, torch.optim.SGD) and self._settings.momentum:
            for parameter in self._parameters:
                if parameter.requires_grad:  # its one kernel wants a momentum of all or none; the first adds to 0
                    self._optimizer.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))

    def __call__(self, X: Tensor, y: Tensor, batch: int) -> float | Tensor:
        """The loss of batch number `batch` (from 1) of an epoch; weights are updated when a group is whole.

        A number on the CPU, else a tensor on the device that the next step may overwrite.

        Raises:
            DivergedError: the loss is not finite; the weights are as they were.
        """
        self._schedule.before_update(self.updates)  # every batch of a group has the rate of its step
        self._seen += 1
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
        whole = len(X) == self._settings.batch_size  # the tape and the compiled model are made for these
        if whole and self.tape is not None and not self.tape.refused:
            loss = self._look_at(self.tape(X, y))
            self._products = self.tape.products
            self._look_at_gradients(loss)
            self._change()
            return loss
        with self.autocast:
            loss = self._loss_function(self._forward(X) if whole else self._model(X), y)
        looked_at = self._look_at(loss)
        scaled = loss if share == 1.0 else loss * share
        if self.scaler is not None:
            scaled = self.scaler.scale(scaled)
        scaled.backward()  # type: ignore[no-untyped-call]
        self._look_at_gradients(looked_at)
        if ends_group:
            self._change()
        return looked_at

    def _change(self) -> None:
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
                if self._products:
                    self._descend()
                else:
                    self._update(self._optimizer)
        if self._average is not None:
            self._average.update()

    def _descend(self) -> None:
        """The step of an optimizer that `descends`, when some gradients are products."""
        if self._by_kind is None:
            self._by_kind = [self._kinds(group["params"]) for group in self._optimizer.param_groups]
        for group, (products, others) in zip(self._optimizer.param_groups, self._by_kind, strict=True):
            lr, kept = group["lr"], 1 - group["lr"] * group["weight_decay"]
            for product in products:
                product.add(beta=kept, alpha=-lr)
            if kept != 1:
                torch._foreach_mul_(others, kept)
            if others:
                torch._foreach_add_(others, gradients_of(others), alpha=-lr)

    def _kinds(self, parameters: list[nn.Parameter]) -> Kinds:
        """What of these learns by products, and what by gradients. The same in all steps."""
        products = {id(product.weight): product for product in self._products}
        learns = [p for p in parameters if p.requires_grad]
        return [products[id(p)] for p in learns if id(p) in products], [p for p in learns if id(p) not in products]

    def _look_at(self, loss: Tensor) -> float | Tensor:
        """The loss to report. On a CPU one that is not finite ends the run here."""
        if self._waits and self.scaler is None:
            return loss.detach()  # and looked at with the gradients
        value = loss.item()
        if not math.isfinite(value):
            self._drop_gradients()
            raise DivergedError(f"The loss is not finite ({value})")
        return value

    def _look_at_gradients(self, loss: float | Tensor) -> None:
        """The same for the gradients, which can be bad though the loss is not. A scaler has its own answer to them.

        Where looking is left for later, one kernel raises the flag for gradients and loss alike.

        What is bad on the way back is bad in every layer before: biases, whose gradients are few numbers, tell it at
        once. To look at the large ones takes a twentieth of a small model's step, and so it is done now and then.
        """
        if self.scaler is not None:
            return
        if isinstance(loss, float):
            looked_at, products = gradients_of(self._few), self._products
            if looked_at and self._seen % LOOK_AT_ALL:
                products = []
            else:
                looked_at = gradients_of(self._parameters)
            self._raise_flag(looked_at)
            sound = not self._bad.item() and all(product.is_finite() for product in products)
        elif self._looks_later:
            self._raise_flag([*gradients_of(self._parameters), loss])
            self._unused.add_(self._bad)
            return
        else:  # one number is waited for
            norm = nn.utils.get_total_norm([*gradients_of(self._parameters), loss])
            sound = math.isfinite(norm.item())
        if not sound:
            self._drop_gradients()
            self._bad.zero_()
            is_of_loss = isinstance(loss, Tensor) and not math.isfinite(loss.item())
            raise DivergedError("The loss is not finite" if is_of_loss else "The gradient is not finite (the loss is)")

    def _raise_flag(self, numbers: list[Tensor]) -> None:
        """Set the flag on the device when one of the numbers is not finite. The kernel multiplies them by one."""
        torch._amp_foreach_non_finite_check_and_unscale_(numbers, self._bad, self._one)

    def _drop_gradients(self) -> None:
        self._products = []
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
        self._bad.zero_()
        self._unused.zero_()
        self._seen = 0
        if self.graph is not None:
            self.graph.forget()  # it writes to where the optimizer's state was

    def unused(self) -> int:
        """Batches since the first whose loss was not finite, that one included; waits for the device."""
        return int(self._unused) if self._looks_later else 0

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
        return math.hypot(whole, *(product.norm() for product in self._products))


def descends(optimizer: torch.optim.Optimizer) -> bool:
    """True when `optimizer` adds the gradient times a rate to the weights, and nothing else: SGD without more."""
    plain = {"momentum": 0, "dampening": 0, "nesterov": False, "maximize": False, "differentiable": False}
    options = optimizer.defaults
    return type(optimizer) is torch.optim.SGD and all(options.get(name) == value for name, value in plain.items())


def replays(settings: Settings, device: torch.device) -> bool:
    """True when forward and backward pass are replayed from a tape: on a CPU, in steps of one batch in 32 bits."""
    s = settings
    return device.type == "cpu" and s.grad_accum_steps == 1 and s.amp == "off" and not s.compile


def gradients_of(parameters: Sequence[Tensor]) -> list[Tensor]:
    """The gradients that there are; of those that name few places of a large weight, the numbers there."""
    return [grad._values() if grad.is_sparse else grad for p in parameters if (grad := p.grad) is not None]


def looks_later(device: torch.device) -> bool:
    """True where looking at a loss would make the processor wait, and fused updates heed a flag.

    On mps they do not, and the kernel that raises the flag lowers it first.
    """
    return device.type in ("cuda", "xpu")
