"""An error that a model or a loss raises on a batch, as a sentence with its name and the shape of what it got."""

import torch
from torch import Tensor

from tui_trainer.errors import DeviceError, ModelError, TrainerError
from tui_trainer.settings.places import short
from tui_trainer.settings.schema import Settings
from tui_trainer.text import clean
from tui_trainer.training.step.losses import LossFunction


def first_line(error: BaseException) -> str:
    """The first line of what an error says."""
    return clean(str(error).strip().split("\n")[0], 200)


def failed_on(X: Tensor, error: Exception, settings: Settings, place: str = "", more: str = "") -> ModelError:
    """What to say of the model of `settings` that failed on the inputs `X`; `place` is where the run was then."""
    where = f" at {place}" if place else ""
    return ModelError(
        f"{clean(short(settings.model), 60)} failed{where} on inputs of shape {tuple(X.shape)}: "
        f"{type(error).__name__}: {first_line(error)}.{more}"
    )


def fault_of_step(error: Exception, X: Tensor, settings: Settings, device: torch.device, place: str) -> Exception:
    """What the user is told when a step or a measurement of the inputs `X` fails; `place` is where the run was then."""
    if isinstance(error, TrainerError | torch.OutOfMemoryError):
        return error
    kept = "What was saved before is kept."
    if isinstance(error, torch.AcceleratorError):
        return DeviceError(f"{device} has failed at {place}: {first_line(error)}. {kept}")
    if "more than 1 value per channel" in str(error):
        return ModelError(
            f"{clean(short(settings.model), 60)} takes statistics of each batch, and that at {place} has too few "
            f"values for it. {kept}\nChoose a --batch-size that leaves no single example over."
        )
    return failed_on(X, error, settings, place, f" {kept}")


def misfit_of_loss(loss: LossFunction, settings: Settings, pred: Tensor, mixed: Tensor) -> str:
    """Why the loss does not take `mixed` targets for the outputs `pred`, as a sentence; nothing when it does."""
    try:
        loss(pred, mixed)
    except Exception as error:
        return (
            f"loss {clean(short(settings.loss), 60)} takes no mixed targets, {tuple(mixed.shape)} of "
            f"{mixed.dtype} ({type(error).__name__}: {first_line(error)}); set mixup and cutmix to 0"
        )
    return ""
