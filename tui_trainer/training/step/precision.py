"""Mixed precision: which operations compute in sixteen bits, and fp16's loss scale."""

from contextlib import AbstractContextManager, nullcontext

import torch

from tui_trainer.settings.schema import Settings

SIXTEEN_BITS = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""The types of mixed precision by the words of the setting `amp`."""

LEAST_SCALE = 2.0**-6
"""fp16's loss scale begins at 2^16 and is halved at each step that is left out: 22 in a row, or nearly so."""


def autocast(settings: Settings, device: torch.device) -> AbstractContextManager[object]:
    """Sixteen bits where that is safe, when the settings want them."""
    return nullcontext() if settings.amp == "off" else torch.autocast(device.type, SIXTEEN_BITS[settings.amp])


def loss_scaler(settings: Settings, device: torch.device) -> torch.amp.GradScaler | None:
    """What keeps fp16's gradients from underflowing; None where no scale is needed."""
    return torch.amp.GradScaler(device.type) if settings.amp == "fp16" else None
