"""A step from the tape is the step that was noted down: the same bits, batch for batch, and the same protection."""

import copy
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.training.plain_loop import NARROW, NeuralNetwork, mini, only, prepared
from tests.training.test_features import losses, run, weights_in
from tui_trainer.errors import DivergedError
from tui_trainer.run.events import BatchTrained
from tui_trainer.settings.schema import Settings
from tui_trainer.training.step import cpu_replay
from tui_trainer.training.step import step as stepping
from tui_trainer.training.step.cpu_replay import Tape
from tui_trainer.training.step.deferred_grads import Descent, Product
from tui_trainer.training.step.finite import CHECK_ALL_EVERY
from tui_trainer.training.step.losses import LOSSES

X, y = (part[:320] for part in mini("train"))


def batches(size: int = 32) -> list[tuple[Tensor, Tensor]]:
    return list(zip(X.split(size), y.split(size), strict=True))


def taped(model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy) -> Tape:
    return Tape(lambda X, y: loss(model(X), y), model)


@pytest.mark.parametrize(
    ("model", "loss"), [("resnet18", "cross_entropy"), *((model, loss) for model in ("mlp", "cnn") for loss in LOSSES)]
)
def test_a_run_from_the_tape_ends_with_the_same_bits(
    tiny: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, loss: str
) -> None:
    used = {
        **NARROW[model],
        "loss": loss,
        "batch_size": 8,
        "limit_train_batches": 0,
        "overfit_batches": 4,  # what is measured are the same 32 images
        "valid_fraction": 0.0,
        "label_smoothing": 0.1,
        "epochs": 1,
    }
    settings = tiny.model_copy(update=used)
    course = prepared(settings)
    assert course.step.tape is not None
    course.step(*next(iter(course.valid_batches)), 1)
    (with_tape := tmp_path / "with").mkdir()
    (without := tmp_path / "without").mkdir()
    replayed = run(settings, with_tape)
    monkeypatch.setattr(stepping, "replays", lambda *_: False)
    plainly = run(settings, without)
    assert losses(replayed) == losses(plainly)
    pairs = zip(weights_in(with_tape / "last.pt"), weights_in(without / "last.pt"), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_loss_and_gradients_are_those_of_autograd_and_no_layer_is_called_again() -> None:
    torch.manual_seed(0)
    model = NeuralNetwork()
    plain, tape, calls = copy.deepcopy(model), taped(model), []
    model.register_forward_hook(lambda *_: calls.append(1))
    for X, y in batches():
        loss = F.cross_entropy(plain(X), y)
        plain.zero_grad()
        loss.backward()
        assert torch.equal(tape(X, y), loss.detach()) and not tape.refused
        for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
            assert ours.grad is not None and theirs.grad is not None
            assert torch.equal(ours.grad, theirs.grad) and ours.grad.is_contiguous()
    assert len(calls) == 1


def test_gradients_of_one_replay_are_not_those_of_the_next() -> None:
    model = NeuralNetwork()
    tape, ((X, y), (X2, y2), (X3, y3)) = taped(model), batches()[:3]
    tape(X, y)
    tape(X2, y2)
    kept = next(model.parameters()).grad
    assert kept is not None
    before = kept.clone()
    tape(X3, y3)
    assert torch.equal(kept, before) and not torch.equal(next(model.parameters()).grad, before)


def test_weights_that_were_loaded_in_between_are_the_ones_that_are_used() -> None:
    model, other = NeuralNetwork(), NeuralNetwork()
    tape, ((X, y), (X2, y2)) = taped(model), batches()[:2]
    tape(X, y)
    model.load_state_dict(other.state_dict())
    assert torch.equal(tape(X2, y2), F.cross_entropy(other(X2), y2).detach())


def test_dropout_and_running_statistics_go_on_as_without_a_tape() -> None:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 10))
    plain, tape, random = copy.deepcopy(model), taped(model), torch.get_rng_state()
    replayed = [tape(X, y) for X, y in batches()]
    torch.set_rng_state(random)
    assert [loss.item() for loss in replayed] == [F.cross_entropy(plain(X), y).item() for X, y in batches()]
    for name, buffer in plain.named_buffers():
        assert torch.equal(buffer, model.get_buffer(name)), name
    assert not tape.refused and len({loss.item() for loss in replayed}) == len(replayed)


