"""What a look at data and model tells, over the real thing."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tui_trainer.cli import preview as process
from tui_trainer.errors import DataError, ModelError
from tui_trainer.outlook.preview.facts import Answer, DataFacts, Order, Samples
from tui_trainer.settings.schema import Settings
from tui_trainer.training.before import preview, samples
from tui_trainer.training.before.prepare import prepare
from tui_trainer.training.course import Course
from tui_trainer.training.data import splits
from tui_trainer.training.data.augment import Moves
from tui_trainer.training.data.examples import Data, Tensors


def at_data(settings: Settings, *orders: Order) -> tuple[DataFacts, list[Samples]]:
    answers = list(preview.at_data(settings, iter(orders)))
    (facts,) = (a.data for a in answers if a.data is not None)
    return facts, [a.samples for a in answers if a.samples is not None]


def loaded(settings: Settings) -> Data:
    steps = splits.load(settings)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value


def made(inputs: torch.Tensor, targets: torch.Tensor, kind: str, classes: tuple[str, ...], **more: object) -> Data:
    examples = Tensors(inputs, targets)
    return Data(
        name="made", source="made up", classes=classes, kind=kind, shape=examples.shape, train=examples, valid=examples,
        test=None, **more,
    )  # type: ignore[arg-type]  # fmt: skip


def test_the_facts_of_the_data_are_those_of_its_splits(tiny: Settings) -> None:
    facts, _ = at_data(tiny)
    assert [(s.name, s.examples, set(s.counts)) for s in facts.splits] == [
        ("train", 4500, {450}),
        ("valid", 500, {50}),
        ("test", 1000, {100}),
    ]
    assert (facts.low, facts.high, facts.kept, facts.shape) == (0, 255, "uint8", (1, 28, 28))
    inputs = loaded(tiny).train.raw(torch.arange(4500))[0].double()
    assert facts.mean == pytest.approx(float(inputs.mean())) and facts.std == pytest.approx(
        float(inputs.std()), rel=1e-4
    )


def test_images_are_those_that_the_epoch_trains_on(tiny: Settings) -> None:
    settings = tiny.model_copy(update={"augment": "flip_crop", "normalize": "data", "seed": 7})
    order = Order(count=6, width=28, height=28, epoch=3)
    _, (page,) = at_data(settings, order)
    splits = loaded(settings)
    first = samples.batches.Order(4500, 4500, seed=7).indices()[:6]
    raw, y = splits.train.raw(first)
    augment = Moves("flip_crop", 4500, 7, torch.device("cpu"))
    changed = augment(raw, first, 3)
    assert page.pages == 750
    for i, sample in enumerate(page.samples):
        assert sample.original.pixels == raw[i].numpy().tobytes()
        assert sample.seen is not None and sample.seen.pixels == changed[i].numpy().tobytes()
        assert sample.label == splits.classes[int(y[i])]


def test_orders_choose_page_epoch_class_and_size(tiny: Settings) -> None:
    orders = [
        Order(count=5),
        Order(count=5, page=900),
        Order(count=5, page=1),
        Order(count=4, only=3),
        Order(count=1, width=10, height=14),
        Order(count=1, width=90, height=60),
        Order(count=5, only=99),
    ]
    _, (first, again, second, dresses, small, large, beyond) = at_data(tiny, *orders)
    assert first.samples == again.samples != second.samples
    assert first.samples == beyond.samples
    assert all(sample.seen is None for sample in first.samples), "nothing changes them"
    assert dresses.pages == 113 and {s.label for s in dresses.samples} == {"Dress"}
    assert (small.samples[0].original.width, small.samples[0].original.height) == (10, 10)
    assert (large.samples[0].original.width, large.samples[0].original.height) == (56, 56)


def test_images_of_floats_and_of_colours_are_brought_to_0_to_255() -> None:
    X = torch.linspace(-3, 5, 2 * 3 * 4 * 4).view(2, 3, 4, 4)
    splits = made(X, torch.tensor([0, 1]), "class", ("a", "b"), mean=(1.0, 2.0, 3.0), std=(2.0, 2.0, 2.0))
    page = samples.page(splits, Settings(seed=0), Order(count=2, width=4, height=4))
    pixels = b"".join(sorted((s.original.pixels for s in page.samples), key=max))
    assert len(pixels) == 96 and min(pixels) == 0 and max(pixels) == 255
    two = made(torch.zeros(1, 2, 4, 4), torch.tensor([0]), "class", ("a",))
    assert len(samples.page(two, Settings(seed=0), Order(width=4, height=4)).samples[0].original.pixels) == 16
    bad = made(torch.full((1, 1, 4, 4), float("nan")), torch.tensor([0]), "class", ("a",))
    assert samples.page(bad, Settings(seed=0), Order(width=4, height=4)).samples[0].original.pixels == bytes(16)


def test_a_table_has_columns_rows_and_a_histogram(tiny: Settings) -> None:
    X = torch.arange(40.0).view(10, 4)
    X[3, 1] = float("nan")
    splits = made(X, torch.linspace(0, 9, 10)[:, None], "number", ("price",))
    facts = preview.facts(splits, tiny)
    assert [c.name for c in facts.columns] == ["column 1", "column 2", "column 3", "column 4"]
    assert (facts.columns[0].low, facts.columns[0].mean, facts.columns[0].high) == (0, 18, 36)
    assert [c.missing for c in facts.columns] == [0, 1, 0, 0]
    assert facts.rows[3].values == ("12", "-", "14", "15") and facts.rows[3].target == "3"
    assert sum(facts.targets[0].bins) == 10 and facts.targets[0].mean == 4.5
    assert Answer.model_validate_json(Answer(data=facts).line()).data == facts


def test_several_labels_stand_beside_each_other(tiny: Settings) -> None:
    y = torch.tensor([[1.0, 0, 1], [0, 0, 0], [0, 1, 0]])
    splits = made(torch.zeros(3, 1, 4, 4, dtype=torch.uint8), y, "labels", ("red", "round", "large"))
    page = samples.page(splits, Settings(seed=0), Order(count=3))
    assert {s.label for s in page.samples} == {"red, large", "none", "round"}
    assert samples.page(splits, Settings(seed=0), Order(count=3, only=1)).samples[0].label == "round"
    assert preview.facts(splits, tiny).splits[0].counts == (1, 1, 1)
    shares = made(torch.zeros(1, 1, 4, 4), torch.tensor([[0.7, 0.3, 0.0]]), "share", ("red", "round", "large"))
    assert samples.page(shares, Settings(seed=0), Order()).samples[0].label == "red 70 % round 30 %"


@pytest.mark.parametrize(("model", "layers", "parameters"), [("mlp", 6, 669_706), ("cnn", 11, 421_642)])
def test_a_look_at_a_model_measures_it(
    model: str, layers: int, parameters: int, tiny: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "MOST_BATCHES", 3)
    answers = list(preview.at_model(tiny.model_copy(update={"model": model, "model_arg": ""})))
    (facts,) = (a.model for a in answers if a.model)
    (memory,) = (a.memory for a in answers if a.memory)
    (speed,) = (a.speed for a in answers if a.speed)
    assert len(facts.layers) == layers and facts.parameters == facts.trainable == parameters
    assert sum(layer.parameters for layer in facts.layers) == parameters
    assert memory.weights == memory.gradients == 4 * parameters
    assert 2 * memory.weights <= memory.optimizer <= 2 * memory.weights + 1000
    assert (speed.batches, speed.left_out, speed.epoch_batches, speed.epochs) == (3, 3, 8, 2)
    assert speed.examples_per_second == pytest.approx(64 * speed.batches_per_second)
    assert speed.epoch_seconds == pytest.approx(8 / speed.batches_per_second) and speed.valid_seconds > 0


def test_activations_are_what_the_backward_pass_needs(tiny: Settings) -> None:
    course = _prepared(tiny.model_copy(update={"batch_size": 32}))
    kept = preview.kept_for_backward(course, torch.rand(32, 1, 28, 28), torch.zeros(32, dtype=torch.int64))
    course.close()
    inputs, hidden, outputs = 32 * 784 * 4, 32 * 32 * 4, 32 * 10 * 4
    least = inputs + 2 * hidden + outputs
    assert least <= kept <= least + 1000


def _prepared(settings: Settings) -> Course:
    steps = prepare(settings, preview.Inbox(), None)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value


def test_frozen_layers_and_weights_beside_layers_are_counted() -> None:
    class Own(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(7))
            self.body = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
            self.body.requires_grad_(False)

        def forward(self, X: torch.Tensor) -> tuple[torch.Tensor, None]:
            return self.body(X) * self.scale.sum(), None

    found = preview.layers(Own(), torch.zeros(2, 1, 4, 4))
    assert [(r.name, r.type, r.output, r.parameters, r.trainable) for r in found] == [
        ("body.0", "Flatten", "16", 0, 0),
        ("body.1", "Linear", "3", 51, 0),
        ("", "Own", "3", 7, 7),
    ]


def test_an_error_is_the_last_answer_with_its_exit_code(tiny: Settings, tmp_path: Path) -> None:
    def told(kind: str, **settings: object) -> Answer:
        *_, last = process.preview(kind, tiny.model_copy(update=settings), iter(()))
        return last

    (tmp_path / "data" / "FashionMNIST" / "raw").mkdir(parents=True)
    wrong = told("model", monitor="valid_mae")
    assert wrong.exit_code == ModelError.exit_code and wrong.error is not None and "valid_mae" in wrong.error
    few = told("data", valid_fraction=0.00001)
    assert few.exit_code == DataError.exit_code and few.error is not None and "leaves no examples" in few.error


@pytest.mark.parametrize("fault", [RuntimeError("odd\nand more"), SystemExit(0)])
def test_a_fault_of_any_kind_is_told(
    fault: BaseException, tiny: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> Iterator[Answer]:
        raise fault
        yield

    monkeypatch.setattr(preview, "at_model", broken)
    *_, last = process.preview("model", tiny, iter(()))
    assert last.error is not None and type(fault).__name__ in last.error and "more" not in last.error
    assert "Traceback" in capsys.readouterr().err


def test_an_answer_on_its_way_stays_what_it_is(tiny: Settings) -> None:
    _, (page,) = at_data(tiny, Order(count=2))
    line = Answer(samples=page).line()
    assert line.count(b"\n") == 1 and Answer.model_validate_json(line).samples == page
    assert json.loads(Answer(preparing="data").line()) == {"preparing": "data"}


def test_names_that_are_no_text_are_passed_on_written_out(tiny: Settings) -> None:
    splits = made(torch.zeros(2, 1, 4, 4), torch.tensor([0, 1]), "class", ("\udcff\ud800", "b" * 9000))
    facts = Answer.model_validate_json(Answer(data=preview.facts(splits, tiny)).line()).data
    assert facts is not None and facts.classes[0] == "\\udcff\\ud800" and len(facts.classes[1]) == 4000
    page = samples.page(splits, Settings(seed=0), Order(count=2))
    assert Answer.model_validate_json(Answer(samples=page).line()).samples == page
    assert "\\udcff" in Answer(error="\udcff is damaged").line().decode().replace("\\\\", "\\")
