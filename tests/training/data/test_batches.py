"""Batches are the same whichever way they come, and random changes depend on seed, epoch and example alone."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.training.plain_loop import only, prepared
from tui_trainer.errors import DataError
from tui_trainer.outlook.run import describe_run
from tui_trainer.run.commands import Inbox
from tui_trainer.run.events import BatchTrained, Evaluated, RunStarted
from tui_trainer.settings.schema import Settings
from tui_trainer.training.data import batches
from tui_trainer.training.data.augment import Moves
from tui_trainer.training.data.batches import Fetched, Loader, Order, Resident, choose_path
from tui_trainer.training.data.examples import Tensors
from tui_trainer.training.loop import fit

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside other busy programs a worker may take long to start: here that is not told of."""
    monkeypatch.setattr(batches, "LOOK", 60.0)


def images(examples: int = 100, channels: int = 1, side: int = 16) -> Tensors:
    """Different random images with their own number as label."""
    pixels = torch.randint(1, 256, (examples, channels, side, side), generator=torch.Generator().manual_seed(0))
    return Tensors(pixels.to(torch.uint8), torch.arange(examples))


def loader(data: Tensors, order: Order, workers: int = 0, mp_context: str = "auto", augment: str = "none") -> Loader:
    moves = Moves(augment, len(data), order.seed or 0, CPU)
    return Loader(data, order, CPU, workers=workers, mp_context=mp_context, augment=moves)


@pytest.mark.parametrize("augment", ["none", "flip_crop"])
@pytest.mark.parametrize(("workers", "mp_context"), [(0, "auto"), (2, "fork"), (1, "spawn"), (1, "forkserver")])
def test_a_loader_gives_the_batches_that_resident_data_gives(workers: int, mp_context: str, augment: str) -> None:
    data = images()
    fetched = loader(data, Order(100, 16, seed=3), workers, mp_context, augment)
    resident = Resident(data, Order(100, 16, seed=3), CPU, augment=Moves(augment, 100, 3, CPU))
    for epoch in (1, 2):
        fetched.order.epoch = resident.order.epoch = epoch
        pairs = list(zip(fetched, resident, strict=True))
        assert [len(X) for (X, _), _ in pairs] == [16] * 6 + [4]
        for (X, y), (X_too, y_too) in pairs:
            assert torch.equal(X, X_too) and torch.equal(y, y_too) and X.dtype == torch.float32
    fetched.close()
    assert not multiprocessing.active_children()


def test_a_run_is_the_same_by_every_data_path(tiny: Settings) -> None:
    runs = [
        list(fit(tiny.model_copy(update=used), Inbox()))
        for used in ({"data_path": "resident"}, {"data_path": "loader"}, {"data_path": "loader", "workers": 2})
    ]
    losses = [[event.loss for event in only(BatchTrained, events)] for events in runs]
    confusions = [[event.confusion for event in only(Evaluated, events)] for events in runs]
    assert losses[0] == losses[1] == losses[2] and confusions[0] == confusions[1] == confusions[2]
    told = [only(RunStarted, events)[0].data.split(", ", 1)[1] for events in runs]
    start = multiprocessing.get_start_method()
    assert told == [
        "held on cpu, 4.7 MB",
        "through a DataLoader, as asked for",
        f"through a DataLoader, 2 workers ({start}), as asked for",
    ]
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("batch", [1, 7, 64, 5000])
def test_resident_batches_cover_every_example_once_however_many_are_cut_at_once(batch: int) -> None:
    data = images(5000, side=4)
    seen = list(Resident(data, Order(5000, batch, seed=1), CPU))
    assert [len(y) for _, y in seen[:-1]] == [batch] * (len(seen) - 1)
    assert torch.cat([y for _, y in seen]).sort().values.tolist() == list(range(5000))
    X, y = seen[-1]
    assert torch.equal(X, data.inputs[y].float() / 255)