class Looks(nn.Module):
    """Decides by a number on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(784, 10)

    def forward(self, X: Tensor) -> Tensor:
        outputs = self.linear(X.flatten(1))
        return outputs * 2 if outputs.mean().item() > 0 else outputs


class Remembers(nn.Module):
    """Uses numbers that are no part of the model and of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(784, 10)
        self.seen = [torch.zeros(10)]

    def forward(self, X: Tensor) -> Tensor:
        outputs = self.linear(X.flatten(1)) + self.seen[0]
        self.seen[0] = outputs.detach()[0].clone()
        return outputs


@pytest.mark.parametrize(("kind", "why"), [(Looks, "looks at a number"), (Remembers, "numbers from elsewhere")])
def test_what_need_not_repeat_itself_is_refused_after_a_right_first_step(kind: type[nn.Module], why: str) -> None:
    model = kind()
    plain, tape = copy.deepcopy(model), taped(model)
    X, y = batches()[0]
    loss = F.cross_entropy(plain(X), y)
    loss.backward()
    assert torch.equal(tape(X, y), loss.detach()) and why in tape.refused
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        assert ours.grad is not None and torch.equal(ours.grad, theirs.grad)


def test_a_refused_tape_leaves_the_steps_to_autograd(tiny: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui_trainer.training.models.build", lambda *_, **__: Looks())
    replayed = run(tiny, valid_fraction=0.0)
    monkeypatch.setattr(stepping, "replays", lambda *_: False)
    assert losses(replayed) == losses(run(tiny, valid_fraction=0.0))


def test_a_loss_that_is_not_finite_on_the_tape_changes_nothing(tiny: Settings) -> None:
    course = prepared(tiny.model_copy(update={"valid_fraction": 0.0}))
    course.begin_epoch(1)
    steps = [(batch, X, y) for batch, (X, y) in course.train_batches()]
    for batch, X, y in steps[:3]:
        course.step(X, y, batch)
    assert course.step.tape is not None and not course.step.tape.refused
    before = [p.detach().clone() for p in course.model.parameters()]
    batch, X, y = steps[3]
    with pytest.raises(DivergedError):
        course.step(X * math.nan, y, batch)
    assert all(torch.equal(p, old) for p, old in zip(course.model.parameters(), before, strict=True))
    assert all(p.grad is None for p in course.model.parameters()) and course.step.updates == 3


# --- gradients that are left as products ---------------------------------------------------------------------------


def product(left: Tensor, right: Tensor) -> Product:
    return Product(nn.Parameter(torch.empty(len(left), right.shape[1])), left, right)


def test_the_length_of_a_product_is_that_of_the_gradient_multiplied_out() -> None:
    left, right = torch.randn(512, 64), torch.randn(64, 784)
    assert product(left, right).norm() == pytest.approx(float((left @ right).norm()), rel=1e-5)
    assert product(left * 0, right).norm() == 0.0
    assert product(left * 1e20, right * 1e20).norm() == math.inf


@pytest.mark.parametrize(
    ("left", "right", "finite"),
    [(1.0, 1.0, True), (1e25, 1e-20, True), (1e25, 1e20, False), (math.nan, 1.0, False), (math.inf, 0.0, False)],
)
def test_a_product_with_a_number_that_is_not_finite_is_known(left: float, right: float, *, finite: bool) -> None:
    ones = torch.ones(40, 8)
    (spoiled := ones.clone())[7, 3] = left
    assert product(spoiled, ones.T * right).is_finite() == finite


@pytest.mark.parametrize(
    "more", [{}, {"weight_decay": 0.1}, {"layer_decay": 0.5}, {"scheduler": "onecycle"}, {"freeze_epochs": 1}]
)
def test_plain_descent_by_products_is_that_by_gradients(
    tiny: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, object]
) -> None:
    settings = tiny.model_copy(update={"optimizer": "sgd", "lr": 0.1, "batch_size": 8} | more)
    (multiplied := tmp_path / "multiplied").mkdir()
    (added := tmp_path / "added").mkdir()
    descended, descend = [], Descent.step

    def noted(descent: Descent, deferred: Sequence[Product]) -> None:
        descended.append(len(deferred))
        descend(descent, deferred)

    monkeypatch.setattr(Descent, "step", noted)
    by_products = run(settings, added)
    monkeypatch.setattr(stepping, "is_plain_sgd", lambda _optimizer: False)
    by_gradients = run(settings, multiplied)
    assert descended == ([2] * 8 if more.get("freeze_epochs") else [2] * 16)
    assert losses(by_products) == pytest.approx(losses(by_gradients), rel=1e-5)
    norms = [[event.grad_norm for event in only(BatchTrained, events)] for events in (by_products, by_gradients)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)
    pairs = zip(weights_in(added / "last.pt"), weights_in(multiplied / "last.pt"), strict=True)
    assert all(torch.allclose(one, other, rtol=1e-5, atol=1e-6) for one, other in pairs)


