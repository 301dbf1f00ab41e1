"""Each task learns as a plain loop does, measures what a slow count measures, and carries on to the last bit."""

import csv
import dataclasses
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from tests import replay
from tests.training.data.tables import PARTS, table
from tests.training.plain_loop import only, prepared
from tests.training.saving.test_resume import Broken, differences, prompt_disk  # noqa: F401
from tui_trainer.cli.local_run import local_run
from tui_trainer.errors import DataError, ModelError
from tui_trainer.run import commands
from tui_trainer.run.commands import Inbox
from tui_trainer.run.events import BatchTrained, Evaluated, RunEnded, RunStarted
from tui_trainer.run.events_json import rounded
from tui_trainer.settings.schema import Settings
from tui_trainer.settings.sources import read_toml
from tui_trainer.training import tasks
from tui_trainer.training.after.export import export
from tui_trainer.training.after.predict import Prediction, predict_split
from tui_trainer.training.after.trained import load_trained
from tui_trainer.training.data.batches import Order
from tui_trainer.training.data.examples import Data, Tensors, moments
from tui_trainer.training.data.splits import stratified
from tui_trainer.training.loop import fit

Loss = Callable[[Tensor, Tensor], Tensor]
BATCHES = 6


def yes_no(text: list[str]) -> Tensor:
    return torch.tensor([[float(word == "feet")] for word in text])


def numbers(*columns: list[str]) -> Tensor:
    return torch.tensor([[float(value) for value in row] for row in zip(*columns, strict=True)])


def smooth(y: Tensor) -> Tensor:
    return 0.9 * y + 0.05


@dataclass
class Case:
    """A task in plain PyTorch: its targets as a loss takes them, and its losses."""

    task: str
    target: str
    y: Callable[..., Tensor]
    losses: dict[str, Loss]
    more: dict[str, Any] = field(default_factory=dict)
    standardised: bool = False
    of_class: bool = False
    weighted: bool = False


SIGMOID: dict[str, Loss] = {
    "bce": nn.BCEWithLogitsLoss(),
    "mse": lambda pred, y: ((torch.sigmoid(pred) - y) ** 2).mean(),
    "l1": lambda pred, y: (torch.sigmoid(pred) - y).abs().mean(),
}
PLAIN: dict[str, Loss] = {"mse": nn.MSELoss(), "l1": nn.L1Loss(), "huber": nn.HuberLoss()}
SHARES: dict[str, Loss] = {
    "kl_div": lambda pred, y: (y * (y.log() - F.log_softmax(pred, 1))).sum(1).mean(),
    "cross_entropy": lambda pred, y: -(y * F.log_softmax(pred, 1)).sum(1).mean(),
    "mse": lambda pred, y: ((torch.softmax(pred, 1) - y) ** 2).mean(),
    "l1": lambda pred, y: (torch.softmax(pred, 1) - y).abs().mean(),
}
SMOOTHED = {"label_smoothing": 0.1}

CASES = {
    "binary": Case("binary", "worn", yes_no, SIGMOID, of_class=True),
    "binary, smoothed": Case(
        "binary",
        "worn",
        yes_no,
        {"bce": lambda pred, y: nn.BCEWithLogitsLoss()(pred, smooth(y))},
        SMOOTHED,
        of_class=True,
    ),
    "binary, weighted": Case(
        "binary",
        "worn",
        yes_no,
        {"bce": nn.BCEWithLogitsLoss()},
        {"class_weights": "balanced"},
        of_class=True,
        weighted=True,
    ),
    "multilabel": Case("multilabel", "shoe,upper,bright", numbers, SIGMOID),
    "multilabel, weighted": Case(
        "multilabel",
        "shoe,upper,bright",
        numbers,
        {"bce": nn.BCEWithLogitsLoss()},
        {"class_weights": "balanced"},
        weighted=True,
    ),
    "regression": Case("regression", "lower", numbers, PLAIN, standardised=True),
    "regression of two": Case("regression", "lower,ink", numbers, {"mse": nn.MSELoss()}, standardised=True),
    "regression as it is": Case("regression", "ink", numbers, {"l1": nn.L1Loss()}, {"normalize": "none"}),
    "distribution": Case("distribution", "top,middle,bottom", numbers, SHARES),
    "distribution, smoothed": Case(
        "distribution",
        "top,middle,bottom",
        numbers,
        {"cross_entropy": lambda pred, y: SHARES["cross_entropy"](pred, 0.9 * y + 0.1 / 3)},
        SMOOTHED,
    ),
}
EACH = [(name, loss) for name, case in CASES.items() for loss in case.losses]


