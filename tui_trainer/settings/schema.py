"""The one schema: the command line, the form, the TOML files, the environment and every error message come from it.

Adding a setting is adding one field to the file of its group in `groups/`.
"""

import difflib
from typing import Any, Literal, Self, get_args

from pydantic import BeforeValidator, model_validator
from pydantic.fields import FieldInfo

from tui_trainer.catalog.zoo import ZOO
from tui_trainer.errors import SettingsError
from tui_trainer.settings.fields import NAMES, duration
from tui_trainer.settings.groups.data import DataSettings
from tui_trainer.settings.groups.model import ModelSettings
from tui_trainer.settings.groups.optimisation import OptimisationSettings
from tui_trainer.settings.groups.run import RunSettings
from tui_trainer.settings.groups.schedule import ScheduleSettings
from tui_trainer.settings.places import OWN, is_lent, is_place
from tui_trainer.text import clean

GROUPS = ("data", "model", "optimisation", "schedule", "run")
ENV_PREFIX = "TUI_TRAINER_"
CONFIG_NAME = "tui-trainer.toml"
PROVENANCE = "provenance"
"""The table of run.toml that says where a run came from; it is not a setting."""


class Settings(RunSettings, ScheduleSettings, OptimisationSettings, ModelSettings, DataSettings):
    """Everything that decides what a run does. Frozen: a run keeps the settings it began with."""

    # Pydantic takes the fields of the last base first, so that they come in the order of GROUPS.

    @model_validator(mode="after")
    def _agree(self) -> Self:
        problems = contradictions(self)
        if problems:
            raise SettingsError([sentence for _, sentence in problems])
        return self


FIELDS: dict[str, FieldInfo] = Settings.model_fields


def is_of_script(settings: Settings) -> bool:
    """True when a part of the run is an object of a running script."""
    return any(is_lent(getattr(settings, name)) for name in OWN)


def group_of(name: str) -> str:
    """The group of a setting, one of `GROUPS`."""
    return str(_extra(name)["group"])


def why_fixed(name: str) -> str:
    """Why a setting cannot change when a run is carried on; empty when it can."""
    return str(_extra(name)["fixed"])


def is_simple(name: str) -> bool:
    """True for the ten settings that matter most, open on the form from the start."""
    return bool(_extra(name)["simple"])


def _extra(name: str) -> dict[str, Any]:
    extra = FIELDS[name].json_schema_extra
    assert isinstance(extra, dict)
    return extra


def choices_of(name: str) -> tuple[str, ...]:
    """The words a setting can be, or nothing when it is a number, a switch or free text."""
    if name in NAMES:
        return NAMES[name]()
    annotation = FIELDS[name].annotation
    return get_args(annotation) if getattr(annotation, "__origin__", None) is Literal else ()


def is_switch(name: str) -> bool:
    """True when the setting is on or off."""
    return FIELDS[name].annotation is bool


def is_duration(name: str) -> bool:
    """True when the setting is a time, which may be typed as `90s` or `2h`."""
    return any(isinstance(part, BeforeValidator) and part.func is duration for part in FIELDS[name].metadata)


def flag(name: str) -> str:
    """A setting's name on the command line."""
    return "--" + name.replace("_", "-")


def nearest(name: str) -> str:
    """A hint at the setting somebody may have meant by `name`, by its name or by its words on the form."""
    words = {str(info.title).lower().replace(" ", "_"): known for known, info in FIELDS.items()} | {
        n: n for n in FIELDS
    }
    near = difflib.get_close_matches(name.lower(), words, n=1, cutoff=0.6)
    return f" Did you mean {words[near[0]]}?" if near else ""


