"""Carrying a run on: what is in its folder, which settings may change on the way, and what that will mean."""

from dataclasses import dataclass, field
from typing import Any

from tui_trainer.errors import CheckpointError, FolderError, LockedError, SettingsError
from tui_trainer.own.admitted import Admitted, admit_again
from tui_trainer.run import scores
from tui_trainer.run.events import RunStarted
from tui_trainer.run.folder import RunFolder
from tui_trainer.run.journal import read
from tui_trainer.run.state import RunState
from tui_trainer.settings.schedule import lr_factor
from tui_trainer.settings.schema import FIELDS, Settings, flag, why_fixed
from tui_trainer.settings.sources import Source, read_environment, read_toml, resolve
from tui_trainer.settings.writing import as_text
from tui_trainer.text import clean, number


@dataclass(frozen=True, slots=True)
class Resume:
    """How a run is carried on."""

    allow_data_change: bool = False
    """Though the examples are not those it has learned from."""
    allow_code_change: bool = False
    """Though the user's own code is other than it was."""
    trusted: tuple[str, ...] = ()
    """Beginnings of SHA-256 of code that may run."""
    looks_only: bool = False
    """Nothing on the disk may change."""
    packed: bytes | None = None
    """The checkpoint of a run that was parked; None takes the newest one in the run's folder."""


@dataclass(frozen=True)
class Carried:
    """A run to be carried on: its folder, its settings from here on, and what has happened so far."""

    folder: RunFolder
    settings: Settings
    changed: tuple[str, ...]
    """The settings that the user wants otherwise."""
    state: RunState = field(default_factory=RunState)
    how: Resume = field(default_factory=Resume)
    code: Admitted = field(default_factory=Admitted)
    """The user's own code, which may run."""

    @property
    def nothing_to_do(self) -> str:
        """Why there is nothing to carry on, with what would change that; empty when there is."""
        s, state = self.settings, self.state
        ended, name = state.ended, clean(self.folder.path.name)
        if ended is None or ended.reason not in ("finished", "out_of_patience"):
            return ""
        epoch = state.epoch
        if ended.reason == "out_of_patience":
            if self.changed:
                return ""
            return (
                f"{name} ended at epoch {epoch} after {s.patience} validations without improvement. "
                f"To go on, change something: --epochs {max(s.epochs, epoch + 5)}, --patience {2 * s.patience} "
                "or another --lr."
            )
        if s.max_steps and state.step >= s.max_steps:
            return f"{name} finished at step {state.step:,}. To go on, give --max-steps {2 * state.step}."
        if s.max_time and state.elapsed >= s.max_time:
            return f"{name} finished after {state.elapsed:.0f} s. To go on, give a longer --max-time."
        if s.epochs <= epoch and state.batch == state.batches:
            return f"{name} finished at epoch {epoch}. To go on, give more epochs: --epochs {2 * epoch}."
        return ""


def carry(folder: RunFolder, typed: dict[str, Any], how: Resume) -> Carried:
    """The run in `folder` as it will be carried on with the settings that were typed.

    Raises:
        LockedError: a process trains there.
        CheckpointError: there is no checkpoint to carry on from.
        SettingsError: wrong values, and settings that cannot change any more, with the reason for each.
        FolderError: the run's own settings cannot be read.
        ModelError: the user's own code is gone, or is other than it was.
    """
    name = clean(folder.path.name)
    if folder.is_held():
        raise LockedError(f"The run {name} is held by {folder.lock.holder()}. Watch it with: tui-trainer attach {name}")
    state = state_of(folder)
    own = own_settings(folder, state)
    address = {n: v for n, v in read_environment().values.items() if n == "notify_url"}  # its password is not kept here
    resolved = resolve([own, Source("env", address, text=True), Source("flag", typed, text=True)])
    before = resolve([own]).settings
    changed = tuple(n for n in FIELDS if n != "notify_url" and getattr(before, n) != getattr(resolved.settings, n))
    problems = [
        f"{n}: cannot change when a run is carried on: {why_fixed(n)} ({as_text(getattr(before, n)) or 'none'} in the "
        f"run, {clean(as_text(getattr(resolved.settings, n)), 60) or 'none'} given as {flag(n)})"
        for n in changed
        if why_fixed(n)
    ]
    if problems:
        raise SettingsError(problems)
    code = admit_again(Admitted.find(resolved.settings), how.trusted, changed=how.allow_code_change)
    if not folder.has_checkpoint:
        again = f"tui-trainer --config {clean(folder.manifest)}"
        raise CheckpointError(f"The run {name} has saved no checkpoint to carry on from. Begin again with: {again}")
    return Carried(folder, resolved.settings, changed, state, how, code)


