"""The learning rate over a run as plain arithmetic, so that the form can draw it before torch is loaded."""

import math

from tui_trainer.settings.schema import Settings


def lr_factor(settings: Settings, update: int, updates_per_epoch: int) -> float:
    """The learning rate of optimizer step `update` (from 0) as a factor of `settings.lr`, plateau drops left out.

    The curves are those of torch's LinearLR (warm-up, from a hundredth), CosineAnnealingLR, StepLR and OneCycleLR
    (cosine form, first 30 % rising from a 25th), taken a step at a time.
    """
    s = settings
    total = s.epochs * updates_per_epoch
    warmup = round(s.warmup_epochs * updates_per_epoch)
    if update < warmup:
        return 0.01 + 0.99 * update / warmup
    lowest = s.min_lr / s.lr
    match s.scheduler:
        case "cosine":
            done = min(1.0, (update - warmup) / max(1, total - warmup))
            return lowest + (1 - lowest) * (1 + math.cos(math.pi * done)) / 2
        case "step":
            return max(lowest, s.decay_rate ** (update // updates_per_epoch // s.decay_epochs))
        case "onecycle":
            peak = 0.3 * total - 1
            first, last = 1 / 25, 1 / 25e4
            if update <= peak:
                return first + (1 - first) * (1 - math.cos(math.pi * update / peak)) / 2
            done = min(1.0, (update - peak) / (total - 1 - peak))
            return max(lowest, last + (1 - last) * (1 + math.cos(math.pi * done)) / 2)
        case _:
            return 1.0
