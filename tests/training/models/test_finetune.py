"""Fine-tuning: layers that rest at first and rates that differ by layer are those of a plain loop, and are resumed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.training.plain_loop import Convolutional, only, prepared, steered
from tests.training.saving.test_resume import Broken, differences, prompt_disk  # noqa: F401
from tui_trainer.errors import ModelError, SettingsError
from tui_trainer.run import commands
from tui_trainer.run.commands import Inbox
from tui_trainer.run.events import BatchTrained, RunStarted, Warned
from tui_trainer.settings.schema import Settings
from tui_trainer.training import models
from tui_trainer.training.data import feeds
from tui_trainer.training.loop import fit
from tui_trainer.training.models import finetune
from tui_trainer.training.models.finetune import blocks
from tui_trainer.training.saving import safe_load, state
from tui_trainer.training.step import cuda_graph
from tui_trainer.training.step import step as stepping
from tui_trainer.training.step.optimizers import make_optimizer
from tui_trainer.training.step.schedule import Schedule

FREEZE: dict[str, Any] = {
    "model": "cnn",
    "model_arg": "",
    "freeze_epochs": 1,
    "limit_train_batches": 3,
    "batch_size": 16,
    "val_interval": 9,
}


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is measured stays in the caches."""
    monkeypatch.setattr(feeds, "EVALUATION_BATCH", 32)


def sizes(model: nn.Module) -> list[int]:
    return [sum(p.numel() for p in layer) for layer in blocks(model)]


def plain(settings: Settings, *, frozen: int, decay: float) -> tuple[list[float], list[Tensor]]:
    """A plain loop of the cnn with its first layers at rest for so many epochs, and rates that fall by layer."""
    course = prepared(settings)
    torch.manual_seed(0)
    network, losses = Convolutional(), []
    parts = [network.conv1, network.conv2, network.linear1, network.linear2]
    rates = [{"params": part.parameters(), "lr": 1e-3 * decay ** (3 - i)} for i, part in enumerate(parts)]
    optimizer = torch.optim.AdamW(rates, weight_decay=settings.weight_decay)
    for epoch in range(1, settings.epochs + 1):
        for part in parts[:-1]:
            part.requires_grad_(epoch > frozen)
        course.train_order.epoch = epoch
        for indices in course.train_order:
            X, y = course.splits.train[indices]
            loss = F.cross_entropy(network(X), y)
            optimizer.zero_grad()
            loss.backward()
            if settings.clip_grad:
                nn.utils.clip_grad_norm_(network.parameters(), settings.clip_grad)
            optimizer.step()
            losses.append(loss.item())
    return losses, [p.detach() for p in network.parameters()]


# --- layers ----------------------------------------------------------------------------------------------------------


def test_the_layers_of_plain_models_are_their_linear_layers_and_convolutions() -> None:
    mlp = models.build(Settings(), (1, 28, 28), 10)
    assert sizes(mlp) == [784 * 512 + 512, 512 * 512 + 512, 5130]
    assert len(blocks(models.build(Settings(model="cnn"), (1, 28, 28), 10))) == 4


def test_the_layers_of_torchvisions_models_are_their_blocks() -> None:
    from torchvision import models as zoo

    with torch.device("meta"):
        resnet, vit = zoo.resnet18(num_classes=10), zoo.vit_b_16(num_classes=10)
        found = {name: blocks(made) for name, made in {"resnet": resnet, "vit": vit}.items()}
        for name in ("convnext_tiny", "mobilenet_v3_small", "swin_t", "densenet121", "squeezenet1_0"):
            made = zoo.get_model(name, num_classes=10)
            found[name] = blocks(made)
            trained = [p for p in made.parameters() if p.requires_grad]
            assert sum(map(len, found[name])) == len(trained), name
    assert len(found["resnet"]) == 1 + 8 + 1 and sizes(resnet)[-1] == 5130 and sizes(resnet)[0] == 9408 + 128
    assert len(found["vit"]) == 1 + 12 + 1 and sizes(vit)[-1] == 7690
    assert {id(vit.class_token), id(vit.encoder.pos_embedding)} <= {id(p) for p in found["vit"][0]}
    assert all(found[name][-1][0].shape[0] == 10 for name in found)


def test_every_parameter_is_in_one_layer_and_those_that_never_learn_in_none() -> None:
    tied = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 2))
    tied[3].weight = tied[0].weight
    tied[0].bias.requires_grad_(False)
    assert [len(layer) for layer in blocks(tied)] == [4, 2] or [len(layer) for layer in blocks(tied)] == [1 + 2 + 1, 2]