def contradictions(settings: Settings) -> list[tuple[tuple[str, ...], str]]:
    """Settings that are fine one by one and not together: the names, and a sentence that holds all of them."""
    s = settings
    found: list[tuple[tuple[str, ...], str]] = []
    if s.momentum > 0 and s.optimizer in ("adagrad", "adam", "adamw"):
        sentence = f"momentum: {s.optimizer} has none of its own; set momentum to 0, or optimizer to sgd or rmsprop"
        found.append((("momentum", "optimizer"), sentence))
    if s.nesterov and not (s.optimizer == "sgd" and s.momentum > 0):
        sentence = "nesterov: needs optimizer sgd and a momentum above 0"
        found.append((("nesterov", "optimizer", "momentum"), sentence))
    if s.layer_decay < 1 and is_place(s.optimizer):
        sentence = "layer_decay: an optimizer of your own gets all parameters alike; set layer_decay to 1"
        found.append((("layer_decay", "optimizer"), sentence))
    if s.warmup_epochs > 0 and s.scheduler == "onecycle":
        sentence = "warmup_epochs: scheduler onecycle warms up by itself; set warmup_epochs to 0"
        found.append((("warmup_epochs", "scheduler"), sentence))
    elif s.warmup_epochs >= s.epochs:
        sentence = f"warmup_epochs: must be fewer than epochs ({s.epochs}), found {s.warmup_epochs:g}"
        found.append((("warmup_epochs", "epochs"), sentence))
    if s.min_lr > s.lr:
        found.append((("min_lr", "lr"), f"min_lr: must not be above lr ({s.lr:g}), found {s.min_lr:g}"))
    if s.overfit_batches and s.limit_train_batches:
        sentence = "overfit_batches: cannot be used together with limit_train_batches; set one of them to 0"
        found.append((("overfit_batches", "limit_train_batches"), sentence))
    if s.overfit_batches and not s.batch_size:
        sentence = "batch_size: overfit_batches counts batches of a size that is known; give batch_size a number"
        found.append((("batch_size", "overfit_batches"), sentence))
    if s.overfit_batches and (s.mixup or s.cutmix):
        mixed = "mixup" if s.mixup else "cutmix"
        sentence = f"{mixed}: what is mixed anew each time cannot be learned by heart; set it to 0, or overfit_batches"
        found.append(((mixed, "overfit_batches"), sentence))
    if s.overfit_batches and s.sampler == "balanced":
        sentence = "sampler: overfit_batches keeps to the same few batches; set sampler to shuffle"
        found.append((("sampler", "overfit_batches"), sentence))
    if s.workers and s.data_path == "resident":
        sentence = "workers: data_path resident fetches nothing; set workers to 0, or data_path to loader"
        found.append((("workers", "data_path"), sentence))
    if s.cuda_graph == "on" and s.grad_accum_steps > 1:
        sentence = "cuda_graph: a graph is one whole step; set grad_accum_steps to 1, or cuda_graph to auto"
        found.append((("cuda_graph", "grad_accum_steps"), sentence))
    if s.loss_arg and not is_place(s.loss):
        found.append((("loss_arg", "loss"), f"loss_arg: {s.loss} takes no arguments; leave it empty"))
    if s.pretrained and s.model not in ZOO:
        found.append((("pretrained", "model"), f"pretrained: there are no such weights for {clean(s.model, 60)}"))
    if s.after is not None and s.after == s.name:
        found.append((("after", "name"), "after: a run cannot wait for itself; name another run"))
    return found


_OF_DATA = ("dataset", "dataset_arg", "target", "data_dir", "task", "loss", "loss_arg")

_LOOP = {n: f.default for n, f in FIELDS.items() if group_of(n) != "run" and n not in _OF_DATA}
_LOOP["val_interval"] = 1

PRESETS: dict[str, dict[str, Any]] = {
    "tutorial": _LOOP
    | {"task": "auto", "loss": "cross_entropy", "loss_arg": ""}
    | {"optimizer": "sgd", "lr": 1e-3, "valid_fraction": 0.0, "log_interval": 100},
    "quick": _LOOP
    | {"model": "cnn", "optimizer": "adamw", "lr": 4e-3, "epochs": 4, "batch_size": 128, "scheduler": "onecycle"},
}
"""Plain settings under a name. `tutorial` is the tutorial's script to the letter; `quick` scores well fast."""
