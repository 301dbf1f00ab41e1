"""A checkpoint is whole or not there, and reading one never runs what is in it."""

import contextlib
import io
import json
import os
import random
import resource
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.training.plain_loop import only, steered
from tui_trainer.errors import CheckpointError, FolderError
from tui_trainer.run import commands
from tui_trainer.run.commands import Inbox
from tui_trainer.run.events import BatchTrained, CheckpointSaved, EpochEnded, Evaluated, Event, Warned
from tui_trainer.settings.schema import Settings
from tui_trainer.training.loop import fit
from tui_trainer.training.saving import safe_load
from tui_trainer.training.saving.checkpoint import pack
from tui_trainer.training.saving.safe_load import load, unpack

SMALL = {"model_state_dict": {"weight": torch.arange(64.0)}, "epoch": 1}


def run(settings: Settings, folder: Path, **used: object) -> list[Event]:
    return list(fit(settings.model_copy(update=used), Inbox(), folder))


@pytest.fixture
def tiny(tiny: Settings) -> Settings:
    """With the tutorial's model, whose checkpoints are of 8 MB."""
    return tiny.model_copy(update={"model_arg": ""})


@pytest.fixture(autouse=True)
def a_gigabyte_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextlib.contextmanager
def full_disk(kilobytes: int = 1) -> Iterator[None]:
    """No file may grow past so many kB: what a write to a full disk does, part of it written and then an error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# --- what is in it -------------------------------------------------------------------------------------------------


def test_a_checkpoint_has_the_tutorials_keys_and_loads_as_plain_numbers(tiny: Settings, tmp_path: Path) -> None:
    events = run(tiny, tmp_path, lr=2e-3)
    saved = torch.load(tmp_path / "last.pt", weights_only=True)
    valid = [e for e in only(Evaluated, events) if e.split == "valid"]
    assert (saved["epoch"], saved["loss"]) == (2, valid[-1].loss)
    assert (saved["step"], saved["batch"], saved["updates"], saved["unimproved"]) == (16, 8, 16, 0)
    assert saved["best"] == {
        "epoch": 2,
        "step": 16,
        "loss": valid[-1].loss,
        "accuracy": valid[-1].accuracy,
        "scores": {},
    }
    assert json.loads(saved["settings"])["lr"] == 2e-3
    assert set(saved["rng"]) == {"torch", "cuda", "python", "numpy"}

    model = torch.nn.Sequential(
        torch.nn.Flatten(),
        *(torch.nn.Linear(784, 512), torch.nn.ReLU(), torch.nn.Linear(512, 512), torch.nn.ReLU()),
        torch.nn.Linear(512, 10),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1.0)
    model.load_state_dict(saved["model_state_dict"])
    optimizer.load_state_dict(saved["optimizer_state_dict"])
    assert optimizer.param_groups[0]["lr"] == 2e-3
    assert {int(state["step"]) for state in optimizer.state.values()} == {16}


def test_best_is_the_checkpoint_of_the_best_epoch(tiny: Settings, tmp_path: Path) -> None:
    events = run(tiny, tmp_path, min_delta=1e6)
    best, last = load(tmp_path / "best.pt"), load(tmp_path / "last.pt")
    assert (best["epoch"], best["loss"]) == (1, only(Evaluated, events)[0].loss)
    assert (last["epoch"], last["best"]["epoch"], last["unimproved"]) == (2, 1, 1)


def test_the_random_numbers_in_a_checkpoint_are_those_of_its_moment(tiny: Settings, tmp_path: Path) -> None:
    for event in fit(tiny, Inbox(), tmp_path):
        if isinstance(event, CheckpointSaved) and event.kind == "last":
            torch_state, python_state = torch.get_rng_state(), random.getstate()
            break
    saved = load(tmp_path / "last.pt")["rng"]
    assert torch.equal(saved["torch"], torch_state)
    version, internal, gauss = saved["python"]
    assert (version, tuple(internal), gauss) == python_state


def test_an_event_tells_name_size_and_kind_of_each_file(tiny: Settings, tmp_path: Path) -> None:
    (folder := tmp_path / "checkpoints").mkdir()
    for event in fit(tiny.model_copy(update={"save_every": 2}), Inbox(), folder):
        if isinstance(event, CheckpointSaved):
            path = tmp_path / event.path
            assert (event.bytes, path.stem.split("-")[0]) == (path.stat().st_size, event.kind)
            assert torch.load(path, weights_only=True)["step"] == event.step


# --- how it gets there ---------------------------------------------------------------------------------------------


def test_prev_is_the_last_before(tiny: Settings, tmp_path: Path) -> None:
    before = b""
    for event in fit(tiny.model_copy(update={"epochs": 3}), Inbox(), tmp_path):
        if isinstance(event, CheckpointSaved) and event.kind == "last":
            assert not before or (tmp_path / "prev.pt").read_bytes() == before
            before = (tmp_path / "last.pt").read_bytes()
    assert load(tmp_path / "prev.pt")["epoch"] == 2
    assert names(tmp_path) == ["best.pt", "last.pt", "prev.pt"]


def test_checkpoints_are_for_their_owner_alone(tiny: Settings, tmp_path: Path) -> None:
    run(tiny, tmp_path, save_every=1)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_save_that_fails_is_a_warning_and_the_next_one_tries_again(
    tiny: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    run(tiny, tmp_path, epochs=1)
    old = (tmp_path / "last.pt").read_bytes()
    real, events = getattr(os, call), []

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, refuse)
    for event in fit(tiny, Inbox(), tmp_path):
        events.append(event)
        if isinstance(event, BatchTrained) and event.epoch == 2:
            if event.batch == 1:
                assert (tmp_path / "last.pt").read_bytes() == old
                assert names(tmp_path) == ["best.pt", "last.pt"]
            monkeypatch.setattr(os, call, real)
    warnings = [warned.text for warned in only(Warned, events)]
    assert warnings == [
        f"{name}.pt was not saved (the disk is full: 8.1 MB needed, 1.0 GB free); "
        "training goes on, and the next save tries again"
        for name in ("best", "last")
    ]
    assert [(saved.kind, saved.epoch) for saved in only(CheckpointSaved, events)] == [("best", 2), ("last", 2)]
    assert events[-1].reason == "finished" and load(tmp_path / "last.pt")["epoch"] == 2


def test_a_disk_that_fills_up_in_the_middle_of_a_file_costs_no_older_one(tiny: Settings, tmp_path: Path) -> None:
    run(tiny, tmp_path, epochs=1)
    old = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with full_disk(kilobytes=1000), pytest.raises(FolderError, match="3 saves in a row failed: File too large"):
        run(tiny, tmp_path, epochs=1, valid_fraction=0.0)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == old


def test_a_checkpoint_is_not_given_up_before_its_successor_is_on_the_disk(
    tiny: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def refuse_third(source: Path, target: Path) -> None:
        if Path(target).name == "epoch-3.pt":
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse_third)
    events = run(tiny, tmp_path, epochs=3, limit_train_batches=4, save_top_k=2)
    assert [event.epoch for event in sorted(only(Evaluated, events)[:3], key=lambda e: e.loss)] == [3, 2, 1]
    assert {path.name for path in tmp_path.glob("epoch-*")} == {"epoch-1.pt", "epoch-2.pt"}


def test_a_stop_whose_checkpoint_cannot_be_saved_is_a_fault_and_says_what_is_kept(
    tiny: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tiny, tmp_path, epochs=1)
    old = (tmp_path / "last.pt").read_bytes()

    def refuse(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    full = r"last\.pt cannot be saved: the disk is full: 8\.1 MB needed, 1\.0 GB free\..* is kept"
    with pytest.raises(FolderError, match=full) as fault:
        list(steered(tiny, {3: [commands.Stop()]}, tmp_path))
    assert fault.value.exit_code == 6 and (tmp_path / "last.pt").read_bytes() == old


def test_a_folder_that_is_deleted_is_made_again_once(tiny: Settings, tmp_path: Path) -> None:
    folder, events = tmp_path / "checkpoints", []
    folder.mkdir()
    with pytest.raises(FolderError, match="No such file or directory"):
        for event in fit(tiny.model_copy(update={"epochs": 5, "valid_fraction": 0.0}), Inbox(), folder):
            events.append(event)
            if isinstance(event, EpochEnded) and event.epoch in (1, 3):
                shutil.rmtree(folder)
    warned = [event.text for event in only(Warned, events)]
    assert sum("made again" in text for text in warned) == 1
    assert {event.epoch for event in only(CheckpointSaved, events)} >= {1, 2}
    assert {event.epoch for event in only(EpochEnded, events)} >= {1, 2, 3}


# --- reading what may be no checkpoint -----------------------------------------------------------------------------


def flipped(packed: bytes) -> bytes:
    """One bit of the weights the other way round: torch.load itself does not notice."""
    at = packed.index(torch.arange(64.0).numpy().tobytes()) + 100
    return packed[:at] + bytes([packed[at] ^ 1]) + packed[at + 1 :]


WHOLE = pack(SMALL)


def test_torch_alone_would_not_see_the_flipped_bit() -> None:
    other = torch.load(io.BytesIO(flipped(WHOLE)), weights_only=True)["model_state_dict"]["weight"]
    assert not torch.equal(other, torch.arange(64.0))


def assert_as_it_was_or_refused(damaged: bytes) -> bool:
    """True when `damaged` was refused; to read anything else than what was packed fails the test."""
    try:
        read = unpack(damaged, "last.pt")
    except CheckpointError:
        return True
    assert list(read) == list(SMALL) and read["epoch"] == 1
    assert torch.equal(read["model_state_dict"]["weight"], torch.arange(64.0))
    return False


def test_a_bit_that_makes_a_part_a_folder_is_noticed() -> None:
    entry = WHOLE.index(b"PK\x01\x02", WHOLE.rindex(b"archive/byteorder"))
    assert WHOLE[entry + 46 :].startswith(b"archive/data/0")
    damaged = bytearray(WHOLE)
    damaged[entry + 38] ^= 0x10  # torch then reads nothing into the weights: they are whatever was in memory
    assert assert_as_it_was_or_refused(bytes(damaged))


def test_every_single_bit_of_the_directory_is_guarded() -> None:
    start = WHOLE.index(b"PK\x01\x02")
    for at in range(start, len(WHOLE)):
        for bit in range(8):
            assert_as_it_was_or_refused(WHOLE[:at] + bytes([WHOLE[at] ^ 1 << bit]) + WHOLE[at + 1 :])


def test_the_reader_is_the_one_a_run_uses_for_its_best(
    tiny: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    real = safe_load.load
    monkeypatch.setattr(safe_load, "load", lambda path: read.append(path) or real(path))
    run(tiny, tmp_path, epochs=1)
    assert read == [tmp_path / "best.pt"]


def test_what_could_not_be_read_again_is_found_when_it_is_saved() -> None:
    odd = SMALL | {"optimizer_state_dict": {"param_groups": [{"lr": np.float64(0.1)}]}}
    with pytest.raises(CheckpointError, match=r"optimizer_state_dict\.param_groups\[0\]\.lr \(numpy\.float64\)"):
        pack(odd)
