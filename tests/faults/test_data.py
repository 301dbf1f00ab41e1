"""Data that does not come: an epoch is never cut short in silence, and nothing waits for ever."""

import gc
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.training.plain_loop import only
from tui_trainer.errors import DataError
from tui_trainer.run.commands import Inbox, Stop
from tui_trainer.run.events import BatchTrained, Event, Preparing
from tui_trainer.settings.schema import Settings
from tui_trainer.training.data import batches
from tui_trainer.training.data.batches import Fetched
from tui_trainer.training.loop import fit

pytestmark = pytest.mark.xdist_group("workers")
CALM = 50
"""Batches that are fetched well."""


@pytest.fixture(autouse=True)
def shortly(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """torch waits half a second for each worker that does not end by itself, and not five.

    What an error still holds is let go of now, or another test would wait for those workers.
    """
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.5)
    yield
    gc.collect()


@pytest.fixture
def fetching(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the fetching of some examples go wrong."""
    real = Fetched.__getitem__

    def spoil(fault: Any) -> None:
        def fetch(self: Fetched, wanted: tuple[int, list[int]]) -> Any:
            got, (_, numbers) = real(self, wanted), wanted
            return fault(numbers, got) if 0 in numbers and len(numbers) < 100 else got

        monkeypatch.setattr(Fetched, "__getitem__", fetch)

    return spoil


def settings_of(tiny: Settings, workers: int, **more: Any) -> Settings:
    used = {"data_path": "loader", "workers": workers, "mp_context": "fork", "epochs": 1, "overfit_batches": 4}
    return tiny.model_copy(update=used | {"limit_train_batches": 0} | more)


def end(_numbers: list[int], _got: Any) -> Any:
    raise StopIteration


def leave(_numbers: list[int], _got: Any) -> Any:
    os._exit(3)


def raise_error(error: BaseException) -> Any:
    def fault(_numbers: list[int], _got: Any) -> Any:
        raise error

    return fault


class Odd(Exception):
    """An error that cannot be told to another process."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__("odd")


FAULTS: dict[str, tuple[Any, str]] = {
    "a value error": (raise_error(ValueError("pixel 3 is purple")), "ValueError: pixel 3 is purple"),
    "an index error": (raise_error(IndexError("no item 0")), "IndexError: no item 0"),
    "the end of an iterator": (end, "could not be fetched|ended after"),
    "an error of no words": (raise_error(RuntimeError()), "could not be fetched: RuntimeError"),
    "escape codes": (raise_error(ValueError("\x1b[31mred")), r"ValueError: \\x1b\[31mred"),
    "memory": (raise_error(MemoryError()), "could not be fetched: MemoryError"),
    "labels of another length": (lambda _, got: (got[0], got[1][:-1]), "does not fit"),
    "numbers that are not whole": (lambda _, got: (got[0], got[1].float()), "does not fit"),
    "a label out of range": (lambda _, got: (got[0], got[1] + 99), "does not fit"),
    "nothing": (lambda _, got: (None, got[1]), "it is NoneType and Tensor, not two tensors"),
    "a list": (lambda _, got: ([1], got[1]), "it is list and Tensor, not two tensors"),
    "one thing": (lambda _, got: got[0], "could not be fetched"),
    "a call of sys.exit": (raise_error(SystemExit(3)), "could not be fetched: SystemExit"),
    "another shape": (lambda _, got: (got[0][:, :, :-1], got[1]), "does not fit"),
}


@pytest.mark.parametrize(
    ("fault", "workers"),
    [*((fault, 0) for fault in FAULTS), *((fault, 2) for fault in ("a value error", "another shape", "escape codes"))],
)
def test_a_fault_in_the_data_ends_the_run_with_a_sentence(
    fault: str, workers: int, tiny: Settings, tmp_path: Path, fetching: Any
) -> None:
    spoil, sentence = FAULTS[fault]
    fetching(spoil)
    with pytest.raises(DataError, match=sentence) as refused:
        list(fit(settings_of(tiny, workers), Inbox(), tmp_path))
    said = str(refused.value)
    assert refused.value.exit_code == 3 and "\x1b" not in said and "Traceback" not in said and "kept" in said


def test_a_worker_that_ends_is_told_of(tiny: Settings, tmp_path: Path, fetching: Any) -> None:
    fetching(leave)
    with pytest.raises(DataError, match=r"worker ended unexpectedly \(/dev/shm has .* free\)"):
        list(fit(settings_of(tiny, 2), Inbox(), tmp_path))


def hang(_numbers: list[int], got: Any) -> Any:
    time.sleep(60)
    return got


@pytest.mark.parametrize("fault", [hang, raise_error(Odd(1, 2))], ids=["a worker hangs", "its error cannot be told"])
def test_data_that_hangs_is_told_of_and_not_waited_for_for_ever(
    fault: Any, tiny: Settings, tmp_path: Path, fetching: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "LOOK", 0.5)
    fetching(fault)
    told: list[Event] = []
    with pytest.raises(DataError, match=r"hangs|could not be fetched|ended unexpectedly") as refused:
        for event in fit(settings_of(tiny, 2, data_timeout=2.0), Inbox(), tmp_path):
            told.append(event)
    waits = [event.what for event in only(Preparing, told) if "waiting for data" in event.what]
    if fault is hang:
        assert waits and "did not come within 2 s" in str(refused.value)


def test_a_run_that_waits_for_data_can_be_stopped(
    tiny: Settings, tmp_path: Path, fetching: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "LOOK", 0.3)
    fetching(hang)
    inbox, told = Inbox(), []
    for event in fit(settings_of(tiny, 2), inbox, tmp_path):
        told.append(event)
        if isinstance(event, Preparing) and "waiting for data" in event.what:
            inbox.send(Stop())
    assert told[-1].reason == "stopped" and (tmp_path / "last.pt").exists()


def test_data_that_comes_late_is_waited_for(tiny: Settings, fetching: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "LOOK", 0.2)

    def late(_numbers: list[int], got: Any) -> Any:
        time.sleep(0.5)
        return got

    settings = settings_of(tiny, 2)
    whole = [event.loss for event in only(BatchTrained, fit(settings, Inbox()))]
    fetching(late)
    assert [event.loss for event in only(BatchTrained, fit(settings, Inbox()))] == whole
