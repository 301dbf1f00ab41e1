"""A moment of a run as the content of a checkpoint, and back: everything on which its next step depends.

What is missing here shows later: the optimizer's moments in the next step, the statistics of batch normalisation only
in the weights, a scheduler's count after its next drop. A test takes each part away and sees it in the outcome.
"""

import json
import math
import random
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from tui_trainer.errors import CheckpointError, DivergedError
from tui_trainer.run.events import Evaluated
from tui_trainer.training.saving import safe_load
from tui_trainer.training.saving.safe_load import Checkpoint
from tui_trainer.training.step import onednn

if TYPE_CHECKING:
    from tui_trainer.training.course import Course

FORMAT = 1
"""Raised when older programs could not read what this one writes."""


def take(course: "Course", result: Evaluated | None) -> Checkpoint:
    """This moment; `result` is the validation that belongs to it, if any.

    Raises:
        DivergedError: a weight is not finite; nothing of it should replace what was saved before.
    """
    weights = course.model.state_dict()
    if name := first_not_finite(weights):
        raise DivergedError(f"The weights {name} are not finite", step_taken=True)
    version_, internal, gauss = random.getstate()
    numpy_name, numpy_keys, *numpy_rest = np.random.get_state()
    step, best = course.step, course.best
    return {
        "format": FORMAT,
        "written_by": version("tui-trainer"),
        "epoch": course.epoch,
        "model_state_dict": weights,
        "ema_state_dict": course.average.module.state_dict() if course.average else None,
        "optimizer_state_dict": plain(course.optimizer.state_dict()),
        "scaler": step.scaler.state_dict() if step.scaler else None,
        "loss": result.loss if result else course.meter.mean(),
        "schedule": course.schedule.state_dict(),
        "batch": course.batch,
        "step": course.steps,
        "updates": step.updates,
        "gradients": step.unfinished(),
        "done": course.done and not course.is_cut(),
        "skipped": [list(place) for place in sorted(course.skipped)],
        "best": {
            "epoch": best.epoch,
            "step": best.step,
            "loss": best.loss,
            "accuracy": best.accuracy,
            "scores": best.scores,
        }
        if best
        else None,
        "unimproved": course.unimproved,
        "top": [list(entry) for entry in course.top],
        "meter": course.meter.state_dict(),
        "watch": course.watch.state_dict(),
        "rng": {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if course.device.type == "cuda" else [],
            "python": [version_, list(internal), gauss],
            "numpy": [str(numpy_name), np.asarray(numpy_keys).tolist(), *numpy_rest],
        },
        "data": course.fingerprint,
        "code": course.code,
        "environment": environment(course.device),
        "settings": json.dumps(course.settings.model_dump()),
    }


def restore(course: "Course", saved: Checkpoint, shown: str) -> None:
    """Put `course` where it was when `saved` was taken. `shown` names the file in messages.

    Settings that differ from those saved keep what they say now: the rest of the learning-rate curve, say, is that
    of the settings of `course`.

    Raises:
        CheckpointError: the checkpoint is of another model, or lacks what a run needs to carry on.
    """
    weights = safe_load.without_prefix(saved["model_state_dict"])
    if reason := safe_load.misfit(course.model.state_dict(), weights, shown):
        raise CheckpointError(reason)
    try:
        _restore(course, saved, weights)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"{shown} does not hold all that a run needs to carry on ({type(error).__name__}). Use an older checkpoint."
        ) from error


def _restore(course: "Course", saved: Checkpoint, weights: dict[str, Tensor]) -> None:
    settings_then = json.loads(saved["settings"])
    course.model.load_state_dict(weights)
    if course.average is not None:
        course.average.module.load_state_dict(saved["ema_state_dict"])
        course.average.has_begun = saved["updates"] > 0
    # The groups hold what settings say, such as weight decay and which kernel is used: those of now count.
    state = {"state": saved["optimizer_state_dict"]["state"], "param_groups": plain_groups(course.optimizer)}
    course.optimizer.load_state_dict(state)
    course.epoch, course.batch, course.steps = int(saved["epoch"]), int(saved["batch"]), int(saved["step"])
    course.freeze()
    step = course.step
    step.updates = int(saved["updates"])
    step.resume(saved["gradients"])
    if step.scaler is not None and saved["scaler"]:
        step.scaler.load_state_dict(saved["scaler"])
    course.schedule.load_state_dict(saved["schedule"], lr_then=settings_then["lr"], update=step.updates)
    course.best = evaluated(saved["best"])
    course.unimproved = int(saved["unimproved"])
    course.top = [(float(value), int(epoch)) for value, epoch in saved["top"]]
    course.skipped = {(int(epoch), int(batch)) for epoch, batch in saved["skipped"]}
    course.meter.load_state_dict(saved["meter"])
    course.watch.load_state_dict(saved["watch"])
    course.reported_at = course.steps  # there is nothing new to report before the next step
    course.over, course.ends_epoch = course.reaches_limit(), False
    course.done = bool(saved["done"]) or course.over
    rng = saved["rng"]
    torch.set_rng_state(rng["torch"])
    if course.device.type == "cuda" and len(rng["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(rng["cuda"])
    version_, internal, gauss = rng["python"]
    random.setstate((version_, tuple(internal), gauss))
    name, keys, *rest = rng["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))


def batch_size(saved: Checkpoint) -> int:
    """The batch size of the run, by which its place in the epoch is counted; 0 when it cannot be told."""
    try:
        return int(json.loads(saved["settings"])["batch_size"])
    except (KeyError, TypeError, ValueError):
        return 0


def evaluated(best: dict[str, Any] | None) -> Evaluated | None:
    """The validation of the best epoch, as far as a checkpoint keeps it: without the table of confusions."""
    if best is None:
        return None
    return Evaluated(split="valid", **best, seconds=0.0)


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


def plain_groups(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """The options of an optimizer, as its `state_dict` has them."""
    groups: list[dict[str, Any]] = optimizer.state_dict()["param_groups"]
    return groups
