"""What a run is between two steps: all that its next step depends on. A checkpoint holds it, and nothing else.

Saving, parking, handing over, going back and carrying on use the same `State`: `Course.state` takes it,
`Course.restore` puts a run there. What is missing here shows later: the optimizer's moments in the next step, the
statistics of batch normalisation only in the weights, a scheduler's count after its next drop. A test takes each part
away and sees it in the outcome.
"""

import json
import math
import random
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tui_trainer.errors import CheckpointError, DivergedError
from tui_trainer.run.events import Evaluated
from tui_trainer.training.saving.safe_load import Checkpoint, without_prefix
from tui_trainer.training.step import onednn

FORMAT = 1
"""Raised when older programs could not read what this one writes."""


@dataclass(slots=True)
class Progress:
    """Where a run is: plain values. A checkpoint holds those above the line; a parked run keeps all of them."""

    epoch: int = 0
    batch: int = 0
    """Batches done in this epoch."""
    step: int = 0
    """Batches done since the run's beginning."""
    done: bool = False
    """All of this epoch is done, its validation too."""
    best: Evaluated | None = None
    """The best validation so far; out of a checkpoint it comes without its tables."""
    unimproved: int = 0
    """Validations since the best one."""
    top: list[tuple[float, int]] = field(default_factory=list)
    """Of the `save_top_k` best epochs: what is monitored, smaller is better, and the epoch's number."""
    skipped: set[tuple[int, int]] = field(default_factory=set)
    """Batches that are left out, by epoch and number."""
    # ---
    over: bool = False
    """No epoch follows this one: `max_steps` or `max_time` is reached."""
    ends_epoch: bool = False
    """The user wants this epoch's remaining batches left out."""
    rollbacks: int = 0
    """Times this run went back by itself."""

    def begin_epoch(self, epoch: int) -> None:
        self.epoch, self.batch = epoch, 0
        self.done = self.ends_epoch = False


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One moment of a run."""

    progress: Progress
    weights: dict[str, Tensor]
    """The model's `state_dict`."""
    average: dict[str, Tensor] | None
    """That of the moving average, when there is one."""
    optimizer: dict[str, Any]
    """Its `state_dict`, with learning rates as numbers."""
    scaler: dict[str, Any] | None
    schedule: dict[str, Any]
    updates: int
    """Optimizer steps taken since the run's beginning."""
    gradients: list[Tensor | None] | None
    """Of the accumulation group under way; None between two groups."""
    loss: float
    """Of the validation that belongs to this moment, else the training loss of the epoch so far."""
    meter: dict[str, Any]
    watch: dict[str, float]
    rng: dict[str, Any]
    """Of torch, CUDA, Python and numpy."""
    data: dict[str, int]
    """The fingerprint of the examples."""
    code: dict[str, str]
    """The user's own code, by file or module: the SHA-256."""
    environment: dict[str, str]
    settings: dict[str, Any]

    def to_checkpoint(self) -> Checkpoint:
        """Plain containers and tensors, with the tutorial's keys among them."""
        p = self.progress
        best = p.best
        return {
            "format": FORMAT,
            "written_by": version("tui-trainer"),
            "epoch": p.epoch,
            "model_state_dict": self.weights,
            "ema_state_dict": self.average,
            "optimizer_state_dict": self.optimizer,
            "scaler": self.scaler,
            "loss": self.loss,
            "schedule": self.schedule,
            "batch": p.batch,
            "step": p.step,
            "updates": self.updates,
            "gradients": self.gradients,
            "done": p.done,
            "skipped": [list(place) for place in sorted(p.skipped)],
            "best": {
                "epoch": best.epoch,
                "step": best.step,
                "loss": best.loss,
                "accuracy": best.accuracy,
                "scores": best.scores,
            }
            if best
            else None,
            "unimproved": p.unimproved,
            "top": [list(entry) for entry in p.top],
            "meter": self.meter,
            "watch": self.watch,
            "rng": self.rng,
            "data": self.data,
            "code": self.code,
            "environment": self.environment,
            "settings": json.dumps(self.settings),
        }

    @classmethod
    def from_checkpoint(cls, saved: Checkpoint, shown: str) -> "State":
        """What `saved` holds; `shown` names the file in messages.

        Raises:
            CheckpointError: it is of another format, of a newer program, or lacks what a run needs to carry on.
        """
        if not isinstance(saved.get("format"), int):
            raise CheckpointError(
                f"{shown} holds weights, but not all that a run needs to carry on: tui-trainer did not write it, or an "
                "older one did."
            )
        if saved["format"] > FORMAT:
            raise CheckpointError(
                f"{shown} was written by tui-trainer {saved.get('written_by')}, which is newer than this one. Update "
                "it."
            )
        try:
            return cls(
                progress=progress_of(saved),
                weights=without_prefix(saved["model_state_dict"]),
                average=saved["ema_state_dict"],
                optimizer=saved["optimizer_state_dict"],
                scaler=saved["scaler"],
                schedule=saved["schedule"],
                updates=int(saved["updates"]),
                gradients=saved["gradients"],
                loss=float(saved["loss"]),
                meter=saved["meter"],
                watch=saved["watch"],
                rng=saved["rng"],
                data=saved["data"],
                code=saved.get("code", {}),
                environment=saved["environment"],
                settings=json.loads(saved["settings"]),
            )
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise lacking(shown, error) from error