# --- freezing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frozen", "decay", "used"),
    [(1, 1.0, {}), (5, 1.0, {}), (0, 0.5, {}), (1, 0.7, {"clip_grad": 0.5, "weight_decay": 0.1})],
    ids=["one epoch", "whole run", "layer decay", "both, clipped"],
)
def test_a_run_equals_a_plain_loop(
    tiny: Settings, tmp_path: Path, frozen: int, decay: float, used: dict[str, Any]
) -> None:
    settings = tiny.model_copy(update=FREEZE | {"optimizer": "adamw", "weight_decay": 0.01, "epochs": 3} | used)
    settings = settings.model_copy(update={"freeze_epochs": frozen, "layer_decay": decay})
    losses, weights = plain(settings, frozen=frozen, decay=decay)
    events = list(fit(settings, Inbox(), tmp_path))
    assert [e.loss for e in only(BatchTrained, events)] == pytest.approx(losses, rel=1e-4)
    ours = list(safe_load.load(tmp_path / "last.pt")["model_state_dict"].values())
    for one, other in zip(ours, weights, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=5e-5)
    assert {e.lr for e in only(BatchTrained, events)} == {1e-3}  # what is shown is the last layer's


def test_it_is_told_what_learns_and_from_when_on_everything_does(tiny: Settings) -> None:
    events = list(fit(tiny.model_copy(update=FREEZE), Inbox()))
    told = [(e.text, sum(isinstance(b, BatchTrained) for b in events[: events.index(e)])) for e in only(Warned, events)]
    assert told == [
        ("only the last layer learns, 1,290 parameters, until the end of epoch 1", 1),
        ("all layers learn from epoch 2 on", 4),
    ]
    (started,) = only(RunStarted, events)
    assert started.parameters == sum(own for _, _, own in started.layers) == 421_642
    whole = list(fit(tiny.model_copy(update=FREEZE | {"freeze_epochs": 9}), Inbox()))
    assert [e.text for e in only(Warned, whole)] == ["only the last layer learns, 1,290 parameters, in the whole run"]