def settings_of(tiny: Settings, case: Case, path: Path, **more: Any) -> Settings:
    where = {"dataset": f"table:{path}", "target": case.target, "task": case.task, "batch_size": 32}
    return tiny.model_copy(update=where | {"limit_train_batches": BATCHES} | case.more | more)


def plain_run(case: Case, path: Path, loss_fn: Loss, seed: int = 0) -> tuple[list[float], list[float]]:
    """The losses of every batch, and those on the held-out part after each of two epochs; read by nothing of ours."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    X = torch.tensor([[float(row[name]) for name in PARTS] for row in rows])
    y = case.y(*([row[name] for row in rows] for name in case.target.split(",")))
    held_out = stratified(y[:, 0].long() if case.of_class else torch.zeros(len(y)).long(), 0.1, seed)
    if case.more.get("normalize") != "none":
        X = (X - X[~held_out].mean(0)) / X[~held_out].std(0, correction=0)
    if case.standardised:
        y = (y - y[~held_out].mean(0)) / y[~held_out].std(0, correction=0)
    torch.manual_seed(seed)
    layers = (nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, y.shape[1]))
    network = nn.Sequential(*layers)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    train_X, train_y = X[~held_out], y[~held_out]
    learned = nn.BCEWithLogitsLoss(pos_weight=1 / train_y.mean(0) - 1) if case.weighted else loss_fn
    order, losses, measured = Order(len(train_y), 32, seed=seed, limit=BATCHES), [], []
    for epoch in (1, 2):
        order.epoch = epoch
        for indices in order:
            loss = learned(network(train_X[indices]), train_y[indices])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        with torch.no_grad():
            measured.append(loss_fn(network(X[held_out]), y[held_out]).item())
    return losses, measured


@pytest.mark.parametrize(("name", "loss"), EACH)
def test_a_run_of_each_task_equals_a_plain_loop(name: str, loss: str, tiny: Settings, tmp_path: Path) -> None:
    case = CASES[name]
    path = table(tmp_path / "table.csv", case.target)
    losses, measured = plain_run(case, path, case.losses[loss])
    events = list(fit(settings_of(tiny, case, path, loss=loss), Inbox()))
    close = {"rel": 2e-4, "abs": 1e-6}  # ours is normalised in double precision
    assert [e.loss for e in only(BatchTrained, events)] == pytest.approx(losses, **close)
    assert [e.loss for e in only(Evaluated, events)] == pytest.approx(measured, **close)


@pytest.mark.parametrize("name", ["binary", "multilabel", "regression", "distribution"])
def test_the_first_loss_of_each_task_is_used_when_none_is_named(name: str, tiny: Settings, tmp_path: Path) -> None:
    case = CASES[name]
    settings = settings_of(tiny, case, table(tmp_path / "table.csv", case.target, rows=100))
    assert prepared(settings).settings.loss == next(iter(case.losses))


# --- measuring -----------------------------------------------------------------------------------------------------


def data_of(y: Tensor, kind: str, names: int, standardised: bool = False) -> Data:
    """Data with these targets on both sides."""
    examples = Tensors(torch.zeros(len(y), 1), y)
    mean, std = moments(y) if standardised else (torch.empty(0), torch.empty(0))
    return Data(
        name="made up",
        source="",
        classes=tuple(f"name {n}" for n in range(names)),
        kind=kind,
        shape=(1,),
        train=examples,
        valid=examples,
        test=None,
        target_mean=tuple(mean.tolist()),
        target_std=tuple(std.tolist()),
    )


def measured(task: str, data: Data, outputs: Tensor) -> dict[str, Any]:
    """What the task's meter makes of outputs [N, K] for all of the data, which come in batches of odd sizes."""
    found = tasks.find(Settings(task=task), data)
    meter = found.meter(data, torch.device("cpu"))
    targets = found.targets(data.train.targets)
    for pred, y in zip(outputs.split(7), targets.split(7), strict=True):
        meter.add(pred, y)
    return meter.figures()


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", range(3))
def test_the_scores_of_yes_or_no_are_those_counted_one_by_one(seed: int) -> None:
    y = (random(50, seed=seed) > 0.3).long()
    outputs = (2 * random(50, 1, seed=seed + 9) + y[:, None]).round(decimals=1)  # with ties
    found = measured("binary", data_of(y, "class", 2), outputs)
    said, true = [value > 0 for value in outputs[:, 0].tolist()], y.tolist()
    cells = {
        (t, s): sum(1 for a, b in zip(true, said, strict=True) if (a, b) == (t, s)) for t in (0, 1) for s in (0, 1)
    }
    assert found["confusion"] == ((cells[0, 0], cells[0, 1]), (cells[1, 0], cells[1, 1]))
    assert found["accuracy"] == (cells[0, 0] + cells[1, 1]) / 50
    precision = cells[1, 1] / (cells[1, 1] + cells[0, 1])
    recall = cells[1, 1] / (cells[1, 1] + cells[1, 0])
    area = np.mean(
        [
            1.0 if a > b else 0.5 if a == b else 0.0
            for a, t in zip(outputs[:, 0].tolist(), true, strict=True)
            for b, f in zip(outputs[:, 0].tolist(), true, strict=True)
            if t and not f
        ]
    )
    wanted = {
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall),
        "auc": area,
    }
    assert found["scores"] == pytest.approx(wanted)