def state_of(folder: RunFolder) -> RunState:
    """All that has happened to the run in `folder`, folded."""
    state = RunState()
    for event in read(folder.journal):
        state.apply(event)
    return state


def own_settings(folder: RunFolder, state: RunState) -> Source:
    """The settings of the run in `folder`: those in run.toml, or those that its journal began with.

    Raises:
        FolderError: neither can be read.
    """
    try:
        source = read_toml(folder.manifest)
    except SettingsError as error:
        if not state.settings:
            raise FolderError(f"{error}\nIts journal does not hold the settings either.") from None
        source = Source("the journal", {k: v for k, v in state.settings.items() if v is not None and k in FIELDS})
    return source


def summary_lines(started: RunStarted, folder: RunFolder | None = None) -> list[str]:
    """A summary of a run that is carried on, in lines: where it goes on, what is restored, what is changed."""
    s = started.settings
    name = f"{clean(folder.path.name)}: " if folder else ""
    place, batches = f"epoch {started.epoch} of {s['epochs']}", batches_of(started)
    place = f"after {place}" if started.batch == batches else f"{place}, batch {started.batch:,} of {batches:,}"
    lines = [f"{name}carries on from {clean(started.resumed_from)}: {place} (step {started.step:,})"]
    best = ""
    if started.best_epoch is not None:
        measured = scores.sentence(started.best_loss, scores.of(started), scores.best(started))
        best = f", best so far (epoch {started.best_epoch}, {measured})"
    lines.append(
        f"restored  weights, {clean(s['optimizer'], 20)} state, random numbers, place in the epoch, patience{best}"
    )
    if started.changed:
        wide = max(len(name) for name, _, _ in started.changed)
        lines += [
            f"{'changed' if not i else '':<9} {clean(n):<{wide}}  {clean(a, 40)} → {clean(b, 40)}"
            for i, (n, a, b) in enumerate(started.changed)
        ]
    lines.append(f"kept      {len(FIELDS) - len(started.changed)} other settings")
    lines.append(f"rate      {rates_in_words(started)}")
    return lines


def rates(started: RunStarted, points: int) -> list[float]:
    """The learning rate from the next step to the last one, at so many points; plateau's drops left out."""
    settings = Settings.model_construct(**{name: info.default for name, info in FIELDS.items()} | started.settings)
    if not settings.lr > 0:
        return [0.0] * points
    per_epoch = max(1, -(-batches_of(started) // settings.grad_accum_steps))
    first = max(0, (started.epoch - 1) * batches_of(started) + started.batch) // settings.grad_accum_steps
    last = max(first + 1, settings.epochs * per_epoch - 1)
    now = lr_factor(settings, first, per_epoch)
    base = started.lr / now if started.lr and now > 0 else settings.lr
    steps = [first + (last - first) * i // max(1, points - 1) for i in range(points)]
    return [base * lr_factor(settings, step, per_epoch) for step in steps]


def rates_in_words(started: RunStarted) -> str:
    """The rest of the learning-rate curve: as bars, with its ends."""
    curve = rates(started, 24)
    low, high = min(curve), max(curve)
    if high - low <= 1e-9 * high:
        return f"{number(curve[0])} throughout"
    bars = "".join("▁▂▃▄▅▆▇█"[round(7 * (rate - low) / (high - low))] for rate in curve)
    return f"{number(curve[0])} {bars} {number(curve[-1])}"


def batches_of(started: RunStarted) -> int:
    """Batches in an epoch."""
    s = started.settings
    batches = -(-started.train_examples // max(1, int(s["batch_size"])))
    return min(batches, int(s["limit_train_batches"])) if s["limit_train_batches"] else batches
