"""A step from the tape is the step that was noted down: the same bits, batch for batch, and the same protection."""

import copy
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.training.plain_loop import NARROW, NeuralNetwork, mini, prepared
from tests.training.test_features import losses, run, weights_in
from tui_trainer.errors import DivergedError
from tui_trainer.settings import Settings
from tui_trainer.training import optim
from tui_trainer.training.losses import LOSSES
from tui_trainer.training.tape import Tape

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
    monkeypatch.setattr(optim, "replays", lambda *_: False)
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
    monkeypatch.setattr(optim, "replays", lambda *_: False)
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


@pytest.mark.parametrize("used", [{"grad_accum_steps": 2}, {"amp": "bf16"}, {"compile": True}])
def test_steps_of_another_kind_have_no_tape(tiny: Settings, used: dict[str, object]) -> None:
    assert optim.replays(tiny, torch.device("cpu"))
    assert not optim.replays(tiny.model_copy(update=used), torch.device("cpu"))
    assert not optim.replays(tiny, torch.device("cuda"))
