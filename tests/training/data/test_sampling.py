"""Rare classes: drawn as often as the others, or counted as much, as torch's own sampler and loss do it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.training.plain_loop import NeuralNetwork, only, prepared
from tests.training.saving.test_resume import Broken, differences, prompt_disk  # noqa: F401
from tui_trainer.errors import ModelError, SettingsError
from tui_trainer.run.commands import Inbox
from tui_trainer.run.events import BatchTrained, Evaluated
from tui_trainer.settings.schema import Settings
from tui_trainer.training import tasks
from tui_trainer.training.data import balance, batches, splits
from tui_trainer.training.data.batches import Order
from tui_trainer.training.data.examples import Tensors
from tui_trainer.training.loop import fit
from tui_trainer.training.step import step

LABELS = torch.tensor([0] * 900 + [1] * 90 + [3] * 10)[torch.randperm(1000, generator=torch.Generator().manual_seed(0))]
"""Three classes of very different sizes, and one without examples."""


@pytest.fixture
def uneven(tiny: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A run on images of which some classes are rare."""
    read = splits.read

    def read_uneven(settings: Settings) -> Any:
        found = yield from read(settings)
        labels, kept = found.train.targets, torch.zeros(len(found.train.targets), dtype=torch.bool)
        for label in range(10):
            kept[(labels == label).nonzero()[: 20 + 40 * label, 0]] = True
        object.__setattr__(found, "train", found.train.part(kept))
        return found

    monkeypatch.setattr(splits, "read", read_uneven)
    return tiny.model_copy(update={"batch_size": 32})


def drawn(seed: int, epoch: int = 1) -> Tensor:
    order = Order(len(LABELS), 10, seed=seed, classes=LABELS)
    order.epoch = epoch
    return torch.cat(list(order))


def test_every_class_is_drawn_equally_often_and_every_example_of_one_class_too() -> None:
    indices = torch.cat([drawn(1, epoch) for epoch in range(1, 31)])
    counts = torch.bincount(LABELS[indices], minlength=4)
    assert counts[2] == 0 and counts.sum() == 30_000
    assert all(abs(int(count) - 10_000) < 300 for count in counts[[0, 1, 3]])
    of_rare = torch.bincount(indices, minlength=1000)[LABELS == 3]
    assert all(850 < int(count) < 1150 for count in of_rare)
    assert (torch.bincount(indices, minlength=1000)[LABELS == 0] > 0).all()


def test_the_draws_of_an_epoch_depend_on_seed_and_epoch_alone() -> None:
    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2)) and not torch.equal(drawn(1), drawn(1, epoch=2))
    order, whole = Order(1000, 10, seed=1, classes=LABELS), drawn(1)
    order.first = 37
    assert torch.equal(torch.cat(list(order)), whole[370:])
    assert torch.equal(torch.cat(list(Order(1000, 10, seed=1, limit=4, classes=LABELS))), whole[:40])


def test_the_weights_are_those_that_let_all_classes_count_alike() -> None:
    weights = balance.of_classes(LABELS, 4)
    assert weights.tolist() == pytest.approx([1000 / 3600, 1000 / 360, 1, 1000 / 40])
    labels = torch.tensor([[1.0, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, 1]])
    assert balance.of_labels(labels, 3).tolist() == [3.0, 1.0, 1.0]
    assert balance.of_labels(torch.tensor([0, 1, 1, 1]), 1).tolist() == pytest.approx([1 / 3])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_yes_counts_as_much_as_all_noes_in_the_loss_of_labels(smoothing: float) -> None:
    outputs, y = torch.randn(8, 3), (torch.rand(8, 3) < 0.3).float()
    weights = balance.of_labels(y, 3)
    torch_loss = nn.BCEWithLogitsLoss(pos_weight=weights)(outputs, y * (1 - smoothing) + smoothing / 2)
    for name in ("multilabel", "binary"):
        task = tasks.named(name)
        assert task.weights is balance.of_labels
        torch.testing.assert_close(task.weighted["bce"](smoothing, weights)(outputs, y), torch_loss)