def lacking(shown: str, error: Exception) -> CheckpointError:
    """What is said of a checkpoint that a run cannot be put into."""
    return CheckpointError(
        f"{shown} does not hold all that a run needs to carry on ({type(error).__name__}). Use an older checkpoint."
    )


def progress_of(saved: Checkpoint) -> Progress:
    """Where the run was, as far as a checkpoint says."""
    best = saved["best"]
    return Progress(
        epoch=int(saved["epoch"]),
        batch=int(saved["batch"]),
        step=int(saved["step"]),
        done=bool(saved["done"]),
        best=None if best is None else Evaluated(split="valid", **best, seconds=0.0),
        unimproved=int(saved["unimproved"]),
        top=[(float(value), int(epoch)) for value, epoch in saved["top"]],
        skipped={(int(epoch), int(batch)) for epoch, batch in saved["skipped"]},
    )


def batch_size(saved: Checkpoint) -> int:
    """The batch size of the run, by which its place in the epoch is counted; 0 when it cannot be told."""
    try:
        return int(json.loads(saved["settings"])["batch_size"])
    except (KeyError, TypeError, ValueError):
        return 0


def finite_weights(model: torch.nn.Module) -> dict[str, Tensor]:
    """The model's `state_dict`.

    Raises:
        DivergedError: a weight is not finite; nothing of it should replace what was saved before.
    """
    weights = model.state_dict()
    if name := first_not_finite(weights):
        raise DivergedError(f"The weights {name} are not finite", step_taken=True)
    return weights


def first_not_finite(weights: dict[str, Tensor]) -> str | None:
    """The name of a tensor that holds NaN or infinity; None when none does. Waits for the device once."""
    named = {name: tensor for name, tensor in weights.items() if tensor.is_floating_point() and tensor.numel()}
    if not named:
        return None
    largest = torch.stack([norm.float() for norm in torch._foreach_norm(list(named.values()), ord=math.inf)])
    finite = torch.isfinite(largest).tolist()
    return next((name for name, good in zip(named, finite, strict=True) if not good), None)


def plain(state: dict[str, Any]) -> dict[str, Any]:
    """An optimizer's state with its learning rates as numbers: a recorded step keeps them on the device."""
    groups = [{key: float(v) if key == "lr" else v for key, v in group.items()} for group in state["param_groups"]]
    return state | {"param_groups": groups}


def random_numbers(device: torch.device) -> dict[str, Any]:
    """The states of all generators of random numbers, as plain values."""
    version_, internal, gauss = random.getstate()
    numpy_name, numpy_keys, *numpy_rest = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if device.type == "cuda" else [],
        "python": [version_, list(internal), gauss],
        "numpy": [str(numpy_name), np.asarray(numpy_keys).tolist(), *numpy_rest],
    }


def set_random_numbers(rng: dict[str, Any], device: torch.device) -> None:
    """Let all generators go on where `rng` was taken."""
    torch.set_rng_state(rng["torch"])
    if device.type == "cuda" and len(rng["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(rng["cuda"])
    version_, internal, gauss = rng["python"]
    random.setstate((version_, tuple(internal), gauss))
    name, keys, *rest = rng["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))


def environment(device: torch.device) -> dict[str, str]:
    """What the last digits of a result depend on beside the settings: the same program rounds the same way there."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "torch": str(torch.__version__),
        "device": name,
        "threads": str(torch.get_num_threads()) if device.type == "cpu" else "",
        "instructions": instructions() if device.type == "cpu" else "",
    }


def instructions() -> str:
    """Those of the processor that torch uses, and what multiplies by them when it is not the usual library."""
    return torch.backends.cpu.get_cpu_capability() + (", oneDNN" if onednn.is_worth_it() else "")