def test_what_rests_keeps_its_weights_and_statistics(tiny: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    build = models.build
    monkeypatch.setattr(models, "build", lambda *words, **more: nn.Sequential(nn.BatchNorm2d(1), build(*words, **more)))
    course = prepared(tiny.model_copy(update=FREEZE))
    before = {name: value.clone() for name, value in course.model.state_dict().items()}
    for epoch, wanted in ((1, {"1.10.weight", "1.10.bias"}), (2, set(before))):
        if epoch > 1:
            course.begin_epoch(epoch)
        course.learning_mode()
        for batch, (X, y) in course.train_batches():
            course.step(X, y, batch)
            course.progress.batch += 1
        after = course.model.state_dict()
        assert {name for name in before if not torch.equal(before[name], after[name])} == wanted
        assert all(p.grad is not None for name, p in course.model.named_parameters() if name in wanted)
        assert all(p.grad is None for name, p in course.model.named_parameters() if name not in wanted)


def test_the_tape_is_begun_anew_when_other_layers_learn(tiny: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tiny.model_copy(update=FREEZE | {"layer_decay": 0.8})
    course = prepared(settings)
    tapes = []
    for epoch in (1, 2):
        if epoch > 1:
            course.begin_epoch(epoch)
        for batch, (X, y) in course.train_batches():
            course.step(X, y, batch)
            course.progress.batch += 1
        tapes.append(course.step.tape)
        assert tapes[-1] is not None and tapes[-1]._replay is not None and not tapes[-1].refused
    assert tapes[0] is not tapes[1] and [len(tape._parameters) for tape in tapes] == [2, 8]
    taped = [e.loss for e in only(BatchTrained, fit(settings, Inbox()))]
    monkeypatch.setattr(stepping, "replays", lambda *_: False)
    assert [e.loss for e in only(BatchTrained, fit(settings, Inbox()))] == taped


def test_a_recorded_step_is_recorded_anew_when_other_layers_learn(tiny: Settings) -> None:
    course, recorded = prepared(tiny.model_copy(update=FREEZE | {"limit_train_batches": 6, "epochs": 2})), []

    def record(step: Any) -> Any:
        recorded.append([p.requires_grad for p in course.model.parameters()])
        return step, step()

    parameters = list(course.model.parameters())
    course.step._replayed = None
    course.step.graph = cuda_graph.Graph(course.step.learn, parameters, pytest.fail, record)
    for epoch in (1, 2):
        if epoch > 1:
            course.begin_epoch(epoch)
        for batch, (X, y) in course.train_batches():
            course.step(X, y, batch)
            course.progress.batch += 1
    assert recorded == [[False] * 6 + [True] * 2, [True] * 8]


KINDS: dict[str, dict[str, Any]] = {
    "adamw, average": {"optimizer": "adamw", "ema": 0.9},
    "sgd, accumulation, clipping": {
        "optimizer": "sgd",
        "momentum": 0.9,
        "grad_accum_steps": 2,
        "clip_grad": 0.5,
        "limit_train_batches": 4,
    },
    "rmsprop, layer decay, cosine": {"optimizer": "rmsprop", "layer_decay": 0.7, "scheduler": "cosine"},
    "adagrad, layer decay, plateau": {
        "optimizer": "adagrad",
        "layer_decay": 0.7,
        "scheduler": "plateau",
        "val_interval": 1,
        "decay_epochs": 1,
        "min_delta": 5.0,
        "min_lr": 5e-4,
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_broken_off_before_and_after_ends_as_one_that_never_was(
    tiny: Settings, tmp_path: Path, kind: str
) -> None:
    used = FREEZE | {"freeze_epochs": 2, "epochs": 3, "save_interval": 0} | KINDS[kind]
    settings = Settings(**(tiny.model_dump() | used))
    whole, broken = Broken(settings, tmp_path / "whole"), Broken(settings, tmp_path / "broken")
    whole.go()
    per_epoch = settings.limit_train_batches
    broken.go({1: [commands.SaveCheckpoint()]}, kill_at=2)
    broken.go(kill_at=2 * per_epoch + 1)  # from the end of an epoch, whose layers rested
    broken.go({2 * per_epoch + 1: [commands.SaveCheckpoint()]}, kill_at=2 * per_epoch + 2)
    broken.go()
    assert broken.losses() == whole.losses() and differences(whole.outcome(), broken.outcome()) == []


def test_a_run_that_goes_back_rests_again(tiny: Settings, tmp_path: Path) -> None:
    settings = tiny.model_copy(update=FREEZE)
    events = steered(settings, {2: [commands.SaveCheckpoint()]}, tmp_path)
    assert len(only(BatchTrained, events)) == 6
    course = prepared(settings)
    saved = safe_load.load(tmp_path / "prev.pt")
    assert saved["epoch"] == 1
    course.begin_epoch(2)
    assert all(p.requires_grad for p in course.model.parameters())
    course.restore(state.State.from_checkpoint(saved, "prev.pt"), "prev.pt")
    assert [p.requires_grad for p in course.model.parameters()] == [False] * 6 + [True] * 2


@pytest.mark.parametrize(
    "used",
    [
        {"dry_run": True, "mixup": 0.2, "cutmix": 1.0, "sampler": "balanced", "batch_size": 0},
        {"limit_train_batches": 2, "mixup": 0.2, "sampler": "balanced", "class_weights": "balanced"},
        {"overfit_batches": 2, "limit_train_batches": 0, "class_weights": "balanced"},
    ],
    ids=["dry run", "limited", "overfitted"],
)
def test_short_runs_go_through_all_that_training_has(tiny: Settings, used: dict[str, Any]) -> None:
    parts = {"freeze_epochs": 1, "layer_decay": 0.7, "augment": "rand_augment", "ema": 0.9, "clip_grad": 1.0}
    events = list(fit(Settings(**(tiny.model_dump() | parts | used)), Inbox()))
    assert events[-1].reason == "finished"
    assert [e.epoch for e in only(BatchTrained, events)] == ([1] if "dry_run" in used else [1, 1, 2, 2])


def test_a_model_of_one_layer_has_nothing_to_freeze(tiny: Settings) -> None:
    with pytest.raises(ModelError, match="freeze_epochs: mlp has one layer, which must learn"):
        finetune.Freezing(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), tiny.model_copy(update={"freeze_epochs": 1}))


# --- rates -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recorded", [False, True], ids=["numbers", "tensors"])
def test_each_layer_has_its_share_of_the_rate_whatever_moves_it(tiny: Settings, recorded: bool) -> None:
    used = {"layer_decay": 0.5, "scheduler": "plateau", "lr": 0.8, "decay_epochs": 0, "decay_rate": 0.5, "min_lr": 0.3}
    settings = tiny.model_copy(update=used)
    optimizer = make_optimizer(models.build(settings, (1, 28, 28), 10), settings, graph=recorded)
    schedule = Schedule(optimizer, settings, 10)

    def held() -> list[float]:
        return [float(group["lr"]) for group in optimizer.param_groups]

    assert held() == pytest.approx([0.8, 0.4, 0.2])
    assert not schedule.after_validation(1.0, 10) and held() == pytest.approx([0.8, 0.4, 0.2])
    assert schedule.after_validation(1.0, 20) and schedule.lr == pytest.approx(0.4)
    assert held() == pytest.approx([0.4, 0.2, 0.1])
    assert schedule.after_validation(1.0, 30) and held() == pytest.approx([0.3, 0.15, 0.075])  # min_lr
    schedule.set_lr(1.0, 30)
    assert held() == pytest.approx([1.0, 0.5, 0.25]) and schedule.lr == 1.0
    schedule.before_update(31)
    assert held() == pytest.approx([1.0, 0.5, 0.25])


def test_an_optimizer_of_ones_own_takes_no_rates_by_layer() -> None:
    with pytest.raises(SettingsError, match="layer_decay: an optimizer of your own gets all parameters alike"):
        Settings(optimizer="mine.py:Lion", layer_decay=0.5)
