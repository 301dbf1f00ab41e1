"""Every file call of a save is made to fail in turn: what was saved stays whole, and nothing is said that is not so."""

import errno
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.faults.scale import many
from tests.training.plain_loop import only
from tui_trainer import disk
from tui_trainer.disk import Disk, remove_left_over, write_whole
from tui_trainer.errors import FolderError
from tui_trainer.run import commands
from tui_trainer.run.commands import Command, Inbox
from tui_trainer.run.events import CheckpointSaved, Evaluated, Event, RunPaused, Warned
from tui_trainer.settings.schema import Settings
from tui_trainer.training.loop import fit
from tui_trainer.training.saving import safe_load
from tui_trainer.training.saving.checkpoint import pack

CALLS = ("create", "write", "sync", "close", "link", "replace", "unlink", "open_folder")
FAULTS = {
    "the disk is full": errno.ENOSPC,
    "the quota is used up": errno.EDQUOT,
    "the disk is broken": errno.EIO,
    "the disk is read-only": errno.EROFS,
    "the network disk is stale": errno.ESTALE,
    "it is not allowed": errno.EACCES,
    "the folder is gone": errno.ENOENT,
    "half of it is written, then the disk is full": -errno.ENOSPC,
}


class Failing(Disk):
    """A disk that fails at call number `nth`, or from there on."""

    def __init__(self, nth: int, fault: int, *, for_ever: bool = False) -> None:
        self.nth, self.fault, self.for_ever = nth, abs(fault), for_ever
        self.half = fault < 0
        self.calls: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        call = object.__getattribute__(self, name)
        if name not in CALLS:
            return call

        def made(*words: Any) -> Any:
            self.calls.append(name)
            number = len(self.calls)
            if number == self.nth or (self.for_ever and number > self.nth):
                if name == "write" and self.half:
                    half: bytes = bytes(words[1])[: len(words[1]) // 2]
                    call(words[0], half)
                if name == "close":
                    call(*words)  # a descriptor is gone even when closing it fails
                raise OSError(self.fault, os.strerror(self.fault))
            return call(*words)

        return made


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a disk in place of this machine's."""
    return lambda other: monkeypatch.setattr(disk, "DISK", other)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- one save ------------------------------------------------------------------------------------------------------


def saves(folder: Path) -> Iterator[bytes]:
    """Three saves, as a run makes them; what was acknowledged."""
    for content in (b"oldest", b"old", b"new"):
        write_whole(content, folder / "last.pt", keep="prev.pt")
        yield content


def calls_of_a_save(tmp_path: Path, put: Any) -> list[str]:
    put(counting := Failing(0, errno.EIO))
    folder = tmp_path / "counted"
    folder.mkdir()
    list(saves(folder))
    return counting.calls


def test_a_save_syncs_the_file_before_it_is_seen_and_the_folder_after(tmp_path: Path, put: Any) -> None:
    first = ["create", "write", "sync", "close", "replace", "unlink", "open_folder", "sync", "close"]
    later = ["create", "write", "sync", "close", "link", "replace", "replace", "unlink", "open_folder", "sync", "close"]
    assert calls_of_a_save(tmp_path, put) == [*first, *later, *later]


@pytest.mark.parametrize("fault", FAULTS)
def test_whichever_call_of_a_save_fails_the_files_are_whole_and_no_older_than_told(
    fault: str, tmp_path: Path, put: Any
) -> None:
    for nth in range(1, len(calls_of_a_save(tmp_path, put)) + 1):
        folder = tmp_path / str(nth)
        folder.mkdir()
        put(failing := Failing(nth, FAULTS[fault]))
        order = [b"", b"oldest", b"old", b"new"]
        told = b""
        try:
            for told in saves(folder):
                assert (folder / "last.pt").read_bytes() == told
        except OSError as error:
            assert error.errno == abs(FAULTS[fault])
        found = (folder / "last.pt").read_bytes() if (folder / "last.pt").exists() else b""
        assert found in order[order.index(told) :], failing.calls
        if (folder / "prev.pt").exists():
            assert (folder / "prev.pt").read_bytes() in order[1:]
        put(Disk())
        remove_left_over(folder)
        assert set(names(folder)) <= {"last.pt", "prev.pt"}
        write_whole(b"newest", folder / "last.pt", keep="prev.pt")
        assert (folder / "last.pt").read_bytes() == b"newest"


def test_last_is_kept_as_prev_where_a_disk_has_no_second_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_args: object, **_kwargs: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")  # what exFAT and many network disks answer

    monkeypatch.setattr(os, "link", link)
    list(saves(tmp_path))
    assert ((tmp_path / "last.pt").read_bytes(), (tmp_path / "prev.pt").read_bytes()) == (b"new", b"old")


def test_a_reader_only_ever_sees_whole_files(tmp_path: Path) -> None:
    contents = [bytes([number]) * 500_000 for number in range(60)]
    write_whole(contents[0], tmp_path / "last.pt")

    def save() -> None:
        for content in contents:
            write_whole(content, tmp_path / "last.pt", keep="prev.pt")

    saving, seen = threading.Thread(target=save), []
    saving.start()
    while saving.is_alive():
        seen.append((tmp_path / "last.pt").read_bytes())
    assert all(found in contents for found in seen) and len(set(seen)) > 2


# --- a whole run ---------------------------------------------------------------------------------------------------


@pytest.fixture
def brief(tiny: Settings) -> Settings:
    return tiny.model_copy(
        update={"limit_train_batches": 2, "batch_size": 8, "valid_fraction": 0.02, "save_interval": 0}
    )


def calls_of_a_run(brief: Settings, folder: Path, put: Any) -> int:
    put(counting := Failing(0, errno.EIO))
    list(fit(brief, Inbox(), folder))
    return len(counting.calls)


def test_whichever_call_of_a_run_fails_it_finishes_and_what_it_says_is_saved_is(
    brief: Settings, tmp_path: Path, put: Any
) -> None:
    (tmp_path / "counted").mkdir()
    faults = list(FAULTS.values())
    for nth in range(1, calls_of_a_run(brief, tmp_path / "counted", put) + 1):
        for fault in faults if many(0, 1) else [faults[nth % len(faults)]]:
            folder = tmp_path / f"{nth} {fault}"
            folder.mkdir()
            put(Failing(nth, fault))
            for event in fit(brief, Inbox(), folder):
                if isinstance(event, CheckpointSaved):
                    assert safe_load.load(folder / Path(event.path).name)["step"] >= event.step
            assert event.reason == "finished"
            for path in folder.glob("*.pt"):
                safe_load.load(path)


def test_a_disk_that_stays_full_ends_a_run_that_nobody_watches(brief: Settings, tmp_path: Path, put: Any) -> None:
    put(Failing(0, errno.ENOSPC, for_ever=True))
    events: list[Event] = []
    with pytest.raises(FolderError, match=r"\d saves in a row failed: the disk is full: .* needed, .* free") as fault:
        events.extend(fit(brief, Inbox(), tmp_path))
    assert fault.value.exit_code == 6 and "tui-trainer resume" in str(fault.value)


def test_a_disk_that_stays_full_pauses_a_run_that_is_watched_until_there_is_room(
    brief: Settings, tmp_path: Path, put: Any
) -> None:
    class Watched(Inbox):
        def wait(self) -> Command:
            put(Disk())  # somebody made room
            return commands.Continue()

    inbox = Watched()
    inbox.watched_here = True
    put(Failing(0, errno.ENOSPC, for_ever=True))
    events = list(fit(brief, inbox, tmp_path))
    (pause,) = only(RunPaused, events)
    assert pause.why == "disk" and "the disk is full" in pause.text
    assert len(only(Warned, events)) >= 3 and events[-1].reason == "finished"
    assert safe_load.load(tmp_path / "last.pt")["step"] == events[-2].step


# --- killed while it saves -----------------------------------------------------------------------------------------


def packed(step: int) -> bytes:
    return pack({"model_state_dict": {"weight": torch.full((50_000,), float(step))}, "step": step})


def test_a_process_killed_while_it_saves_leaves_whole_files_that_are_no_older_than_told(tmp_path: Path) -> None:
    contents = [packed(step) for step in range(40)]
    kills = many(50, 1000)
    told_of = 0
    for kill in range(kills):
        folder = tmp_path / str(kill)
        folder.mkdir()
        reads, writes = os.pipe()
        child = os.fork()
        if child == 0:  # file calls only: torch must not be used in a forked process
            try:
                for step in range(1, 40):
                    write_whole(contents[step], folder / "best.pt")
                    write_whole(contents[step], folder / "last.pt", keep="prev.pt")
                    os.write(writes, bytes([step]))
            finally:
                os._exit(0)
        os.close(writes)
        time.sleep(0.002 + 0.05 * (kill * 0.618034 % 1))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        told = max(os.read(reads, 100), default=0)
        os.close(reads)
        told_of += told > 0
        found = {}
        for path in folder.glob("[!.]*"):
            saved = safe_load.load(path)
            assert bool((saved["model_state_dict"]["weight"] == saved["step"]).all())
            found[path.name] = saved["step"]
        if told:
            assert found["last.pt"] >= told and found["best.pt"] >= told
        remove_left_over(folder)
        assert set(names(folder)) <= {"last.pt", "prev.pt", "best.pt"}
        shutil.rmtree(folder)
    assert told_of > kills / 10, "most were killed before their first save"


def test_the_test_is_not_made_with_older_weights_than_it_says(
    brief: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The better of two epochs is not saved as best.pt; the file of the one before is still there."""
    real = disk.write_whole
    wrote: list[str] = []

    def refuse_second_best(content: bytes, path: Path, **more: Any) -> None:
        wrote.append(path.name)
        if path.name == "best.pt" and wrote.count("best.pt") == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(content, path, **more)

    monkeypatch.setattr(disk, "write_whole", refuse_second_best)
    events = list(fit(brief.model_copy(update={"epochs": 2, "monitor": "valid_loss"}), Inbox(), tmp_path))
    assert wrote.count("best.pt") == 2, "both epochs were the best so far"
    assert any("the test is left out" in event.text for event in only(Warned, events))
    assert [event.split for event in only(Evaluated, events)] == ["valid", "valid"]