def test_scores_that_nothing_speaks_for_are_0_and_an_area_without_both_kinds_is_not_told() -> None:
    found = measured("binary", data_of(torch.zeros(9, dtype=torch.int64), "class", 2), -torch.ones(9, 1))
    assert found["accuracy"] == 1.0
    assert found["scores"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    nothing = measured("binary", data_of(torch.arange(2), "class", 2), torch.full((2, 1), math.nan))
    assert "auc" not in nothing["scores"]


def test_the_probabilities_of_yes_or_no_are_those_of_both_classes() -> None:
    outputs = torch.tensor([[0.0], [3.0], [-90.0]])
    both = tasks.named("binary").probabilities(outputs)
    torch.testing.assert_close(both.sum(1), torch.ones(3))
    torch.testing.assert_close(both[:, 1], outputs[:, 0].sigmoid())


@pytest.mark.parametrize("seed", range(3))
def test_the_scores_of_labels_are_those_counted_one_by_one(seed: int) -> None:
    y = (random(40, 5, seed=seed) > 0.5).float()
    y[:, 4] = 0  # a label that nothing has
    outputs = random(40, 5, seed=seed + 9) + y
    outputs[:, 4] = -1
    found = measured("multilabel", data_of(y, "labels", 5), outputs)
    rows, hits, exact, pooled = [], 0, 0, [0, 0, 0]
    for label in range(5):
        right = sum(1 for n in range(40) if y[n, label] == 1 and outputs[n, label] > 0)
        extra = sum(1 for n in range(40) if y[n, label] == 0 and outputs[n, label] > 0)
        missed = sum(1 for n in range(40) if y[n, label] == 1 and outputs[n, label] <= 0)
        hits += 40 - extra - missed
        pooled = [a + b for a, b in zip(pooled, (right, extra, missed), strict=True)]
        precision, recall = right / max(1, right + extra), right / max(1, right + missed)
        f1 = 2 * precision * recall / (precision + recall) if right else 0.0
        rows.append((precision, recall, f1, right + missed))
    for n in range(40):
        exact += all((y[n, k] == 1) == (outputs[n, k] > 0) for k in range(5))
    assert [row[3] for row in found["labels"]] == [row[3] for row in rows]
    assert np.array(found["labels"]) == pytest.approx(np.array(rows))
    right, extra, missed = pooled
    assert found["accuracy"] == hits / 200
    assert found["scores"] == pytest.approx(
        {
            "f1": sum(row[2] for row in rows) / 5,
            "f1_micro": 2 * right / (2 * right + extra + missed),
            "exact_match": exact / 40,
        }
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_scores_of_shares_are_those_counted_one_by_one(seed: int) -> None:
    y, outputs = random(30, 4, seed=seed).softmax(1), random(30, 4, seed=seed + 9)
    found = measured("distribution", data_of(y, "share", 4), outputs)
    confusion, apart = [[0] * 4 for _ in range(4)], 0.0
    for n in range(30):
        said = [math.exp(v) for v in outputs[n].tolist()]
        said = [v / sum(said) for v in said]
        confusion[int(y[n].argmax())][said.index(max(said))] += 1
        apart += sum(abs(a - b) for a, b in zip(said, y[n].tolist(), strict=True)) / 2
    assert [list(row) for row in found["confusion"]] == confusion
    assert found["accuracy"] == sum(confusion[i][i] for i in range(4)) / 30
    assert found["scores"] == pytest.approx({"total_variation": apart / 30})


@pytest.mark.parametrize("standardised", [True, False])
@pytest.mark.parametrize("columns", [1, 2])
def test_the_errors_of_numbers_are_those_counted_one_by_one(columns: int, standardised: bool) -> None:
    unit, middle = torch.tensor([40.0, 0.002])[:columns], torch.tensor([1e4, -1.0])[:columns]
    y = random(300, columns, seed=1) * unit + middle
    y[0] = middle + 9 * unit  # an outlier
    pred = y + 0.2 * unit * random(300, columns, seed=2)
    mean, std = (part.float() for part in moments(y))
    found = measured(
        "regression", data_of(y, "number", columns, standardised), (pred - mean) / std if standardised else pred
    )
    errors = (pred - y).double().numpy()
    total = ((y.double() - y.double().mean(0)) ** 2).sum(0).numpy()
    assert found["scores"] == pytest.approx(
        {
            "mae": np.abs(errors).mean(0).mean(),
            "rmse": np.sqrt((errors**2).mean(0)).mean(),
            "r2": (1 - (errors**2).sum(0) / total).mean(),
        },
        rel=1e-3,
    )
    assert "accuracy" not in found and "confusion" not in found

    own = columns == 1  # several numbers share no unit: they are in standard deviations
    true, said = (y, pred) if own else ((y - mean) / std, (pred - mean) / std)
    low, high, spread = found["low"], found["high"], found["spread"]
    lowest = max(-3.0, float(((y - mean) / std).min()))
    ends = [float(mean + lowest * std), float(mean + 3 * std)] if own else [lowest, 3.0]
    assert [low, high] == pytest.approx(ends, rel=1e-5)
    density, residuals = np.zeros((24, 24), int), np.zeros(24, int)
    for a, b in zip(true.flatten().double().tolist(), said.flatten().double().tolist(), strict=True):
        i, j = (min(23, max(0, math.floor((v - low) / (high - low) * 24))) for v in (a, b))
        density[i, j] += 1
        residuals[min(23, max(0, math.floor(((b - a) / spread + 1) / 2 * 24)))] += 1
    assert np.abs(np.array(found["density"]) - density).sum() <= 4  # where a number lies on an edge
    assert np.abs(np.array(found["residuals"]) - residuals).sum() <= 4
    assert np.array(found["density"]).sum() == sum(found["residuals"]) == 300 * columns


def test_residuals_are_looked_at_as_closely_as_nearly_all_of_them_allow() -> None:
    y = torch.linspace(0, 100, 500)[:, None]
    for error, closest in ((0.01, 100 / 128), (1.0, 100 / 64), (30.0, 50.0)):
        spread = measured("regression", data_of(y, "number", 1), y + error * random(500, 1, seed=3).clamp(-1, 1))[
            "spread"
        ]
        assert error < spread == pytest.approx(closest)


def test_numbers_that_are_not_finite_are_counted_and_make_no_score() -> None:
    y = torch.arange(4.0)[:, None]
    found = measured("regression", data_of(y, "number", 1), torch.tensor([[math.nan], [math.inf], [1.0], [-math.inf]]))
    assert found["scores"] == {} and sum(found["residuals"]) == 4


def test_targets_that_never_change_can_be_measured() -> None:
    found = measured("regression", data_of(torch.full((4, 1), 7.0), "number", 1, True), torch.zeros(4, 1))
    assert found["scores"] == {"mae": 0.0, "rmse": 0.0} and found["low"] < 7 < found["high"]


def test_predicted_numbers_mean_numbers_in_the_targets_own_unit() -> None:
    y = torch.tensor([[10.0, -1.0], [30.0, -3.0]])
    task = tasks.find(Settings(), data_of(y, "number", 2, standardised=True))
    torch.testing.assert_close(task.targets(y), torch.tensor([[-1.0, 1.0], [1.0, -1.0]]))
    torch.testing.assert_close(task.probabilities(task.targets(y)), y)


# --- in a run ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["binary", "multilabel", "regression", "distribution"])
def test_a_run_of_each_task_that_is_broken_off_ends_as_one_that_never_was(
    name: str, tiny: Settings, tmp_path: Path
) -> None:
    case = CASES[name]
    path = table(tmp_path / "table.csv", case.target, rows=200)
    more = {"loss": next(iter(case.losses)), "save_interval": 0, "limit_train_batches": 5}
    settings = Settings(**settings_of(tiny, case, path, **more).model_dump())
    whole = Broken(settings, tmp_path / "whole")
    whole.go()
    run = Broken(settings, tmp_path / "broken")
    run.go({3: [commands.SaveCheckpoint()]}, kill_at=4)  # step 4 is lost, and taken again
    run.go({8: [commands.Stop()]})
    run.go()
    assert differences(whole.outcome(), run.outcome()) == []
    assert run.losses() == whole.losses()


@pytest.mark.parametrize(
    ("name", "monitor", "best"),
    [("multilabel", "f1", max), ("regression", "mae", min), ("regression", "r2", max), ("binary", "auc", max)],
)
def test_what_is_monitored_decides_which_epoch_is_best(
    name: str, monitor: str, best: Any, tiny: Settings, tmp_path: Path
) -> None:
    case = CASES[name]
    path = table(tmp_path / "table.csv", case.target, rows=200)
    run = fit(settings_of(tiny, case, path, monitor=f"valid_{monitor}", lr=0.03, epochs=3), Inbox())
    *events, ended = run
    valid = only(Evaluated, events)
    assert isinstance(ended, RunEnded)
    assert ended.best_scores[monitor] == best(event.score(monitor) for event in valid)
    assert valid[(ended.best_epoch or 0) - 1].scores == ended.best_scores


def test_a_score_that_the_task_does_not_measure_cannot_be_monitored(tiny: Settings, tmp_path: Path) -> None:
    case = CASES["regression"]
    path = table(tmp_path / "table.csv", case.target, rows=60)
    with pytest.raises(ModelError, match=r"regression measures valid_loss, valid_mae, valid_rmse, valid_r2\.$"):
        prepared(settings_of(tiny, case, path, monitor="valid_accuracy"))


@pytest.mark.parametrize(
    ("target", "more", "error", "words"),
    [
        ("class", {"task": "binary"}, ModelError, "task binary does not fit .*: it has 10 classes"),
        ("class", {"task": "regression"}, DataError, "class holds texts, and regression must be numbers"),
        ("lower", {"task": "classification"}, DataError, "lower has .* different values in 120 rows: these are no"),
        ("lower", {"loss": "cross_entropy"}, ModelError, "cross_entropy does not fit regression: use mse, l1, huber"),
        ("lower", {"label_smoothing": 0.1}, ModelError, "numbers have no labels to smooth"),
        ("worn", {"loss": "huber"}, ModelError, "huber does not fit classification"),
    ],
)
def test_what_does_not_fit_the_task_is_told(
    target: str, more: dict[str, Any], error: type[Exception], words: str, tiny: Settings, tmp_path: Path
) -> None:
    path = table(tmp_path / "table.csv", target, rows=120)
    settings = tiny.model_copy(update={"dataset": f"table:{path}", "target": target} | more)
    with pytest.raises(error, match=words):
        prepared(settings)


def test_the_loss_that_was_used_is_in_run_toml(tiny: Settings, tmp_path: Path) -> None:
    case = CASES["distribution"]
    path = table(tmp_path / "table.csv", case.target, rows=60)
    run = local_run(settings_of(tiny, case, path, dry_run=True))
    events = list(run.events())
    assert only(RunEnded, events)[0].reason == "finished"
    assert run.folder is not None and "-mlp-" in run.folder.path.name
    assert read_toml(run.folder.manifest).values["loss"] == "kl_div"


@pytest.mark.parametrize("name", ["binary", "multilabel", "regression", "distribution"])
def test_a_run_of_each_task_predicts_and_is_exported_as_it_was_measured(
    name: str, tiny: Settings, tmp_path: Path
) -> None:
    case = CASES[name]
    path = table(tmp_path / "table.csv", case.target, rows=120)
    run = local_run(settings_of(tiny, case, path, epochs=1, limit_train_batches=2, name="it"))
    valid = only(Evaluated, run.events())[-1]
    assert run.folder is not None
    trained = load_trained(run.folder)
    steps, said = predict_split(trained, "valid", top=2), []
    while True:
        try:
            said.append(next(steps))
        except StopIteration as done:
            figures = done.value
            break
    assert rounded(dataclasses.replace(valid, **figures)) == valid
    found = only(Prediction, said)
    assert len(found) == 12 and all(len(one.top) == (0 if name == "regression" else 2) for one in found)
    if name == "regression":
        errors = [abs(one.numbers[0] - one.true[0]) for one in found]
        assert sum(errors) / 12 == pytest.approx(valid.scores["mae"], rel=1e-4)
    elif len(valid.confusion):
        right = [one.top[0][0] == (one.true[0] if len(one.true) == 1 else np.argmax(one.true)) for one in found]
        assert sum(right) / 12 == pytest.approx(valid.accuracy)

    *_, last = export(run.folder, "safetensors")
    assert last.endswith("written")
    with safe_open(run.folder.path / "exports" / "best.safetensors", "pt") as file:
        about = file.metadata()
    assert about["outputs"].startswith("one ")
    assert [column["column"] for column in json.loads(about["preprocessing"])["columns"]] == PARTS
    assert ("targets" in about) == (name == "regression")


@pytest.mark.parametrize("task", ["binary", "multilabel", "regression", "distribution"])
def test_the_journal_of_each_task_holds_all_that_it_measures(task: str) -> None:
    events = replay.events(task)
    started, valid = only(RunStarted, events)[0], only(Evaluated, events)[-1]
    assert started.task == task and [tuple(score) for score in started.scores] == list(tasks.named(task).scores)
    assert all(valid.score(name) is not None for name, *_ in started.scores)
