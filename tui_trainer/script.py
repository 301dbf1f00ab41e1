"""The same run from a Python script, with the model and data that it has made: `from tui_trainer import train`."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tui_trainer.cli.local_run import local_run
from tui_trainer.cli.screens import has_terminal, need_terminal
from tui_trainer.errors import UsageError
from tui_trainer.own.admitted import FORM, admit
from tui_trainer.run import folder
from tui_trainer.run.local import LocalRun
from tui_trainer.run.resume import Carried, Resume, carry, state_of
from tui_trainer.settings.places import SCRIPT
from tui_trainer.settings.schema import FIELDS, Settings
from tui_trainer.settings.sources import Source, resolve
from tui_trainer.settings.writing import as_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What has come of a run."""

    reason: str
    """finished, out_of_patience, stopped, interrupted, diverged, failed, or lost when another process has it now."""
    exit_code: int
    """What the program would have told the shell."""
    folder: Path | None
    """The run's folder; its best weights are in `checkpoints/best.pt`."""
    error: str | None = None
    """What went wrong, for people."""
    best_epoch: int | None = None
    best_loss: float | None = None
    """Validation loss of the best epoch."""
    best_scores: dict[str, float] = field(default_factory=dict)
    """What else was measured then, by name: `accuracy`, `f1`, `mae`."""


def train(
    model: Any = None,
    data: Any = None,
    *,
    loss: Any = None,
    optimizer: Any = None,
    augment: Any = None,
    classes: Sequence[str] | None = None,
    ui: bool | None = None,
    resume: str | None = None,
    **settings: Any,
) -> Outcome:
    """Train, on the run screen or as plain lines, and say what has come of it.

    `model` is a `torch.nn.Module`; it is trained in place, and has the weights of the last step afterwards. `data` is
    a data set of items (x, y), a pair (X, y) of arrays, or two or three of them: to train, to measure on after each
    epoch, to test at the end; `classes` are the names of its classes. `loss` takes (outputs, y) and gives one number.
    `optimizer` is called with the trainable parameters and gives a `torch.optim.Optimizer`. `augment` changes a batch
    X, or (X, y). Each of them may as well be a setting's word, such as "resnet18" or "adamw".

    `ui` is whether there is a screen; None is where there is a terminal. `resume` is the run to carry on: its folder,
    its name, the beginning of its name, or "last". Other keywords are settings: `epochs=10, lr=3e-4`.

    Raises:
        TrainerError: a setting is wrong, or there is no run to carry on. What goes wrong in the run itself is in its
            `Outcome`.
    """
    given = {"model": model, "dataset": data, "loss": loss, "optimizer": optimizer, "augment": augment}
    lent = {name: value for name, value in given.items() if value is not None and not isinstance(value, str)}
    values = settings | {name: value for name, value in given.items() if isinstance(value, str)}
    values |= {name: _named(name, value) for name, value in lent.items()}
    if (rate := _rate(optimizer)) is not None:
        values.setdefault("lr", rate)
    resolved = resolve([Source("train()", {name: value for name, value in values.items() if value is not None})])
    with _lent(lent, classes):
        if resume is None:
            located, code = admit(resolved.settings, dict.fromkeys(FIELDS, FORM))
            run = local_run(located, code=code)
        else:
            carried = _carried(resume, resolved.settings)
            run = local_run(carried.settings, carried)
        exit_code = _watch(run, ui)
    return _outcome(run, exit_code)


def _named(setting: str, value: Any) -> str:
    """How settings name an object of the script."""
    kind = value if isinstance(value, type) or callable(getattr(value, "__code__", None)) else type(value)
    name = getattr(value, "__name__", getattr(kind, "__name__", setting))
    name = name if name.isidentifier() else setting
    return f"{SCRIPT}:{name}"


def _rate(optimizer: Any) -> float | None:
    """The learning rate that an optimizer has been made with; None when it is still to be made."""
    groups = getattr(optimizer, "param_groups", None)
    return float(groups[0]["lr"]) if groups else None


@contextlib.contextmanager
def _lent(objects: dict[str, Any], classes: Sequence[str] | None) -> Iterator[None]:
    """The objects under the names that settings have for them, while the run lasts."""
    from tui_trainer.own.loading import take_back
    from tui_trainer.training.data.lent import lend

    names = {setting: _named(setting, value) for setting, value in objects.items()}
    for setting, value in objects.items():
        lend(names[setting], setting, value, classes)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in names.values():
            take_back(name)


def _carried(name: str, settings: Settings) -> Carried:
    """The run to be carried on, with those settings that the script names.

    Raises:
        TrainerError: there is none, there is nothing to carry on, or a setting cannot change any more.
    """
    named = {n: as_text(getattr(settings, n)) for n in settings.model_fields_set if n != "output_dir"}
    carried = carry(folder.find(name, settings.output_dir), named, Resume())
    if carried.nothing_to_do:
        raise UsageError(carried.nothing_to_do)
    return carried


def _watch(run: LocalRun, ui: bool | None) -> int:
    """Run to the end with a face; the exit code."""
    if not (has_terminal() if ui is None else ui):
        from tui_trainer.cli import headless

        return headless.watch(run)
    need_terminal("Train in plain lines with: train(..., ui=False)")
    from tui_trainer.ui.app import TrainerApp
    from tui_trainer.ui.leaving import show

    return show(TrainerApp(resolve([]), begin=local_run, local=run))


def _outcome(run: LocalRun, exit_code: int) -> Outcome:
    """What the run's journal says in the end."""
    ended = state_of(run.folder).ended if run.folder else None
    path = run.folder.path if run.folder else None
    if ended is None:
        return Outcome(reason="lost", exit_code=exit_code, folder=path)
    scores = dict(ended.best_scores)
    if ended.best_accuracy is not None:
        scores["accuracy"] = ended.best_accuracy
    return Outcome(
        reason=ended.reason,
        exit_code=exit_code,
        folder=path,
        error=ended.error,
        best_epoch=ended.best_epoch,
        best_loss=ended.best_loss,
        best_scores=scores,
    )
