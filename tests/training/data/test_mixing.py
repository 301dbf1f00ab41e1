"""Mixup and cutmix: drawn by seed, epoch and batch alone, and what a plain loop learns that mixes alike."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.training.plain_loop import NeuralNetwork, only, prepared
from tests.training.saving.test_resume import Broken, differences, prompt_disk  # noqa: F401
from tui_trainer.errors import ModelError, SettingsError
from tui_trainer.run.commands import Inbox
from tui_trainer.run.events import BatchTrained
from tui_trainer.settings.schema import Settings
from tui_trainer.training.data.examples import Data, Tensors
from tui_trainer.training.data.mixing import Mixing, box, cutmix, mixup
from tui_trainer.training.loop import fit
from tui_trainer.training.step import step
from tui_trainer.training.step.losses import LOSSES

CPU = torch.device("cpu")
BOTH = {"mixup": 0.4, "cutmix": 1.0}


def data(inputs: Tensor, targets: Tensor) -> Data:
    examples = Tensors(inputs, targets)
    used: dict[str, Any] = {"train": examples, "valid": examples, "test": None, "shape": examples.shape}
    return Data(name="some", source="", classes=("a", "b"), kind="class", **used)


def losses(settings: Settings) -> list[float]:
    return [event.loss for event in only(BatchTrained, fit(settings, Inbox()))]


@pytest.mark.parametrize("way", ["mixup", "cutmix"])
def test_a_batch_is_mixed_as_torchvision_mixes_it_when_it_draws_the_same(way: str) -> None:
    from torchvision.transforms import v2

    X, y = torch.rand(6, 3, 16, 12), torch.tensor([0, 1, 2, 3, 2, 1])
    theirs = {"mixup": v2.MixUp, "cutmix": v2.CutMix}[way](alpha=1.0, num_classes=4)
    torch.manual_seed(1)
    params = theirs.make_params([X])
    torch.manual_seed(1)
    wanted_X, wanted_y = theirs(X, y)
    others, one_hot = torch.arange(6).roll(1), torch.eye(4)[y]
    if way == "mixup":
        mixed, targets = mixup(X, one_hot, params["lam"], others)
    else:
        left, top, right, bottom = params["box"]
        mixed, targets = cutmix(X, one_hot, (top, bottom, left, right), others)
    assert torch.equal(mixed, wanted_X) and torch.allclose(targets, wanted_y)


def test_a_piece_leaves_the_share_of_the_image_that_was_drawn_unless_it_hangs_over_its_edge() -> None:
    random = np.random.default_rng(0)
    for share in (0.0, 0.3, 0.9, 1.0):
        pieces = [box(share, (40, 20), random) for _ in range(200)]
        areas = [(bottom - top) * (right - left) for top, bottom, left, right in pieces]
        assert all(0 <= t <= b <= 40 and 0 <= left <= r <= 20 for t, b, left, r in pieces)
        assert max(areas) <= (1 - share) * 800 and max(areas) >= (1 - share) * 800 * 0.7
        assert len(set(pieces)) > 50


def test_with_both_each_is_drawn_for_about_half_of_the_batches(tiny: Settings) -> None:
    images = data(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64))
    mixing = Mixing(tiny.model_copy(update=BOTH), images, 10, CPU)
    X = torch.arange(256.0).reshape(4, 1, 8, 8)
    blended = sum(bool((mixing(X, torch.arange(4), 1, batch)[0] % 1).any()) for batch in range(100))
    assert 30 < blended < 70


def test_what_is_mixed_depends_on_seed_epoch_and_batch_alone(tiny: Settings) -> None:
    images = data(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64))
    X, y = torch.rand(8, 1, 8, 8), torch.arange(8)

    def mixed(epoch: int, batch: int, seed: int = 0) -> Tensor:
        torch.manual_seed(epoch)
        return Mixing(tiny.model_copy(update={"mixup": 1.0, "seed": seed}), images, 10, CPU)(X, y, epoch, batch)[0]

    first = mixed(1, 2)
    assert torch.equal(first, mixed(1, 2))
    assert not any(torch.equal(first, other) for other in (mixed(2, 2), mixed(1, 3), mixed(1, 2, seed=1)))


def test_numbers_are_mixed_as_numbers_and_pieces_are_cut_from_images_alone(tiny: Settings) -> None:
    rows, prices = torch.rand(6, 3), torch.rand(6, 1)
    mixing = Mixing(tiny.model_copy(update={"mixup": 1.0}), data(rows, prices), 1, CPU)
    X, y = mixing(rows, rows.sum(1, keepdim=True), 1, 1)
    assert torch.allclose(X.sum(1, keepdim=True), y) and not torch.equal(X, rows)
    with pytest.raises(ModelError, match="cutmix cuts pieces out of images, and some holds none"):
        Mixing(tiny.model_copy(update=BOTH), data(rows, prices), 1, CPU)


@pytest.mark.parametrize(
    ("loss", "used"),
    [("cross_entropy", {"mixup": 0.4}), ("cross_entropy", {"cutmix": 1.0}), *((loss, BOTH) for loss in LOSSES)],
)
def test_a_run_equals_a_plain_loop_that_mixes_with_the_same_draws(
    tiny: Settings, loss: str, used: dict[str, float]
) -> None:
    course = prepared(tiny.model_copy(update=used))
    plain_losses = {
        "cross_entropy": lambda pred, y: torch.nn.CrossEntropyLoss(label_smoothing=0.1)(pred, y),
        "mse": lambda pred, y: F.mse_loss(pred.softmax(1), y * 0.9 + 0.01),
        "l1": lambda pred, y: F.l1_loss(pred.softmax(1), y * 0.9 + 0.01),
        "bce": lambda pred, y: F.binary_cross_entropy_with_logits(pred, y * 0.9 + 0.01),
        "kl_div": lambda pred, y: F.kl_div(pred.log_softmax(1), y * 0.9 + 0.01, reduction="batchmean"),
    }
    torch.manual_seed(0)
    network, wanted = NeuralNetwork(), []
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    course.train_order.epoch = 1
    held_in = course.splits.train
    for batch, indices in enumerate(course.train_order, 1):
        X, y = held_in[indices]
        X, y = course.mixing(X, y, 1, batch)
        value = plain_losses[loss](network(X), y)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        wanted.append(value.item())
    settings = tiny.model_copy(update={"loss": loss, "label_smoothing": 0.1, "epochs": 1} | used)
    assert losses(settings) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("used", [{"mixup": 0.4}, BOTH], ids=["mixup", "both"])
def test_the_tape_gives_the_same_bits_for_mixed_batches(
    tiny: Settings, used: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tiny.model_copy(update={"limit_train_batches": 5, "epochs": 1, "label_smoothing": 0.1} | used)
    course = prepared(settings)
    course.begin_epoch(1)
    for batch, (X, y) in course.train_batches():
        course.step(*course.learned_from(X, y, batch), batch)
        course.progress.batch += 1
    assert course.step.tape is not None and not course.step.tape.refused
    replayed = losses(settings)
    monkeypatch.setattr(step, "replays", lambda *_: False)
    assert losses(settings) == replayed


@pytest.mark.parametrize("loader", [{}, {"data_path": "loader"}], ids=["resident", "loader"])
def test_a_run_that_was_broken_off_mixes_as_if_it_had_never_stopped(
    tiny: Settings, tmp_path: Path, loader: dict[str, Any]
) -> None:
    settings = Settings(**(tiny.model_dump() | {"limit_train_batches": 4, "save_interval": 1e-9} | BOTH | loader))
    whole, broken = Broken(settings, tmp_path / "whole"), Broken(settings, tmp_path / "broken")
    whole.go()
    for kill_at in (2, 5, 7):
        broken.go(kill_at=kill_at)
    broken.go()
    assert broken.losses() == whole.losses() and differences(whole.outcome(), broken.outcome()) == []


@pytest.mark.parametrize("way", ["mixup", "cutmix"])
def test_what_is_mixed_anew_is_not_to_be_learned_by_heart(tiny: Settings, way: str) -> None:
    with pytest.raises(SettingsError, match=f"{way}: .* or overfit_batches"):
        Settings(**(tiny.model_dump() | {way: 0.5, "overfit_batches": 1, "limit_train_batches": 0}))


def test_a_loss_that_takes_no_mixed_targets_is_told_of_before_the_first_step(tiny: Settings) -> None:
    course = prepared(tiny.model_copy(update=BOTH))
    course.learned_loss = F.nll_loss
    X, y = course.inputs_of(course.splits.valid, torch.arange(4))
    said = course.misfit_of_mixed(X, torch.randn(4, 10), y)
    assert said.startswith("loss cross_entropy takes no mixed targets, (4, 10) of torch.float32 (RuntimeError: ")
    assert said.endswith("; set mixup and cutmix to 0")
    course.learned_loss = F.cross_entropy
    assert course.misfit_of_mixed(X, torch.randn(4, 10), y) == ""