@pytest.mark.parametrize(
    "used",
    [
        {"optimizer": "adam"},
        {"optimizer": "sgd", "momentum": 0.9},
        {"optimizer": "sgd", "clip_grad": 0.5},
        {"optimizer": "sgd", "batch_size": 512},
        {"optimizer": "sgd", "optimizer_arg": "maximize=true"},
    ],
)
def test_gradients_are_multiplied_out_where_more_is_done_with_them(tiny: Settings, used: dict[str, object]) -> None:
    course = prepared(tiny.model_copy(update={"batch_size": 8} | used))
    course.begin_epoch(1)
    for batch, (X, y) in list(course.train_batches())[:2]:
        course.step(X, y, batch)
    assert course.step.tape is not None and not course.step.tape.refused
    assert not course.step.tape.products
    assert all(parameter.grad is not None for parameter in course.model.parameters())


class Prompted(nn.Module):
    """Learns what one of its layers is given: the gradient of that layer has a parameter for a factor."""

    def __init__(self) -> None:
        super().__init__()
        self.prompt = nn.Parameter(torch.linspace(-1, 1, 2 * 784).reshape(2, 784))
        self.embed, self.read = nn.Linear(784, 64), nn.Linear(64, 10)

    def forward(self, X: Tensor) -> Tensor:
        return self.read(self.embed(X.flatten(1)) + self.embed(self.prompt).sum(0))  # type: ignore[no-any-return]


class OnlyPrompted(Prompted):
    """Uses that layer for nothing else."""

    def forward(self, X: Tensor) -> Tensor:
        return self.read(torch.relu(self.embed(self.prompt)).sum(0) + X.flatten(1)[:, :64])  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", [Prompted, OnlyPrompted])
def test_a_factor_that_is_itself_learned_is_not_read_after_its_own_step(
    tiny: Settings, monkeypatch: pytest.MonkeyPatch, kind: type[nn.Module]
) -> None:
    def built(*_: Any, **__: Any) -> nn.Module:
        torch.manual_seed(0)
        return kind()

    monkeypatch.setattr("tui_trainer.training.models.build", built)
    used = {"optimizer": "sgd", "lr": 0.1, "batch_size": 8}
    by_products = losses(run(tiny, **used))
    monkeypatch.setattr(stepping, "is_plain_sgd", lambda _optimizer: False)
    assert by_products == pytest.approx(losses(run(tiny, **used)), rel=1e-5)


def test_a_product_that_is_not_finite_changes_nothing(tiny: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    course = prepared(tiny.model_copy(update={"optimizer": "sgd", "valid_fraction": 0.0, "batch_size": 8}))
    course.begin_epoch(1)
    steps = [(batch, X, y) for batch, (X, y) in course.train_batches()]
    for batch, X, y in steps[: CHECK_ALL_EVERY - 1]:
        course.step(X, y, batch)
    tape = course.step.tape
    assert tape is not None and len(tape.products) == 2
    replay = tape._replay
    assert replay is not None

    def spoiled(X: Tensor, y: Tensor) -> Tensor:
        loss, product = replay(X, y), tape.products[0]
        product.left, product.right = product.left * 1e30, product.right * 1e30
        return loss

    monkeypatch.setattr(tape, "_replay", spoiled)
    before = [p.detach().clone() for p in course.model.parameters()]
    batch, X, y = steps[CHECK_ALL_EVERY - 1]
    with pytest.raises(DivergedError, match="gradient"):
        course.step(X, y, batch)
    assert all(torch.equal(p, old) for p, old in zip(course.model.parameters(), before, strict=True))


@pytest.mark.parametrize("used", [{"grad_accum_steps": 2}, {"amp": "bf16"}, {"compile": True}])
def test_steps_of_another_kind_have_no_tape(tiny: Settings, used: dict[str, object]) -> None:
    assert cpu_replay.replays(tiny, torch.device("cpu"))
    assert not cpu_replay.replays(tiny.model_copy(update=used), torch.device("cpu"))
    assert not cpu_replay.replays(tiny, torch.device("cuda"))