@pytest.mark.parametrize("mixup", [0.0, 0.3])
@pytest.mark.parametrize("used", [{"class_weights": "balanced"}, {"sampler": "balanced"}], ids=["weights", "sampler"])
def test_a_run_equals_a_plain_loop(uneven: Settings, used: dict[str, str], mixup: float) -> None:
    settings = uneven.model_copy(update={"epochs": 1, "label_smoothing": 0.1, "mixup": mixup} | used)
    course = prepared(settings)
    learned = course.splits.train
    counts = torch.bincount(learned.targets, minlength=10)
    weights = len(learned) / (10 * counts) if "class_weights" in used else None
    loss_fn = nn.CrossEntropyLoss(weights, label_smoothing=0.1)
    torch.manual_seed(0)
    network, wanted = NeuralNetwork(), []
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for batch, indices in enumerate(course.train_order, 1):
        X, y = learned[indices]
        if mixup:
            X, y = course.mixing(X, y, 1, batch)
        value = loss_fn(network(X), y)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        wanted.append(value.item())
    events = list(fit(settings, Inbox()))
    assert [e.loss for e in only(BatchTrained, events)] == pytest.approx(wanted, rel=1e-4)
    X, y = course.splits.valid[torch.arange(len(course.splits.valid))]
    network.eval()
    measured = F.cross_entropy(network(X), y, label_smoothing=0.1).item()
    assert only(Evaluated, events)[0].loss == pytest.approx(measured, rel=1e-4)  # without weights: runs compare


def test_the_tape_holds_the_weights(uneven: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = uneven.model_copy(update={"class_weights": "balanced", "limit_train_batches": 4, "epochs": 1})
    course = prepared(settings)
    assert course.step.tape is not None
    course.step(*next(iter(course.valid_batches)), 1)
    X, y = next(iter(course.valid_batches))
    course.step(X[:32], y[:32], 2)
    assert not course.step.tape.refused and course.step.tape._replay is not None
    replayed = [e.loss for e in only(BatchTrained, fit(settings, Inbox()))]
    monkeypatch.setattr(step, "replays", lambda *_: False)
    assert [e.loss for e in only(BatchTrained, fit(settings, Inbox()))] == replayed


def test_a_run_that_was_broken_off_draws_as_if_it_had_never_stopped(uneven: Settings, tmp_path: Path) -> None:
    used = {"sampler": "balanced", "class_weights": "balanced", "save_interval": 1e-9, "limit_train_batches": 4}
    settings = Settings(**(uneven.model_dump() | used))
    whole, broken = Broken(settings, tmp_path / "whole"), Broken(settings, tmp_path / "broken")
    whole.go()
    for kill_at in (2, 5):
        broken.go(kill_at=kill_at)
    broken.go()
    assert broken.losses() == whole.losses() and differences(whole.outcome(), broken.outcome()) == []


def test_what_cannot_be_balanced_says_so(tiny: Settings) -> None:
    weighs = tiny.model_copy(update={"class_weights": "balanced", "loss": "mse"})
    with pytest.raises(ModelError, match=r"class_weights balanced: the loss mse weighs no classes; use cross_entropy"):
        prepared(weighs)
    with pytest.raises(SettingsError, match="sampler: overfit_batches keeps to the same few batches"):
        Settings(**(tiny.model_dump() | {"sampler": "balanced", "overfit_batches": 1, "limit_train_batches": 0}))
    rows = Tensors(torch.rand(4, 2), torch.rand(4, 1))
    used: dict[str, Any] = {"train": rows, "valid": rows, "test": None, "shape": (2,), "source": ""}
    numbers = splits.Data(name="prices", classes=("price",), kind="number", **used)
    with pytest.raises(ModelError, match="sampler balanced: prices has no classes to draw from"):
        balance.classes_to_draw(tiny.model_copy(update={"sampler": "balanced"}), numbers)
    regression = tasks.Task(
        name="regression",
        kind="number",
        losses={},
        scores=(),
        outputs=lambda _: 1,
        meter=lambda *_: None,  # type: ignore[arg-type,return-value]
    )
    with pytest.raises(ModelError, match="class_weights balanced: regression has no classes to weigh"):
        balance.weights_of(weighs, regression, numbers, 1)


def test_draws_reach_both_data_paths_alike(uneven: Settings) -> None:
    used = {"sampler": "balanced", "epochs": 1, "limit_train_batches": 3}
    seen = []
    for path in ({"data_path": "resident"}, {"data_path": "loader"}):
        course = prepared(uneven.model_copy(update=used | path))
        course.begin_epoch(1)
        batch = next(course.train_batches())[1]
        seen.append(batch)
        assert isinstance(course.train_order._classes, batches.Classes)
    assert all(torch.equal(a, b) for a, b in zip(*seen, strict=True))
