"""How long a run goes on, and its learning rate meanwhile."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator

from tui_trainer.settings.fields import (
    Group,
    duration,
    monitored_score,
    setting,
)

Scheduler = Literal["none", "plateau", "cosine", "step", "onecycle"]


class ScheduleSettings(Group):
    """How long a run goes on, and its learning rate meanwhile."""

    epochs: int = setting(
        5, "schedule", "Epochs", "How often the training examples are gone through.", simple=True, ge=1, le=1_000_000
    )
    scheduler: Scheduler = setting(
        "none",
        "schedule",
        "Scheduler",
        "How the learning rate changes: plateau lowers it when the monitored value stops improving, cosine lets it "
        "fall to min_lr, step multiplies it every few epochs, onecycle rises to it and falls again.",
        simple=True,
    )
    warmup_epochs: float = setting(
        0.0,
        "schedule",
        "Warm-up",
        "Epochs in which the learning rate rises from a hundredth to its value.",
        ge=0,
        le=1e6,
    )
    min_lr: float = setting(0.0, "schedule", "Lowest rate", "The learning rate never falls below this.", ge=0, le=1e6)
    decay_rate: float = setting(
        0.1, "schedule", "Decay rate", "Factor of the learning rate at each drop of plateau and step.", gt=0, lt=1
    )
    decay_epochs: int = setting(
        2,
        "schedule",
        "Decay epochs",
        "step: epochs between two drops. plateau: validations without improvement before a drop.",
        ge=1,
        le=1_000_000,
    )
    patience: int = setting(
        0,
        "schedule",
        "Patience",
        "Validations without improvement before training ends early. 0 is off.",
        simple=True,
        ge=0,
        le=1_000_000,
    )
    min_delta: float = setting(
        0.0, "schedule", "Least gain", "An improvement smaller than this does not count as one.", ge=0, le=1e9
    )
    monitor: Annotated[str, AfterValidator(monitored_score)] = setting(
        "valid_loss",
        "schedule",
        "Monitor",
        "What decides which epoch is best, for patience and plateau too: valid_loss, or another score of the task, "
        "such as valid_accuracy, valid_f1 or valid_mae.",
        fixed="the best epoch so far was chosen by it",
    )
    max_steps: int = setting(
        0, "schedule", "Most steps", "End after this many batches; 0 is no limit.", ge=0, le=10**12
    )
    max_time: Annotated[float, BeforeValidator(duration)] = setting(
        0.0, "schedule", "Most time", "End after this long: 90s, 15m, 2h or 1:30:00; 0 is no limit.", ge=0, le=1e9
    )
