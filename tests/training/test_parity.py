"""A run is the tutorial's loop: the same losses, weights and measurements as plain PyTorch, batch for batch."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.training.plain_loop import Convolutional, NeuralNetwork, Tutorial, only, plain_loop
from tui_trainer.run.commands import Inbox
from tui_trainer.run.events import BatchTrained, EpochEnded, Evaluated, RunEnded
from tui_trainer.settings.schema import PRESETS, Settings
from tui_trainer.training.loop import fit

BATCHES = 12


def one_hot(y: Tensor) -> Tensor:
    return torch.eye(10)[y]


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": nn.CrossEntropyLoss(),
    "mse": lambda pred, y: nn.MSELoss()(torch.softmax(pred, 1), one_hot(y)),
    "l1": lambda pred, y: nn.L1Loss()(torch.softmax(pred, 1), one_hot(y)),
    "bce": lambda pred, y: nn.BCEWithLogitsLoss()(pred, one_hot(y)),
    "kl_div": lambda pred, y: nn.KLDivLoss(reduction="batchmean")(F.log_softmax(pred, 1), one_hot(y)),
}

OPTIMIZERS: dict[str, tuple[dict[str, object], Callable[..., torch.optim.Optimizer]]] = {
    "sgd": ({"optimizer": "sgd", "lr": 0.05}, lambda p: torch.optim.SGD(p, lr=0.05)),
    "sgd with momentum": (
        {"optimizer": "sgd", "lr": 0.02, "momentum": 0.9, "weight_decay": 0.01},
        lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, weight_decay=0.01),
    ),
    "sgd with nesterov": (
        {"optimizer": "sgd", "lr": 0.02, "momentum": 0.9, "nesterov": True},
        lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, nesterov=True),
    ),
    "adagrad": (
        {"optimizer": "adagrad", "lr": 0.01, "weight_decay": 0.01},
        lambda p: torch.optim.Adagrad(p, lr=0.01, weight_decay=0.01),
    ),
    "rmsprop": (
        {"optimizer": "rmsprop", "lr": 1e-3, "momentum": 0.5, "weight_decay": 0.01},
        lambda p: torch.optim.RMSprop(p, lr=1e-3, momentum=0.5, weight_decay=0.01),
    ),
    "adam": (
        {"optimizer": "adam", "lr": 1e-3, "weight_decay": 0.01},
        lambda p: torch.optim.Adam(p, lr=1e-3, weight_decay=0.01),
    ),
    "adamw": (
        {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.1},
        lambda p: torch.optim.AdamW(p, lr=1e-3, weight_decay=0.1),
    ),
}


def assert_same(settings: Settings, loss: str, optimizer: str, model: type[nn.Module], folder: Path) -> None:
    plain = plain_loop(LOSSES[loss], OPTIMIZERS[optimizer][1], model=model, batches=BATCHES)
    events = list(fit(settings, Inbox(), folder))

    reports, measured = only(BatchTrained, events), only(Evaluated, events)
    assert [e.loss for e in reports] == pytest.approx(plain.losses, rel=1e-5, abs=1e-5)
    assert [e.grad_norm for e in reports] == pytest.approx(plain.norms, rel=1e-4)
    assert [e.step for e in reports] == list(range(1, 2 * BATCHES + 1))
    for epoch, ended in enumerate(only(EpochEnded, events)):
        mean = sum(plain.losses[epoch * BATCHES :][:BATCHES]) / BATCHES
        assert ended.train_loss == pytest.approx(mean, rel=1e-5)

    assert len(measured) == 2
    for event, (mean, accuracy, confusion) in zip(measured, plain.evaluated, strict=True):
        assert event.loss == pytest.approx(mean, rel=1e-5, abs=1e-5)
        assert event.accuracy == accuracy
        assert [list(row) for row in event.confusion] == confusion

    weights = list(torch.load(folder / "last.pt", weights_only=True)["model_state_dict"].values())
    assert [tuple(w.shape) for w in weights] == [tuple(w.shape) for w in plain.weights]
    for ours, theirs in zip(weights, plain.weights, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=5e-5)  # Adam enlarges what a kernel rounds otherwise
    assert events[-1].reason == "finished"


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_run_equals_a_plain_loop(tiny: Settings, tmp_path: Path, loss: str, optimizer: str) -> None:
    used = {"loss": loss, "limit_train_batches": BATCHES, "valid_fraction": 0.0} | OPTIMIZERS[optimizer][0]
    assert_same(tiny.model_copy(update=used), loss, optimizer, NeuralNetwork, tmp_path)


def test_a_run_of_the_cnn_equals_a_plain_loop_dropout_included(tiny: Settings, tmp_path: Path) -> None:
    used = {"model": "cnn", "model_arg": "", "limit_train_batches": BATCHES, "valid_fraction": 0.0} | OPTIMIZERS[
        "adamw"
    ][0]
    assert_same(tiny.model_copy(update=used), "cross_entropy", "adamw", Convolutional, tmp_path)


def test_the_tutorial_preset_is_the_tutorial_to_the_letter(tiny: Settings) -> None:
    used = PRESETS["tutorial"] | {"model_arg": Settings().model_arg, "epochs": 1, "log_interval": 1}
    sgd = partial(torch.optim.SGD, lr=1e-3)
    plain = plain_loop(nn.CrossEntropyLoss(), sgd, model=Tutorial, epochs=1, batches=10**9)
    events = list(fit(tiny.model_copy(update=used), Inbox()))
    assert [e.loss for e in only(BatchTrained, events)] == pytest.approx(plain.losses, rel=1e-5)
    (measured,) = only(Evaluated, events)
    assert (measured.split, measured.loss) == ("valid", pytest.approx(plain.evaluated[0][0], rel=1e-5))


def test_reports_further_apart_give_the_mean_of_the_batches_between(tiny: Settings) -> None:
    each = [e.loss for e in only(BatchTrained, fit(tiny, Inbox()))]
    events = list(fit(tiny.model_copy(update={"log_interval": 3}), Inbox()))
    reports = only(BatchTrained, events)
    assert [e.batch for e in reports] == [1, 3, 6, 8] * 2
    assert [e.step for e in reports] == [1, 3, 6, 8, 9, 11, 14, 16]
    parts = [each[0:1], each[1:3], each[3:6], each[6:8], each[8:9], each[9:11], each[11:14], each[14:16]]
    assert [e.loss for e in reports] == pytest.approx([sum(part) / len(part) for part in parts], rel=1e-5)
    assert [e.train_loss for e in only(EpochEnded, events)] == pytest.approx(
        [sum(each[:8]) / 8, sum(each[8:]) / 8], rel=1e-5
    )


def test_the_best_epoch_is_what_the_last_event_tells(tiny: Settings) -> None:
    events = list(fit(tiny, Inbox()))
    best = min((e for e in only(Evaluated, events) if e.split == "valid"), key=lambda e: e.loss)
    (ended,) = only(RunEnded, events)
    assert ended is events[-1]
    assert (ended.best_epoch, ended.best_loss, ended.best_accuracy) == (best.epoch, best.loss, best.accuracy)
    assert (ended.exit_code, ended.error) == (0, None)
