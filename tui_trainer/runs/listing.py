"""The runs in a folder, each by a summary that a look at both ends of its journal gives."""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tui_trainer.errors import SettingsError
from tui_trainer.run import scores
from tui_trainer.run.events import ACCURACY, BatchTrained, CheckpointSaved, Evaluated, RunEnded, RunStarted, Score
from tui_trainer.run.folder import RunFolder
from tui_trainer.run.state import ENDINGS, RunState
from tui_trainer.runs.journal_tail import Glance, newest, whole
from tui_trainer.settings.schema import short
from tui_trainer.settings.sources import read_toml
from tui_trainer.text import clean

LIVE = ("preparing", "training", "validating", "testing", "paused", "stopping")
"""The states of a run that a process holds."""
STATES = (*LIVE, *ENDINGS, "lost", "unreadable")
SAMPLES = 24
"""Losses in a summary, for a curve of as many columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A run as a line of a list. Its words are made harmless; `path` and `settings` are as they were found."""

    path: Path
    name: str
    state: str
    """One of `STATES`, or the ending that a newer program wrote."""
    why: str = ""
    """Why it failed, or cannot be read: one line."""
    started: float = 0.0
    """Unix time of its first event, of the folder when there is none."""
    last: float = 0.0
    """Unix time of its newest event."""
    model: str = ""
    dataset: str = ""
    optimizer: str = ""
    task: str = "classification"
    """What is to be predicted."""
    scores: tuple[Score, ...] = (ACCURACY,)
    """What is measured beside the loss; the first is the result of the run."""
    lr: float | None = None
    """As set; a scheduler may be elsewhere by now."""
    epoch: int = 0
    epochs: int = 0
    """Of how many."""
    step: int = 0
    best_loss: float | None = None
    """Validation loss of the best epoch."""
    best_accuracy: float | None = None
    """Validation accuracy of the best epoch, a fraction."""
    best_scores: dict[str, float] = field(default_factory=dict)
    """What else was measured then, by name."""
    best_epoch: int | None = None
    test_accuracy: float | None = None
    """A fraction; None before the test, and where there is none."""
    test_scores: dict[str, float] = field(default_factory=dict)
    """What else was measured then, by name."""
    seconds: float = 0.0
    """How long it trained, pauses included."""
    parameters: int = 0
    device: str = ""
    losses: tuple[float, ...] = ()
    """`SAMPLES` training losses at most, evenly spread over the journal."""
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.path)

    @property
    def is_live(self) -> bool:
        """True while a process holds it."""
        return self.state in LIVE

    @property
    def main(self) -> Score:
        """The score that is shown as the result of the run."""
        return self.scores[0]

    def best(self, name: str) -> float | None:
        """A score of the best validation, or its loss, by name; None when it was not measured."""
        if name == "loss":
            return self.best_loss
        return self.best_accuracy if name == "accuracy" else self.best_scores.get(name)

    def tested(self, name: str) -> float | None:
        """A score on the test examples by name; None when it was not measured."""
        return self.test_accuracy if name == "accuracy" else self.test_scores.get(name)

    @property
    def result(self) -> float | None:
        """The main score of the best validation."""
        return self.best(self.main.name)

    @property
    def headline(self) -> str:
        """The result as text: `87.9 %`, `MAE 0.3120`, `-` before there is one."""
        return "-" if self.result is None else scores.headline(self.result, self.main)

    @property
    def has_ended(self) -> bool:
        """True when its journal says how."""
        return not self.is_live and self.state not in ("lost", "unreadable")


@dataclass(frozen=True, slots=True)
class _Known:
    """What was found in a journal of this size and time."""

    size: int
    changed: int
    """Time of the last change, nanoseconds."""
    seen: int
    """The byte behind the last whole line."""
    summary: Summary


_known: dict[Path, _Known] = {}


def list_runs(output_dir: str) -> list[Summary]:
    """The runs in a folder, the newest first; none when there is no such folder.

    A journal that has not changed since the last call is not opened again.
    """
    parent = Path(os.path.expanduser(output_dir))
    try:
        with os.scandir(parent) as entries:
            paths = [Path(entry.path) for entry in entries if _is_folder(entry)]
    except OSError:
        paths = []
    found = [summary for path in paths if (summary := summarise(path)) is not None]
    for gone in {path for path in _known if path.parent == parent} - set(paths):
        del _known[gone]
    return sorted(found, key=lambda run: (run.started, run.name), reverse=True)


def holds_runs(output_dir: str) -> bool:
    """True when there is a run in a folder."""
    try:
        with os.scandir(os.path.expanduser(output_dir)) as entries:
            return any(os.path.isfile(os.path.join(entry.path, "events.jsonl")) for entry in entries)
    except OSError:
        return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def summarise(path: Path) -> Summary | None:
    """The run in a folder, whatever is wrong with it; None when the folder is no run's."""
    folder = RunFolder(path)
    try:
        facts = os.stat(folder.journal)
    except OSError as error:
        if isinstance(error, (FileNotFoundError, NotADirectoryError)) and not os.path.lexists(folder.manifest):
            return None
        missing = isinstance(error, FileNotFoundError)
        return _unreadable(folder, "it has no journal" if missing else _reason(error))
    known = _known.get(path)
    same = known and (known.size, known.changed) == (facts.st_size, facts.st_mtime_ns)
    if known and same and (known.summary.has_ended or known.summary.is_live == folder.is_held()):
        return known.summary
    try:
        held = folder.is_held()  # asked before reading: what is written until it lets go is then seen
        with Glance(folder.journal) as journal:
            summary = _look(folder, journal, held, known if known and known.size <= journal.size else None)
    except OSError as error:
        return _unreadable(folder, _reason(error))
    _known[path] = _Known(journal.size, facts.st_mtime_ns, journal.end, summary)
    return summary


