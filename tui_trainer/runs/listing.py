"""The runs in a folder, each as a summary of the head and the tail of its journal."""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from tui_trainer.errors import SettingsError
from tui_trainer.run import scores
from tui_trainer.run.events import ACCURACY, BatchTrained, CheckpointSaved, Evaluated, RunEnded, RunStarted, Score
from tui_trainer.run.folder import RunFolder
from tui_trainer.run.state import ENDINGS, RunState
from tui_trainer.runs.journal_tail import Found, JournalTail, newest
from tui_trainer.settings.places import short
from tui_trainer.settings.sources import read_toml
from tui_trainer.text import clean

LIVE = ("preparing", "training", "validating", "testing", "paused", "stopping")
"""The states of a run that a process holds."""
STATES = (*LIVE, *ENDINGS, "lost", "unreadable")
SAMPLES = 24
"""Losses in a summary, for a curve of as many columns."""
BEST_LIES_WITHIN = 1 << 20
"""Bytes before the line of a best checkpoint in which the line of its validation is searched."""


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
class _Cached:
    """The summary of a journal of this size and time."""

    size: int
    changed: int
    """Time of the last change, nanoseconds."""
    read_to: int
    """The byte behind the last whole line."""
    summary: Summary


_cache: dict[Path, _Cached] = {}
"""By the run's folder."""


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
    for gone in {path for path in _cache if path.parent == parent} - set(paths):
        del _cache[gone]
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
    cached = _cache.get(path)
    unchanged = cached and (cached.size, cached.changed) == (facts.st_size, facts.st_mtime_ns)
    if cached and unchanged and (cached.summary.has_ended or cached.summary.is_live == folder.is_held()):
        return cached.summary
    try:
        held = folder.is_held()  # asked before reading: what is written until it lets go is then seen
        with JournalTail(folder.journal) as journal:
            summary = _summary(folder, journal, held, cached if cached and cached.size <= journal.size else None)
    except OSError as error:
        return _unreadable(folder, _reason(error))
    _cache[path] = _Cached(journal.size, facts.st_mtime_ns, journal.end, summary)
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


def _summary(folder: RunFolder, journal: JournalTail, held: bool, cached: _Cached | None) -> Summary:
    """The summary of a journal. `cached` is that of its beginning, when it has grown since then."""
    tail = journal.tail
    ended, started = newest(tail, RunEnded), newest(tail, RunStarted)
    if ended and started and started.begin > ended.begin:
        ended = None  # it was carried on
    begun = started.event if started else journal.first(RunStarted)
    settings = begun.settings if started and begun else _manifest(folder) or (begun.settings if begun else {})
    first, last = journal.first_of_all(), journal.last_of_all()
    if held and not isinstance(last, RunEnded):
        ended = None
    batch = newest(tail, BatchTrained) or journal.newest(BatchTrained)
    state = _state(journal, held) if ended is None else ended.event.reason
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
        epoch=batch.event.epoch if batch else 0,
        epochs=int(_number(settings.get("epochs")) or 0),
        step=batch.event.step if batch else 0,
        seconds=batch.event.elapsed if batch else 0.0,
        parameters=begun.parameters if begun else 0,
        device=clean(begun.device, 60) if begun else "",
        losses=tuple(journal.losses(SAMPLES)),
        settings=settings,
    )
    if ended is None:
        best = _best(journal, cached)
        return replace(summary, best_loss=best.loss, best_epoch=best.epoch, **_scores("best", best.scores))
    end = ended.event
    tested = newest(tail, Evaluated, lambda e: e.split == "test", holding="test")
    if tested and started and tested.begin < started.begin:
        tested = None  # before it was carried on
    return replace(
        summary,
        why=clean((end.error or "").split("\n")[0], 300),
        best_loss=_number(end.best_loss),
        best_epoch=end.best_epoch,
        seconds=end.seconds,
        **_scores("best", scores.best(end)),
        **_scores("test", scores.measured(tested.event) if tested else {}),
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


def _state(journal: JournalTail, held: bool) -> str:
    """What a run that has not ended is doing: the last events, folded."""
    if not held:
        return "lost"
    state = RunState()
    for event in journal.tail_events():
        state.apply(event)
        if isinstance(event, RunEnded):
            state = RunState()  # it was carried on, and has not begun yet
    return state.status


class _Best(NamedTuple):
    """The best epoch so far; all empty before there is one."""

    loss: float | None = None
    scores: Mapping[str, float] = {}
    epoch: int | None = None


def _best(journal: JournalTail, cached: _Cached | None) -> _Best:
    """The best epoch of a run that has not ended; only what was appended after `cached` is searched.

    The newest of these has the last word: a best checkpoint, a `RunStarted` that carries the run on (and may go back
    behind a best epoch), what was known before.
    """
    since = cached.read_to if cached else 0
    begun = journal.newest(RunStarted, since=since)
    saved = journal.newest(
        CheckpointSaved, lambda e: e.kind == "best", holding="best", since=begun.begin if begun else since
    )
    if saved is not None:
        seen = _validation_of(journal, saved)
        return seen or _Best(epoch=saved.event.epoch)
    if begun is not None:
        return _Best(_number(begun.event.best_loss), scores.best(begun.event), begun.event.best_epoch)
    if cached is not None:
        before = cached.summary
        measured = scores.finite({"accuracy": before.best_accuracy, **before.best_scores})
        return _Best(before.best_loss, measured, before.best_epoch)
    return _Best()


def _validation_of(journal: JournalTail, saved: Found[CheckpointSaved]) -> _Best | None:
    """The validation at the step of a best checkpoint: it is told shortly before that is saved."""
    step = saved.event.step
    for piece in journal.backwards(max(0, saved.begin - BEST_LIES_WITHIN)):
        seen = newest(piece.data, Evaluated, lambda e: e.split == "valid" and e.step == step, holding="valid")
        if seen is not None:
            return _Best(_number(seen.event.loss), scores.measured(seen.event), seen.event.epoch)
    return None