def test_data_that_fills_over_half_of_the_free_memory_goes_through_a_loader(
    tiny: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, size = [images(), images()], 2 * images().inputs.nbytes
    monkeypatch.setattr(batches, "free_memory", lambda _device: 2 * size)
    assert choose_path(tiny, data, CPU).resident
    monkeypatch.setattr(batches, "free_memory", lambda _device: 2 * size - 1)
    path = choose_path(tiny.model_copy(update={"workers": 1, "mp_context": "spawn"}), data, CPU)
    assert (path.resident, path.why) == (
        False,
        "through a DataLoader, 1 worker (spawn), 51.2 kB is over half of the 102.4 kB free",
    )
    assert choose_path(tiny.model_copy(update={"data_path": "resident"}), data, CPU).resident


def test_the_free_memory_is_that_of_this_machine() -> None:
    assert 10**8 < batches.free_memory(CPU) < 10**14


# --- random changes ------------------------------------------------------------------------------------------------


def changed(kind: str, data: Tensors, indices: Tensor, epoch: int, seed: int = 5) -> Tensor:
    return Moves(kind, len(data), seed, CPU)(data.inputs[indices], indices, epoch)


def test_flip_mirrors_about_half_of_the_images_and_leaves_the_others() -> None:
    data, all_of_them = images(400), torch.arange(400)
    after = changed("flip", data, all_of_them, epoch=1)
    mirrored = [bool(torch.equal(a, b.flip(2))) for a, b in zip(after, data.inputs, strict=True)]
    same = [bool(torch.equal(a, b)) for a, b in zip(after, data.inputs, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 150 < sum(mirrored) < 250


def test_crop_moves_an_image_by_up_to_an_eighth_and_fills_with_black() -> None:
    data, all_of_them = images(300), torch.arange(300)
    after, moves = changed("crop", data, all_of_them, epoch=1), set()
    for old, new in zip(data.inputs, after, strict=True):
        bordered = torch.nn.functional.pad(old, [2] * 4)
        found = [
            (down, right)
            for down in range(5)
            for right in range(5)
            if torch.equal(bordered[:, down : down + 16, right : right + 16], new)
        ]
        assert len(found) == 1
        moves.add(found[0])
    assert len(moves) == 25  # every move is drawn sooner or later


def test_a_change_depends_on_seed_epoch_and_example_and_not_on_the_batch() -> None:
    data = images(60)
    whole = changed("flip_crop", data, torch.arange(60), epoch=4)
    some = torch.tensor([59, 3, 17])
    assert torch.equal(changed("flip_crop", data, some, epoch=4), whole[some])
    assert not torch.equal(changed("flip_crop", data, some, epoch=5), whole[some])
    assert not torch.equal(changed("flip_crop", data, some, epoch=4, seed=6), whole[some])


def test_only_what_is_learnt_from_is_changed(tiny: Settings) -> None:
    course = prepared(tiny.model_copy(update={"augment": "flip_crop"}))
    assert torch.equal(next(iter(course.valid_batches))[0], course.splits.valid.inputs[:500].float() / 255)
    course.begin_epoch(1)
    (_, (X, y)), whole = next(course.train_batches()), course.splits.train.inputs.float() / 255
    same = sum(bool((whole == x).flatten(1).all(1).any()) for x in X)
    assert same < len(y) / 4
    plain = [e.loss for e in only(BatchTrained, fit(tiny, Inbox()))]
    assert [e.loss for e in only(BatchTrained, fit(course.settings, Inbox()))] != plain


def test_a_border_is_black_and_the_model_is_built_for_it(tiny: Settings) -> None:
    settings = tiny.model_copy(update={"model_arg": "", "pad": 2})
    course = prepared(settings)
    X, _ = next(iter(course.valid_batches))
    assert X.shape[1:] == (1, 32, 32) and course.splits.shape == (1, 32, 32)
    assert not X[:, :, :2].any() and not X[:, :, -2:].any() and not X[..., :2].any() and not X[..., -2:].any()
    assert (
        sum(p.numel() for p in course.model.parameters()) == describe_run(settings).parameters == 1024 * 512 + 268_298
    )


# --- worker processes ----------------------------------------------------------------------------------------------


def test_a_worker_leaves_ctrl_c_and_a_closed_terminal_to_the_run() -> None:
    fetched = loader(images(2000), Order(2000, 16, seed=0), workers=1, mp_context="fork")
    coming = iter(fetched)
    next(coming)
    (worker,) = multiprocessing.active_children()
    for number in (signal.SIGINT, signal.SIGHUP):
        os.kill(worker.pid or 0, number)
    assert len(list(coming)) == 124
    fetched.close()
    assert not multiprocessing.active_children()


class Killed(Fetched):
    """Its worker is killed as it would be for want of memory."""

    def __getitem__(self, wanted: batches.Wanted) -> tuple[Tensor, Tensor]:
        time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def test_a_worker_that_is_killed_ends_the_run_with_a_sentence(
    tiny: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "Fetched", Killed)
    settings = tiny.model_copy(update={"data_path": "loader", "workers": 1, "mp_context": "fork"})
    with pytest.raises(DataError, match=r"A data worker ended unexpectedly.*free\)\. .*\nTry fewer --workers") as fault:
        list(fit(settings, Inbox(), tmp_path))
    assert fault.value.exit_code == 3
    assert not multiprocessing.active_children()


def test_an_epoch_that_is_left_early_begins_anew_with_workers(tiny: Settings) -> None:
    settings = tiny.model_copy(update={"data_path": "loader", "workers": 1, "max_steps": 0})
    course = prepared(settings)
    for epoch in (1, 2):
        course.begin_epoch(epoch)
        _, (X, y) = next(course.train_batches())
        indices = next(iter(course.train_order))
        assert torch.equal(y, course.splits.train.targets[indices])
        assert torch.equal(X, course.splits.train.inputs[indices].float() / 255)
    course.close()
    assert not multiprocessing.active_children()
