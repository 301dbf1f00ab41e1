"""A run's checkpoints: best.pt, epoch-N.pt and last.pt, and what is done when the disk refuses one."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tui_trainer.run.commands import Inbox, Stop
from tui_trainer.run.events import CheckpointSaved, Evaluated, Event, Warned
from tui_trainer.settings.schema import Settings
from tui_trainer.text import clean
from tui_trainer.training.saving import checkpoint, safe_load
from tui_trainer.training.saving.monitor import Monitor
from tui_trainer.training.saving.safe_load import Checkpoint
from tui_trainer.training.saving.state import Progress
from tui_trainer.training.saving.writer import Save, Writer


@dataclass(slots=True)
class SaveRecord:
    """What has become of a run's saves; a parked run keeps it."""

    saved: bool = False
    """A checkpoint of this run is on the disk."""
    failed: int = 0
    """Saves in a row that the disk has refused."""
    why_not: str = ""
    """The reason of the newest of those, as a phrase."""
    best: bytes | None = None
    """best.pt of a run without a folder."""
    last: bytes | None = None
    """last.pt of a run without a folder."""
    folder_made_again: bool = False


class Saver:
    """Has checkpoints written in the background. A disk that refuses one costs a warning, not the run."""

    def __init__(
        self, settings: Settings, folder: Path | None, monitor: Monitor, inbox: Inbox, warnings: list[str]
    ) -> None:
        """Checkpoints go to `folder`; without one they are kept in memory. `warnings` are those still to be told."""
        self.record = SaveRecord()
        self.writer = Writer()
        self._settings, self._folder, self._monitor, self._inbox = settings, folder, monitor, inbox
        self._warnings = warnings
        self._saved_at = time.monotonic()

    @property
    def run_name(self) -> str:
        """What `tui-trainer resume` finds this run by."""
        return clean(self._folder.parent.name) if self._folder else "RUN"

    def is_due(self) -> bool:
        """True when the last save is longer ago than the settings want."""
        interval = self._settings.save_interval
        return bool(interval) and time.monotonic() - self._saved_at >= interval

    def rank(self, progress: Progress, result: Evaluated | None) -> tuple[bool, int | None]:
        """Whether this epoch is among the `save_top_k` best, and the epoch whose file it pushes out."""
        s, value = self._settings, math.nan if result is None else self._monitor.value(result)
        if s.save_top_k == 1 or not math.isfinite(value):
            return False, None
        sign = -1 if self._monitor.wants_more else 1
        progress.top = sorted([*progress.top, (sign * value, progress.epoch)])
        out = progress.top.pop()[1] if len(progress.top) > s.save_top_k else None
        if out is not None and s.save_every and out % s.save_every == 0:
            return out != progress.epoch, None
        return out != progress.epoch, out if out != progress.epoch else None

    def after_epoch(
        self, packed: bytes, progress: Progress, *, is_best: bool, ranked: tuple[bool, int | None]
    ) -> Iterator[Save]:
        """best.pt when it is, this epoch's own file when it is wanted, and last.pt. All hold the same bytes.

        last.pt comes last: a run that is carried on from it finds every file that it knows of.
        """
        kept, dropped = ranked
        if is_best:
            if self._folder is None:
                self.record.best = packed
            yield from self._save(packed, progress, "best.pt", "best")
        if kept or (self._settings.save_every and progress.epoch % self._settings.save_every == 0):
            yield from self._save(packed, progress, f"epoch-{progress.epoch}.pt", "epoch", dropped=dropped)
        yield from self._save(packed, progress, "last.pt", "last")

    def now(self, packed: bytes, progress: Progress) -> Iterator[Save]:
        """last.pt, in the middle of an epoch too."""
        yield from self._save(packed, progress, "last.pt", "last")

    def _save(
        self, packed: bytes, progress: Progress, name: str, kind: str, dropped: int | None = None
    ) -> Iterator[Save]:
        """Have one checkpoint written."""
        self._saved_at = time.monotonic()
        record = self.record
        if self._folder is None:
            record.last = packed
            return
        path, epoch, step = self._folder / name, progress.epoch, progress.step
        gone = self._folder / f"epoch-{dropped}.pt" if dropped else None

        def write() -> CheckpointSaved:
            removed = f"{gone.parent.name}/{gone.name}" if gone else None
            self._make_folder_again()
            event = checkpoint.save(packed, path, kind=kind, epoch=epoch, step=step, replaces=removed)
            record.saved, record.failed = True, 0
            if gone:  # not before its successor is on the disk
                gone.unlink(missing_ok=True)
            return event

        def failed(error: OSError) -> Event:
            record.failed += 1
            record.why_not = checkpoint.why_not(error, len(packed), path.parent)
            if isinstance(self._inbox.stop, Stop):
                raise checkpoint.refused(name, record.why_not, self.run_name) from error
            text = f"{name} was not saved ({record.why_not}); training goes on, and the next save tries again"
            return Warned(text=text, answers="SaveCheckpoint")

        yield self.writer.begin(write, failed)

    def _make_folder_again(self) -> None:
        """Once, when somebody has deleted it: what is saved from here on is better than nothing."""
        if self._folder is not None and not self._folder.exists() and not self.record.folder_made_again:
            self.record.folder_made_again = True
            self._folder.mkdir(mode=0o700, parents=True)
            self._warnings.append("the run folder was deleted; it is made again, with what is saved from here on")

    def newest(self) -> tuple[Checkpoint, str]:
        """What was saved last, and its name in messages.

        Raises:
            CheckpointError: there is none, or it is damaged.
        """
        if self._folder is not None:
            saved, shown, _ = checkpoint.newest(self._folder, set_aside=True)
            return saved, shown
        shown = "the last checkpoint"
        return safe_load.unpack(self.record.last or b"", shown), shown

    def best(self) -> Checkpoint | None:
        """The checkpoint of the best epoch; None when there never was one. All saves must be on the disk.

        Raises:
            CheckpointError: it is damaged.
        """
        if self._folder is not None and (path := self._folder / "best.pt").exists():
            return safe_load.load(path)
        return None if self.record.best is None else safe_load.unpack(self.record.best, "the best checkpoint")

    def close(self) -> None:
        """After the last save."""
        self.writer.close()