def _reason(error: OSError) -> str:
    return clean(error.strerror or error)


def _unreadable(folder: RunFolder, why: str) -> Summary:
    made = _made(folder)
    name = clean(folder.path.name)
    return Summary(path=folder.path, name=name, state="unreadable", why=why, started=made, last=made)


def _made(folder: RunFolder) -> float:
    """Unix time of the folder's last change."""
    with contextlib.suppress(OSError):
        return os.stat(folder.path).st_mtime
    return 0.0


def _look(folder: RunFolder, journal: Glance, held: bool, known: _Known | None) -> Summary:
    """The summary of a journal, from `known` on when that is of its beginning."""
    tail = journal.tail
    ended, started = newest(tail, RunEnded), newest(tail, RunStarted)
    if ended and started and started[1] > ended[1]:
        ended = None  # it was carried on
    begun = started[0] if started else journal.first(RunStarted)
    settings = begun.settings if started and begun else _manifest(folder) or (begun.settings if begun else {})
    first, last = journal.first_of_all(), journal.last_of_all()
    if held and not isinstance(last, RunEnded):
        ended = None
    batch = newest(tail, BatchTrained) or journal.newest(BatchTrained)
    state = _state(journal, held) if ended is None else ended[0].reason
    summary = Summary(
        path=folder.path,
        name=clean(folder.path.name),
        state=clean(state, 20),
        started=first.at if first and 0 < first.at < 1e11 else _made(folder),
        last=last.at if last and 0 < last.at < 1e11 else os.fstat(journal.fd).st_mtime,
        model=clean(short(str(settings.get("model", ""))), 60),
        dataset=clean(short(str(settings.get("dataset", ""))), 60),
        optimizer=clean(settings.get("optimizer", ""), 60),
        task=clean(begun.task, 30) if begun else "classification",
        scores=scores.of(begun) if begun else (ACCURACY,),
        lr=_number(settings.get("lr")),
        epoch=batch[0].epoch if batch else 0,
        epochs=int(_number(settings.get("epochs")) or 0),
        step=batch[0].step if batch else 0,
        seconds=batch[0].elapsed if batch else 0.0,
        parameters=begun.parameters if begun else 0,
        device=clean(begun.device, 60) if begun else "",
        losses=tuple(journal.losses(SAMPLES)),
        settings=settings,
    )
    if ended is None:
        loss, best, epoch = _best(journal, known)
        return replace(summary, best_loss=loss, best_epoch=epoch, **_scores("best", best))
    end = ended[0]
    tested = newest(tail, Evaluated, lambda e: e.split == "test", word="test")
    if tested and started and tested[1] < started[1]:
        tested = None  # before it was carried on
    return replace(
        summary,
        why=clean((end.error or "").split("\n")[0], 300),
        best_loss=_number(end.best_loss),
        best_epoch=end.best_epoch,
        seconds=end.seconds,
        **_scores("best", scores.best(end)),
        **_scores("test", scores.measured(tested[0]) if tested else {}),
    )


def _scores(of: str, found: Mapping[str, float]) -> dict[str, Any]:
    """The scores of the best epoch or of the test as fields of a summary."""
    rest = {clean(name, 40): value for name, value in found.items() if name != "accuracy"}
    return {f"{of}_accuracy": found.get("accuracy"), f"{of}_scores": rest}


def _manifest(folder: RunFolder) -> dict[str, Any]:
    """The settings in run.toml, nothing when they cannot be read."""
    try:
        return dict(read_toml(folder.manifest).values)
    except SettingsError:
        return {}


def _number(value: object) -> float | None:
    """A finite number, or None for anything else that a journal may hold in its place."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf"):
        return float(value)
    return None


def _state(journal: Glance, held: bool) -> str:
    """What a run that has not ended is doing: the last events, folded."""
    if not held:
        return "lost"
    state = RunState()
    for event in filter(None, map(whole, journal.lines_at_the_end())):
        state.apply(event)
        if isinstance(event, RunEnded):
            state = RunState()  # it was carried on, and has not begun yet
    return state.status


def _best(journal: Glance, known: _Known | None) -> tuple[float | None, Mapping[str, float], int | None]:
    """Loss, scores and epoch of the newest best checkpoint; only what came after `known` is searched."""
    since = known.seen if known else 0
    begun = journal.newest(RunStarted, since=since)
    best = journal.newest(CheckpointSaved, lambda e: e.kind == "best", word="best", since=begun[1] if begun else since)
    if best is not None:
        step = best[0].step
        for _, data in journal.backwards(max(0, best[1] - (1 << 20))):
            if seen := newest(data, Evaluated, lambda e: e.split == "valid" and e.step == step, word="valid"):
                return _number(seen[0].loss), scores.measured(seen[0]), seen[0].epoch
        return None, {}, best[0].epoch
    if begun is not None:
        return _number(begun[0].best_loss), scores.best(begun[0]), begun[0].best_epoch
    if known is not None:
        before = known.summary
        return (
            before.best_loss,
            scores.finite({"accuracy": before.best_accuracy, **before.best_scores}),
            before.best_epoch,
        )
    return None, {}, None
