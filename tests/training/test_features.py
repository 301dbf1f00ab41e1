"""Each setting and each command does what it says: held against torch's own, or against the same run without it."""

import errno
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler

from tests.training.plain_loop import (
    NARROW,
    NeuralNetwork,
    Orders,
    measure,
    mini,
    only,
    plain_loop,
    prepared,
    steered,
)
from tui_trainer import disk
from tui_trainer.errors import DeviceError, DivergedError, ModelError, TrainerError
from tui_trainer.run import commands
from tui_trainer.run.commands import Command, Inbox
from tui_trainer.run.events import (
    BatchTrained,
    CheckpointSaved,
    EpochEnded,
    Evaluated,
    Event,
    LearningRateChanged,
    RunEnded,
    RunHandedOver,
    RunPaused,
    RunResumed,
    RunStarted,
    Warned,
)
from tui_trainer.settings.schedule import lr_factor
from tui_trainer.settings.schema import Settings
from tui_trainer.training import models
from tui_trainer.training.before.prepare import SANITY_BATCHES
from tui_trainer.training.course import Course
from tui_trainer.training.devices import pick
from tui_trainer.training.loop import epochs, fit, train
from tui_trainer.training.saving.safe_load import load
from tui_trainer.training.step import step as stepping
from tui_trainer.training.step.losses import LOSSES
from tui_trainer.training.step.schedule import Schedule

CPU = torch.device("cpu")
NEVER = 1e6
"""A `min_delta` that no epoch improves by."""


def run(settings: Settings, folder: Path | None = None, **used: object) -> list[Event]:
    return list(fit(settings.model_copy(update=used), Inbox(), folder))


def losses(events: list[Event]) -> list[float]:
    return [event.loss for event in only(BatchTrained, events)]


def rates(events: list[Event]) -> list[float]:
    return [event.lr for event in only(BatchTrained, events)]


def validations(events: list[Event]) -> list[Evaluated]:
    return [event for event in only(Evaluated, events) if event.split == "valid"]


def evaluated(loss: float, accuracy: float = 0.5) -> Evaluated:
    return Evaluated(split="valid", epoch=1, step=1, loss=loss, accuracy=accuracy, confusion=(), seconds=0.0)


def weights_in(path: Path) -> list[Tensor]:
    return list(load(path)["model_state_dict"].values())


def assert_close(ours: list[Tensor], theirs: list[Tensor], tolerance: float) -> None:
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


class Clock:
    """The monotonic clock, which a test can put forward."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead, real = 0.0, time.monotonic
        monkeypatch.setattr(time, "monotonic", lambda: real() + self.ahead)


# --- best, patience, monitor ---------------------------------------------------------------------------------------


def test_training_ends_early_after_as_many_validations_without_improvement_as_patience_says(tiny: Settings) -> None:
    used = {"epochs": 6, "limit_train_batches": 1, "min_delta": NEVER}
    events = run(tiny, **used, patience=2)
    assert [e.epoch for e in validations(events)] == [1, 2, 3]
    assert (events[-1].reason, events[-1].exit_code, events[-1].best_epoch) == ("out_of_patience", 0, 1)

    without = run(tiny, **used)
    assert [e.epoch for e in validations(without)] == [1, 2, 3, 4, 5, 6]
    assert without[-1].reason == "finished"


def test_an_improvement_starts_the_patience_anew(tiny: Settings) -> None:
    course = prepared(tiny.model_copy(update={"patience": 2, "min_delta": 0.05}))
    values = [1.0, 0.97, 0.9, 0.86, 0.86, 0.84, 0.7, 0.7, 0.7]
    seen = [
        (course.is_best(evaluated(value)), course.progress.unimproved, course.out_of_patience()) for value in values
    ]
    assert [best for best, _, _ in seen] == [True, False, True, False, False, True, True, False, False]
    assert [unimproved for _, unimproved, _ in seen] == [0, 1, 0, 1, 2, 0, 0, 1, 2]
    assert [out for _, _, out in seen] == [False, False, False, False, True, False, False, False, True]


def test_monitor_decides_by_accuracy_when_it_is_told_to(tiny: Settings) -> None:
    results = [evaluated(1.0, 0.5), evaluated(0.8, 0.4), evaluated(1.2, 0.6), evaluated(0.5, 0.6)]
    by_loss = prepared(tiny)
    by_accuracy = prepared(tiny.model_copy(update={"monitor": "valid_accuracy"}))
    assert [by_loss.is_best(result) for result in results] == [True, True, False, True]
    assert [by_accuracy.is_best(result) for result in results] == [True, False, True, False]


def test_a_run_monitored_by_accuracy_ends_with_its_most_accurate_epoch_as_best(tiny: Settings, tmp_path: Path) -> None:
    events = run(tiny, tmp_path, epochs=5, monitor="valid_accuracy", optimizer="sgd", lr=0.3)
    best = max(validations(events), key=lambda e: (e.accuracy, -e.epoch))
    assert (events[-1].best_epoch, events[-1].best_accuracy) == (best.epoch, best.accuracy)
    assert load(tmp_path / "best.pt")["epoch"] == best.epoch


def test_a_value_that_is_not_finite_is_never_best_and_uses_up_patience(tiny: Settings) -> None:
    course = prepared(tiny.model_copy(update={"patience": 2}))
    assert [course.is_best(evaluated(value)) for value in (float("nan"), float("inf"))] == [False, False]
    assert course.progress.best is None and course.out_of_patience()


# --- schedules -----------------------------------------------------------------------------------------------------


def rates_of_torch(lr: float, updates: int, make: Callable[[torch.optim.Optimizer], object]) -> list[float]:
    """What a scheduler of torch, stepped after each update, gives to each update."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler, seen = make(optimizer), []
    for _ in range(updates):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(seen) < updates:
            scheduler.step()
    return seen


SCHEDULES: dict[str, tuple[dict[str, object], Callable[[torch.optim.Optimizer], object]]] = {
    "cosine": (
        {"scheduler": "cosine", "min_lr": 1e-4},
        lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=20, eta_min=1e-4),
    ),
    "step": (
        {"scheduler": "step", "decay_epochs": 2, "decay_rate": 0.5},
        lambda o: lr_scheduler.StepLR(o, step_size=8, gamma=0.5),
    ),
    "onecycle": (
        {"scheduler": "onecycle"},
        lambda o: lr_scheduler.OneCycleLR(o, max_lr=0.01, total_steps=20, cycle_momentum=False),
    ),
    "warm-up": (
        {"warmup_epochs": 1.5},
        lambda o: lr_scheduler.LinearLR(o, start_factor=0.01, total_iters=6),
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_learning_rate_follows_the_scheduler_of_torch(tiny: Settings, name: str) -> None:
    used, make = SCHEDULES[name]
    expected = rates_of_torch(0.01, 20, make)
    assert len(set(expected)) > 1
    events = run(tiny, lr=0.01, epochs=5, limit_train_batches=4, **used)
    assert rates(events) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("total", [1, 2, 3, 4, 7, 10, 11, 40])
def test_onecycle_equals_torch_for_short_runs_too(tiny: Settings, total: int) -> None:
    def make(optimizer: torch.optim.Optimizer) -> object:
        return lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=total, cycle_momentum=False)

    settings = tiny.model_copy(update={"scheduler": "onecycle", "lr": 0.01, "epochs": 1})
    ours = [0.01 * lr_factor(settings, update, total) for update in range(total)]
    assert ours == pytest.approx(rates_of_torch(0.01, total, make), rel=1e-6)


def test_cosine_falls_over_the_updates_that_warm_up_leaves(tiny: Settings) -> None:
    warm = rates_of_torch(0.01, 4, lambda o: lr_scheduler.LinearLR(o, start_factor=0.01, total_iters=4))
    falling = rates_of_torch(0.01, 8, lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=8))
    events = run(tiny, lr=0.01, epochs=3, limit_train_batches=4, scheduler="cosine", warmup_epochs=1.0)
    assert rates(events) == pytest.approx(warm + falling, rel=1e-6)


def test_a_step_is_taken_with_the_rate_of_its_scheduler(tiny: Settings) -> None:
    used, make = SCHEDULES["onecycle"]
    course_of_rates = rates_of_torch(0.01, 20, make)

    def before(step: int, optimizer: torch.optim.Optimizer) -> None:
        optimizer.param_groups[0]["lr"] = course_of_rates[step - 1]

    plain = plain_loop(nn.CrossEntropyLoss(), lambda p: torch.optim.Adam(p), epochs=5, batches=4, before=before)
    events = run(tiny, lr=0.01, epochs=5, limit_train_batches=4, valid_fraction=0.0, **used)
    assert losses(events) == pytest.approx(plain.losses, rel=1e-4)


@pytest.mark.parametrize("group", [2, 3])
def test_a_report_tells_the_rate_of_the_step_its_batch_is_part_of(tiny: Settings, group: int) -> None:
    updates = -(-8 // group)
    expected = rates_of_torch(0.01, updates, lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=updates))
    warmed = rates_of_torch(0.01, updates, lambda o: lr_scheduler.LinearLR(o, start_factor=0.01, total_iters=2))
    used = {"lr": 0.01, "limit_train_batches": 8, "grad_accum_steps": group}
    assert rates(run(tiny, **used, epochs=1, scheduler="cosine")) == pytest.approx(
        [expected[batch // group] for batch in range(8)], rel=1e-6
    )
    assert rates(run(tiny, **used, epochs=2, warmup_epochs=2 / updates))[:8] == pytest.approx(
        [warmed[batch // group] for batch in range(8)], rel=1e-6
    )


@pytest.mark.parametrize("monitor", ["valid_loss", "valid_accuracy"])
@pytest.mark.parametrize("min_lr", [0.0, 2e-3])
def test_plateau_lowers_the_rate_when_torch_would(tiny: Settings, monitor: str, min_lr: float) -> None:
    used = {"scheduler": "plateau", "lr": 0.01, "decay_rate": 0.5, "decay_epochs": 2, "min_delta": 0.02}
    settings = tiny.model_copy(update=used | {"monitor": monitor, "min_lr": min_lr})
    ours, theirs = (torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.01) for _ in range(2))
    schedule = Schedule(ours, settings, updates_per_epoch=3, wants_more=monitor == "valid_accuracy")
    plateau = lr_scheduler.ReduceLROnPlateau(
        theirs,
        mode="min" if monitor == "valid_loss" else "max",
        factor=0.5,
        patience=2,
        threshold=0.02,
        threshold_mode="abs",
        min_lr=min_lr,
    )
    values, seen, expected = torch.rand(40, generator=torch.Generator().manual_seed(1)).tolist(), [], []
    for epoch, value in enumerate(values):
        schedule.before_update(3 * epoch)
        seen.append(schedule.lr)
        expected.append(theirs.param_groups[0]["lr"])
        plateau.step(value)
        assert schedule.after_validation(value, 3 * (epoch + 1)) == (theirs.param_groups[0]["lr"] < expected[-1])
    assert seen == pytest.approx(expected)
    assert len(set(seen)) > 2 and min(seen) >= min_lr


def test_plateau_never_hears_of_a_loss_that_is_not_finite(tiny: Settings) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.01)
    schedule = Schedule(optimizer, tiny.model_copy(update={"scheduler": "plateau", "lr": 0.01}), 1)
    assert not any(schedule.after_validation(float("nan"), update) for update in range(20))
    assert schedule.lr == 0.01


def test_a_run_on_a_plateau_takes_its_next_steps_with_the_lower_rate_and_says_so(tiny: Settings) -> None:
    used = {"epochs": 5, "limit_train_batches": 2, "min_delta": NEVER}
    events = run(tiny, **used, scheduler="plateau", decay_epochs=1, decay_rate=0.1)
    assert rates(events)[::2] == pytest.approx([1e-3, 1e-3, 1e-3, 1e-4, 1e-4])
    changes = only(LearningRateChanged, events)
    assert [(c.lr, c.by) for c in changes] == [(pytest.approx(1e-4), "plateau"), (pytest.approx(1e-5), "plateau")]
    assert set(rates(run(tiny, **used))) == {1e-3}


# --- clipping and accumulation -------------------------------------------------------------------------------------


def test_clipping_takes_the_steps_that_clip_grad_norm_takes(tiny: Settings, tmp_path: Path) -> None:
    used = {"optimizer": "sgd", "lr": 0.5, "valid_fraction": 0.0}
    events = run(tiny, tmp_path, **used, clip_grad=0.3)
    plain = plain_loop(nn.CrossEntropyLoss(), lambda p: torch.optim.SGD(p, lr=0.5), clip=0.3)
    assert losses(events) == pytest.approx(plain.losses, rel=1e-4)
    assert_close(weights_in(tmp_path / "last.pt"), plain.weights, 1e-5)
    assert [e.grad_norm for e in only(BatchTrained, events)] == pytest.approx(plain.norms, rel=1e-4)
    assert max(plain.norms) > 0.3
    assert losses(events) != pytest.approx(losses(run(tiny, **used)), rel=1e-3)


@pytest.mark.parametrize("clip", [0.05, 1e6])
def test_a_clipped_gradient_is_no_longer_than_it_may_be(tiny: Settings, clip: float) -> None:
    course = prepared(tiny.model_copy(update={"clip_grad": clip}))
    before = prepared(tiny)
    X, y = course.splits.train[torch.arange(64)]
    course.step(X, y, 1)
    before.step(X, y, 1)
    norm = float(nn.utils.get_total_norm([p.grad for p in course.model.parameters()]))
    unclipped = before.step.grad_norm()
    assert norm == pytest.approx(min(clip, unclipped), rel=1e-4)
    assert course.step.grad_norm() == pytest.approx(unclipped, rel=1e-5)


@pytest.mark.parametrize("loss", ["cross_entropy", "mse", "kl_div"])
def test_batches_of_n_accumulated_act_as_one_batch_of_k_times_n(tiny: Settings, tmp_path: Path, loss: str) -> None:
    used = {"optimizer": "sgd", "lr": 0.1, "limit_train_batches": 0, "valid_fraction": 0.9, "loss": loss}
    (few := tmp_path / "few").mkdir()
    (many := tmp_path / "many").mkdir()
    small = run(tiny, many, **used, batch_size=16, grad_accum_steps=3)
    large = run(tiny, few, **used, batch_size=48)
    assert only(BatchTrained, small)[0].batches == 32  # 31 of 16 and one of 4: 10 groups of 3, and one of 16 + 4
    assert only(BatchTrained, large)[0].batches == 11
    assert_close(weights_in(many / "last.pt"), weights_in(few / "last.pt"), 1e-6)
    assert [e.loss for e in validations(small)] == pytest.approx([e.loss for e in validations(large)], rel=1e-5)
    assert validations(run(tiny, **used, batch_size=16))[0].loss != pytest.approx(validations(small)[0].loss, rel=1e-4)


def test_the_gradient_is_measured_only_when_its_group_is_whole(tiny: Settings) -> None:
    events = only(BatchTrained, run(tiny, grad_accum_steps=3, epochs=1))
    assert [event.grad_norm is None for event in events] == [True, True, False, True, True, False, True, False]


# --- orders --------------------------------------------------------------------------------------------------------


def test_a_learning_rate_set_on_the_way_is_that_of_the_next_step(tiny: Settings) -> None:
    def before(step: int, optimizer: torch.optim.Optimizer) -> None:
        optimizer.param_groups[0]["lr"] = 0.05 if step <= 5 else 0.2

    settings = tiny.model_copy(update={"optimizer": "sgd", "lr": 0.05, "valid_fraction": 0.0})
    events = list(steered(settings, {5: [commands.SetLearningRate(0.2)]}))
    plain = plain_loop(nn.CrossEntropyLoss(), lambda p: torch.optim.SGD(p, lr=0.05), before=before)
    assert losses(events) == pytest.approx(plain.losses, rel=1e-4)
    assert rates(events) == [0.05] * 5 + [0.2] * 11
    (change,) = only(LearningRateChanged, events)
    assert (change.lr, change.by) == (0.2, "you")
    reports = [event.step for event in events[: events.index(change)] if isinstance(event, BatchTrained)]
    assert reports[-1] == 5


def test_a_schedule_goes_on_in_proportion_from_a_rate_set_on_the_way(tiny: Settings) -> None:
    used = {"lr": 0.01, "scheduler": "cosine", "epochs": 2}
    without = rates(run(tiny, **used))
    events = list(steered(tiny.model_copy(update=used), {6: [commands.SetLearningRate(0.1)]}))
    factor = 0.1 / without[6]
    assert rates(events) == pytest.approx(without[:6] + [rate * factor for rate in without[6:]])


def test_a_late_report_tells_the_rate_its_batches_were_trained_with(tiny: Settings) -> None:
    class Later(Orders):
        """Brings its orders after batch 3, which nobody would report."""

        looks = 0

        def take(self) -> Command | None:
            self.looks += 1
            if self.looks == 4:  # the first look comes before the first step
                self.send(commands.SetLearningRate(0.5))
                self.send(commands.EndEpoch())
            return super().take()

    settings = tiny.model_copy(update={"log_interval": 100, "epochs": 1})
    reports = only(BatchTrained, fit(settings, Later()))
    assert [(report.batch, report.lr) for report in reports] == [(1, 1e-3), (3, 1e-3)]


def test_an_epoch_ended_on_request_goes_to_its_validation_and_the_next_begins_whole(tiny: Settings) -> None:
    events = list(steered(tiny, {3: [commands.EndEpoch()]}))
    assert [(e.epoch, e.batch) for e in only(BatchTrained, events)] == [
        *((1, batch) for batch in (1, 2, 3)),
        *((2, batch) for batch in range(1, 9)),
    ]
    assert [(e.epoch, e.step) for e in validations(events)] == [(1, 3), (2, 11)]
    assert any("ends early, after batch 3 of 8" in warned.text for warned in only(Warned, events))
    assert events[-1].reason == "finished"


def test_an_epoch_is_ended_after_a_measurement_that_was_under_way(tiny: Settings) -> None:
    events = list(steered(tiny, {3: [commands.Evaluate(), commands.EndEpoch()]}))
    assert [(e.epoch, e.step) for e in validations(events)] == [(1, 3), (1, 3), (2, 11)]
    assert any("ends early, after batch 3 of 8" in warned.text for warned in only(Warned, events))


def test_an_epoch_without_a_batch_left_is_not_ended_early(tiny: Settings) -> None:
    events = list(steered(tiny, {8: [commands.EndEpoch()]}))
    assert [(e.epoch, e.step) for e in validations(events)] == [(1, 8), (2, 16)]
    assert [warned.text for warned in only(Warned, events)] == ["epoch 1 has no batch left to leave out"]


def test_an_epoch_ended_inside_a_group_still_takes_the_whole_groups_step(tiny: Settings) -> None:
    events = list(steered(tiny.model_copy(update={"grad_accum_steps": 4, "epochs": 1}), {2: [commands.EndEpoch()]}))
    last = only(BatchTrained, events)[-1]
    assert last.batch == 4 and last.grad_norm is not None


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_an_evaluation_on_request_changes_nothing_that_follows(tiny: Settings, model: str) -> None:
    settings = tiny.model_copy(update={**NARROW[model], "epochs": 3, "patience": 2, "min_delta": NEVER})
    without = list(fit(settings, Inbox()))
    events = list(steered(settings, {3: [commands.Evaluate()], 10: [commands.Evaluate()]}))
    assert [e.step for e in validations(events)] == [3, 8, 10, 16, 24]
    assert losses(events) == losses(without)
    assert [e.loss for e in validations(events) if e.step % 8 == 0] == [e.loss for e in validations(without)]
    assert (events[-1].best_epoch, events[-1].best_loss) == (without[-1].best_epoch, without[-1].best_loss)
    assert events[-1].reason == without[-1].reason == "out_of_patience"


def test_an_evaluation_on_request_is_never_best_even_if_it_scores_so(tiny: Settings, tmp_path: Path) -> None:
    settings = tiny.model_copy(update={"epochs": 1, "optimizer": "sgd", "lr": 0.05})
    worse = {6: [commands.Evaluate(), commands.SetLearningRate(5.0)]}
    events = list(steered(settings, worse, tmp_path))
    early, late = validations(events)
    assert early.loss < late.loss
    assert events[-1].best_loss == late.loss
    assert [e.step for e in only(CheckpointSaved, events)] == [8, 8]


def test_no_step_is_taken_between_pause_and_continue(tiny: Settings, tmp_path: Path) -> None:
    paused = [commands.Pause(), commands.Pause(), commands.SetLearningRate(1e-3), commands.SaveCheckpoint()]
    events = list(steered(tiny, {3: [*paused, commands.Continue()]}, tmp_path))
    kinds = [type(event) for event in events]
    began, ended = kinds.index(RunPaused), kinds.index(RunResumed)
    assert kinds[began : ended + 1] == [RunPaused, LearningRateChanged, CheckpointSaved, RunResumed]
    assert isinstance(events[began - 1], BatchTrained) and events[began - 1].step == 3
    assert kinds.count(RunPaused) == kinds.count(RunResumed) == 1
    assert losses(events) == losses(list(fit(tiny, Inbox())))


def test_a_paused_run_waits_for_the_next_order(tiny: Settings) -> None:
    class Later(Inbox):
        """Brings Continue only when the run has come to wait for it."""

        waited = 0

        def wait(self) -> Command:
            self.waited += 1
            return commands.Continue()

    inbox = Later()
    inbox.send(commands.Pause())
    kinds = [type(event) for event in fit(tiny, inbox)]
    assert inbox.waited == 1
    assert kinds[4:7] == [RunPaused, RunResumed, BatchTrained]


def test_continue_is_heard_though_an_evaluation_is_under_way_in_the_pause(tiny: Settings) -> None:
    events = list(steered(tiny, {3: [commands.Pause(), commands.Evaluate(), commands.Continue()]}))
    kinds = [type(event) for event in events]
    assert kinds.count(RunPaused) == kinds.count(RunResumed) == 1
    assert events[-1].reason == "finished"


def test_a_second_pause_during_an_evaluation_is_ended_by_one_continue(tiny: Settings) -> None:
    orders: list[Command] = [commands.Pause(), commands.Evaluate(), commands.Pause(), commands.Continue()]
    events = list(steered(tiny, {3: orders}))
    assert events[-1].reason == "finished"


def test_a_pause_counts_towards_no_speed_and_no_epoch(tiny: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)

    class Coffee(Orders):
        def wait(self) -> Command:
            clock.ahead += 1000
            return super().wait()

    inbox, events = Coffee(), []
    for event in fit(tiny, inbox):
        events.append(event)
        if isinstance(event, BatchTrained) and event.step == 3:
            inbox.send(commands.Pause())
            inbox.send(commands.Continue())
    reports = only(BatchTrained, events)
    assert reports[3].elapsed > 1000, "pauses are part of the elapsed time"
    assert reports[3].examples_per_second > 1
    assert max(ended.seconds for ended in only(EpochEnded, events)) < 500


def test_stop_saves_a_checkpoint_before_the_run_ends(tiny: Settings, tmp_path: Path) -> None:
    settings = tiny.model_copy(update={"valid_fraction": 0.0})
    events = list(steered(settings, {5: [commands.Stop()]}, tmp_path))
    assert isinstance(events[-2], CheckpointSaved) and (events[-2].kind, events[-2].step) == ("last", 5)
    assert (events[-1].reason, events[-1].exit_code) == ("stopped", 0)
    assert only(BatchTrained, events)[-1].step == 5 and not only(Evaluated, events)
    plain = plain_loop(nn.CrossEntropyLoss(), lambda p: torch.optim.Adam(p), epochs=1, batches=5)
    saved = load(tmp_path / "last.pt")
    assert (saved["epoch"], saved["batch"], saved["step"]) == (1, 5, 5)
    assert losses(events) == pytest.approx(plain.losses, rel=1e-5)
    assert_close(weights_in(tmp_path / "last.pt"), plain.weights, 1e-5)


def test_stop_without_saving_leaves_what_was_saved_before(tiny: Settings, tmp_path: Path) -> None:
    events = list(steered(tiny, {11: [commands.Stop(save=False)]}, tmp_path))
    assert events[-1].reason == "stopped"
    assert load(tmp_path / "last.pt")["step"] == 8


def test_stop_ends_a_pause(tiny: Settings, tmp_path: Path) -> None:
    events = list(steered(tiny, {2: [commands.Pause(), commands.Stop()]}, tmp_path))
    assert (events[-1].reason, load(tmp_path / "last.pt")["step"]) == ("stopped", 2)


@pytest.mark.parametrize(("signal", "code"), [(2, 130), (15, 143), (1, 129)])
def test_a_stop_by_a_signal_saves_and_ends_interrupted(tiny: Settings, tmp_path: Path, signal: int, code: int) -> None:
    events = list(steered(tiny, {2: [commands.Stop(signal)]}, tmp_path))
    assert (events[-1].reason, events[-1].exit_code) == ("interrupted", code)
    assert load(tmp_path / "last.pt")["step"] == 2


def test_a_checkpoint_on_request_is_saved_in_the_middle_of_an_epoch(tiny: Settings, tmp_path: Path) -> None:
    events = list(steered(tiny, {3: [commands.SaveCheckpoint()]}, tmp_path))
    saved = only(CheckpointSaved, events)[0]
    assert (saved.kind, saved.step, saved.path) == ("last", 3, f"{tmp_path.name}/last.pt")
    assert losses(events) == losses(list(fit(tiny, Inbox())))


@pytest.mark.parametrize("order", [commands.Stop(), commands.SaveCheckpoint()])
def test_last_holds_the_last_weights_though_saved_while_the_best_are_being_tested(
    tiny: Settings, tmp_path: Path, order: Command
) -> None:
    class AtTheTest(Inbox):
        """Brings the order when the test is under way."""

        test_begins = False

        def take(self) -> Command | None:
            if self.test_begins:
                self.test_begins = False
                self.send(order)
            return super().take()

    inbox = AtTheTest()
    for event in fit(tiny.model_copy(update={"min_delta": NEVER}), inbox, tmp_path):
        inbox.test_begins = getattr(event, "what", "") == "test"
        if isinstance(event, EpochEnded):
            last = weights_in(tmp_path / "last.pt")
    saved = load(tmp_path / "last.pt")
    assert (saved["epoch"], saved["step"]) == (2, 16)
    assert_close(list(saved["model_state_dict"].values()), last, 0)
    assert load(tmp_path / "best.pt")["epoch"] == 1


# --- limits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("most", "group", "steps"), [(11, 1, 11), (8, 1, 8), (1, 1, 1), (9, 4, 12), (99, 1, 16)])
def test_a_run_ends_after_max_steps_with_a_validation_and_its_test(
    tiny: Settings, most: int, group: int, steps: int
) -> None:
    events = run(tiny, max_steps=most, grad_accum_steps=group, val_interval=9)
    assert only(BatchTrained, events)[-1].step == steps
    assert validations(events)[-1].step == steps
    assert (only(Evaluated, events)[-1].split, events[-1].reason) == ("test", "finished")


def test_a_run_ends_after_max_time_with_a_validation_and_its_test(
    tiny: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, events = Clock(monkeypatch), []
    for event in fit(tiny.model_copy(update={"max_time": 3600.0}), Inbox()):
        events.append(event)
        if isinstance(event, BatchTrained) and event.step == 3:
            clock.ahead = 3600
    assert only(BatchTrained, events)[-1].step == 4
    assert [(e.split, e.step) for e in only(Evaluated, events)] == [("valid", 4), ("test", 4)]
    assert events[-1].reason == "finished"


def test_val_interval_leaves_epochs_without_a_validation_but_never_the_last(tiny: Settings) -> None:
    events = run(tiny, epochs=5, limit_train_batches=1, val_interval=2)
    assert [e.epoch for e in validations(events)] == [2, 4, 5]
    assert [e.epoch for e in only(EpochEnded, events)] == [1, 2, 3, 4, 5]


def test_limit_train_batches_leaves_the_measuring_whole(tiny: Settings) -> None:
    events = run(tiny, limit_train_batches=3)
    assert [e.batch for e in only(BatchTrained, events)] == [1, 2, 3] * 2
    assert [sum(map(sum, e.confusion)) for e in only(Evaluated, events)] == [500, 500, 1000]


def test_save_every_keeps_a_checkpoint_of_its_own(tiny: Settings, tmp_path: Path) -> None:
    run(tiny, tmp_path, epochs=5, limit_train_batches=1, save_every=2)
    assert sorted(path.name for path in tmp_path.glob("epoch-*")) == ["epoch-2.pt", "epoch-4.pt"]
    assert [load(tmp_path / f"epoch-{n}.pt")["epoch"] for n in (2, 4)] == [2, 4]


@pytest.mark.parametrize("k", [1, 2, 3])
def test_save_top_k_keeps_the_best_epochs_and_tells_which_it_removed(tiny: Settings, tmp_path: Path, k: int) -> None:
    settings = tiny.model_copy(update={"epochs": 5, "optimizer": "sgd", "lr": 0.1, "save_top_k": k})
    events = list(
        steered(settings, {16: [commands.SetLearningRate(3.0)], 32: [commands.SetLearningRate(0.1)]}, tmp_path)
    )
    by_loss = [e.epoch for e in sorted(validations(events), key=lambda e: e.loss)]
    assert by_loss[:2] != [5, 4], "the last epochs are no test"
    kept = {f"epoch-{epoch}.pt" for epoch in by_loss[:k]} if k > 1 else set()
    assert {path.name for path in tmp_path.glob("epoch-*")} == kept
    on_disk: set[str] = set()
    for event in only(CheckpointSaved, events):
        on_disk = (on_disk | {Path(event.path).name}) - {Path(event.replaces or "").name}
    assert on_disk == kept | {"best.pt", "last.pt"}
    assert load(tmp_path / "best.pt")["epoch"] == by_loss[0]


def test_a_checkpoint_kept_by_save_every_outlives_its_place_among_the_best(tiny: Settings, tmp_path: Path) -> None:
    run(tiny, tmp_path, epochs=4, limit_train_batches=4, save_top_k=2, save_every=1)
    assert sorted(path.name for path in tmp_path.glob("epoch-*")) == [f"epoch-{n}.pt" for n in (1, 2, 3, 4)]


def test_overfit_batches_trains_and_validates_on_the_same_few_until_the_loss_is_nearly_0(tiny: Settings) -> None:
    used = {"epochs": 30, "limit_train_batches": 0, "batch_size": 32, "lr": 0.01}
    events = run(tiny, **used, overfit_batches=2)
    started, last = only(RunStarted, events)[0], validations(events)[-1]
    assert (started.train_examples, started.valid_examples) == (64, 64)
    assert [e.batches for e in only(BatchTrained, events)] == [2] * 60
    assert last.loss < 0.05 and last.accuracy == 1
    assert only(Evaluated, events)[-1].split == "test" and only(Evaluated, events)[-1].loss > 0.5


def test_overfit_batches_come_in_the_order_of_the_data(tiny: Settings) -> None:
    course = prepared(tiny.model_copy(update={"overfit_batches": 2, "limit_train_batches": 0}))
    X, y = mini("train")
    seen = []
    for epoch in (1, 2):
        course.begin_epoch(epoch)
        seen.append([(X.clone(), y.clone()) for _, (X, y) in course.train_batches()])
    for batches in seen:
        assert torch.equal(torch.cat([X for X, _ in batches]), X[:128])
        assert torch.equal(torch.cat([y for _, y in batches]), y[:128])


def test_a_dry_run_is_one_batch_of_everything(tiny: Settings) -> None:
    events = run(tiny, epochs=9, dry_run=True, valid_fraction=0.5, warmup_epochs=3.0, save_every=1)
    assert [(e.step, e.batches) for e in only(BatchTrained, events)] == [(1, 1)]
    assert [(e.split, sum(map(sum, e.confusion))) for e in only(Evaluated, events)] == [("valid", 512), ("test", 512)]
    assert [e.epoch for e in only(EpochEnded, events)] == [1]
    assert only(RunStarted, events)[0].settings["epochs"] == 1
    assert events[-1].reason == "finished"


def test_label_smoothing_is_that_of_torch(tiny: Settings) -> None:
    plain = plain_loop(nn.CrossEntropyLoss(label_smoothing=0.2), torch.optim.Adam)
    events = run(tiny, label_smoothing=0.2, valid_fraction=0.0)
    assert losses(events) == pytest.approx(plain.losses, rel=1e-5)
    assert validations(events)[-1].loss == pytest.approx(plain.evaluated[-1][0], rel=1e-5)
    assert losses(events)[0] != pytest.approx(losses(run(tiny, valid_fraction=0.0))[0], rel=1e-4)


# --- a loss that is not finite -------------------------------------------------------------------------------------


def broken(monkeypatch: pytest.MonkeyPatch, value: float, *, at: int, training: bool = True) -> None:
    """Make call number `at` of the loss, counted in training or in measuring only, give `value`."""
    monkeypatch.setattr(stepping, "replays", lambda *_: False)  # a tape calls no Python: it would not count
    calls = 0 if training else -SANITY_BATCHES  # these are measured before the first step

    def make(smoothing: float) -> Callable[[Tensor, Tensor], Tensor]:
        def loss(outputs: Tensor, y: Tensor) -> Tensor:
            nonlocal calls
            calls += torch.is_grad_enabled() == training
            right = nn.functional.cross_entropy(outputs, y, label_smoothing=smoothing)
            return right * value if torch.is_grad_enabled() == training and calls == at else right

        return loss

    monkeypatch.setitem(LOSSES, "cross_entropy", make)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_is_not_finite_ends_the_run_before_its_step(
    tiny: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    broken(monkeypatch, value, at=11)
    events = run(tiny, tmp_path)
    assert (events[-1].reason, events[-1].exit_code) == ("diverged", 8)
    assert "epoch 2, batch 3 of 8" in events[-1].error
    assert "The step was not taken. The checkpoints from before are kept." in events[-1].error
    assert only(BatchTrained, events)[-1].step == 10
    assert load(tmp_path / "last.pt")["step"] == 8


def test_weights_and_optimizer_are_as_before_the_step_that_was_not_taken(
    tiny: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch, float("nan"), at=4)
    course = prepared(tiny.model_copy(update={"valid_fraction": 0.0}))
    course.begin_epoch(1)
    with pytest.raises(DivergedError):
        list(train(course))
    plain = plain_loop(nn.CrossEntropyLoss(), torch.optim.Adam, epochs=1, batches=3)
    assert_close(list(course.model.parameters()), plain.weights, 1e-6)
    assert (course.progress.step, course.step.updates) == (3, 3)
    assert {int(state["step"]) for state in course.optimizer.state.values()} == {3}


def test_a_group_broken_by_a_loss_that_is_not_finite_leaves_no_gradients_behind(tiny: Settings) -> None:
    course = prepared(tiny.model_copy(update={"grad_accum_steps": 2}))
    X, y = course.splits.train[torch.arange(64)]
    course.step(X, y, 1)
    assert any(p.grad is not None and p.grad.any() for p in course.model.parameters())
    with pytest.raises(DivergedError):
        course.step(X * float("nan"), y, 2)
    assert not any(p.grad is not None and p.grad.any() for p in course.model.parameters())
    assert course.step.updates == 0


@pytest.mark.parametrize("loss", ["cross_entropy", "mse", "bce"])
def test_a_learning_rate_far_too_high_leaves_no_checkpoint_that_is_not_finite(
    tiny: Settings, tmp_path: Path, loss: str
) -> None:
    events = run(tiny, tmp_path, optimizer="sgd", lr=1e6, momentum=0.99, loss=loss, epochs=5)
    for path in tmp_path.glob("*.pt"):
        assert all(torch.isfinite(w).all() for w in weights_in(path))
    if loss == "cross_entropy":
        assert (events[-1].reason, events[-1].exit_code) == ("diverged", 8)


def poisoned(monkeypatch: pytest.MonkeyPatch, step: int, inbox: Inbox, *orders: Command) -> None:
    """Make one weight NaN in step number `step`, as a gradient that is not finite would, and then send `orders`."""
    count = Course.count

    def count_and_break(course: Course, loss: Tensor, examples: int) -> None:
        count(course, loss, examples)
        if course.progress.step == step:
            next(course.model.parameters()).data[0, 0] = float("nan")
            for order in orders:
                inbox.send(order)

    monkeypatch.setattr(Course, "count", count_and_break)


def test_weights_that_are_not_finite_are_not_saved_and_the_words_for_it_are_true(
    tiny: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned(monkeypatch, 16, inbox := Inbox())
    events = list(fit(tiny, inbox, tmp_path))
    assert (events[-1].reason, events[-1].exit_code, load(tmp_path / "last.pt")["step"]) == ("diverged", 8, 8)
    assert "weights" in events[-1].error
    assert "The step was not taken" not in events[-1].error, "it was: that is how the weights broke"
    assert "batch 9 of 8" not in events[-1].error


@pytest.mark.parametrize("order", [commands.Stop(), commands.SaveCheckpoint()])
def test_weights_that_are_not_finite_are_told_as_diverged_whoever_wants_them_saved(
    tiny: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: Command
) -> None:
    poisoned(monkeypatch, 3, inbox := Inbox(), order)
    events = list(fit(tiny, inbox, tmp_path))
    assert (events[-1].reason, events[-1].exit_code) == ("diverged", 8)
    assert not list(tmp_path.glob("*.pt"))


def test_a_validation_that_is_not_finite_warns_and_training_goes_on(
    tiny: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch, float("nan"), at=2, training=False)
    events = run(tiny, tmp_path, epochs=4, limit_train_batches=4, save_top_k=2)
    assert [e.loss == e.loss for e in validations(events)] == [True, False, True, True]
    assert any("valid loss is not finite" in warned.text for warned in only(Warned, events))
    finite = sorted((e for e in validations(events) if e.loss == e.loss), key=lambda e: e.loss)
    assert events[-1].best_epoch == finite[0].epoch
    assert {path.name for path in tmp_path.glob("epoch-*")} == {f"epoch-{e.epoch}.pt" for e in finite[:2]}


def test_a_run_whose_validation_was_never_finite_says_that_there_is_no_best(
    tiny: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch, float("nan"), at=1, training=False)
    events = run(tiny, tmp_path, epochs=1)
    assert only(Warned, events)[-1].text == "there is no best checkpoint: validation was never finite"
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]
    assert [event.split for event in only(Evaluated, events)] == ["valid"], "there is nothing to test"
    assert (events[-1].reason, events[-1].best_epoch, events[-1].best_loss) == ("finished", None, None)


# --- seeds, the test split, order, devices -------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_the_same_seed_gives_the_same_losses_and_another_seed_others(tiny: Settings, model: str) -> None:
    torch.rand(7)  # what happened before the run does not matter
    one, again = (run(tiny, **NARROW[model], limit_train_batches=4) for _ in range(2))
    other = run(tiny, **NARROW[model], limit_train_batches=4, seed=1)
    assert losses(one) == losses(again)
    assert [e.confusion for e in only(Evaluated, one)] == [e.confusion for e in only(Evaluated, again)]
    assert losses(one)[0] != losses(other)[0] and losses(one)[-1] != losses(other)[-1]


@pytest.mark.parametrize("on_disk", [True, False])
def test_the_test_split_is_measured_once_at_the_end_with_the_best_weights(
    tiny: Settings, tmp_path: Path, on_disk: bool
) -> None:
    events = run(tiny, tmp_path if on_disk else None, epochs=3, min_delta=NEVER)
    measured = [event for event in events if isinstance(event, Evaluated) and event.split == "test"]
    assert measured == [events[-2]] and isinstance(events[-1], RunEnded)
    assert (measured[0].epoch, measured[0].step) == (1, 8)

    best = plain_of(run_folder := tmp_path if on_disk else first_epoch(tiny, tmp_path), "best.pt")
    loss, accuracy, confusion = measure(best, nn.CrossEntropyLoss(), *mini("t10k"))
    assert measured[0].loss == pytest.approx(loss, rel=1e-5)
    assert (measured[0].accuracy, [list(row) for row in measured[0].confusion]) == (accuracy, confusion)
    if on_disk:
        last, _, _ = measure(plain_of(run_folder, "last.pt"), nn.CrossEntropyLoss(), *mini("t10k"))
        assert last != pytest.approx(loss, rel=1e-3)


def plain_of(folder: Path, name: str) -> NeuralNetwork:
    """The tutorial's model with the weights of a checkpoint."""
    network = NeuralNetwork()
    with torch.no_grad():
        for parameter, saved in zip(network.parameters(), weights_in(folder / name), strict=True):
            parameter.copy_(saved)
    return network


def first_epoch(tiny: Settings, folder: Path) -> Path:
    """The folder of the same run with nothing after its first epoch."""
    run(tiny, folder, epochs=1)
    return folder


def test_validating_on_the_test_split_leaves_no_test_for_the_end(tiny: Settings) -> None:
    events = run(tiny, valid_fraction=0.0)
    assert [e.split for e in only(Evaluated, events)] == ["valid", "valid"]
    assert only(RunStarted, events)[0].test_examples == 0


def test_an_epoch_is_batches_then_validation_then_checkpoints_then_its_end(tiny: Settings, tmp_path: Path) -> None:
    events = run(tiny, tmp_path, save_every=1)
    kinds = [type(event).__name__ for event in events if type(event).__name__ != "Preparing"]
    epoch = ["BatchTrained"] * 8 + ["Evaluated"] + ["CheckpointSaved"] * 3 + ["EpochEnded"]
    assert kinds == ["RunStarted", *epoch, *epoch, "Evaluated", "RunEnded"]
    assert [e.kind for e in only(CheckpointSaved, events)] == ["best", "epoch", "last"] * 2


def test_epochs_gives_the_reason_it_ended(tiny: Settings) -> None:
    course = prepared(tiny.model_copy(update={"epochs": 1, "limit_train_batches": 1}))
    going = epochs(course)
    with pytest.raises(StopIteration) as done:
        while True:
            next(going)
    assert done.value.value == "finished"


@pytest.mark.parametrize("name", ["cuda:99", "xpu:99"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(tiny: Settings, name: str) -> None:
    with pytest.raises(DeviceError, match=rf"no device {name} here.*This machine has: .*cpu") as refused:
        run(tiny, device=name)
    assert refused.value.exit_code == 9


@pytest.mark.parametrize(("step", "place"), [(1, "epoch 1, batch 1 of 8"), (11, "epoch 2, batch 3 of 8")])
def test_a_device_out_of_memory_ends_the_run_and_costs_no_checkpoint(
    tiny: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, place: str
) -> None:
    take, taken, events = stepping.Step.__call__, 0, []

    def out_of_memory(self: stepping.Step, *words: object) -> object:
        nonlocal taken
        taken += 1
        if taken == step:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return take(self, *words)  # type: ignore[arg-type]

    monkeypatch.setattr(stepping.Step, "__call__", out_of_memory)
    said = f"cpu is out of memory at {place}, with batch size 64 .* free.. .* kept.\nTry --batch-size 32 --grad-"
    with pytest.raises(DeviceError, match=said) as refused:
        for event in fit(tiny, Inbox(), tmp_path):
            events.append(event)
    assert refused.value.exit_code == 9 and len(only(BatchTrained, events)) == step - 1
    assert [load(path)["step"] for path in tmp_path.glob("*.pt")] == ([] if step == 1 else [8, 8])


class Fails(nn.Module):
    """A layer that lets so many batches pass and fails at the next."""

    def __init__(self, after: int, error: Exception) -> None:
        super().__init__()
        self.left, self.error = after, error

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        self.left -= 1
        if self.left < 0:
            raise self.error
        return X


@pytest.mark.parametrize(
    ("error", "kind", "code", "said"),
    [
        (RuntimeError("mat1 \x1b[2Jand mat2"), ModelError, 4, r"mlp failed at .* \(64, 1, 28, 28\).*mat1 \\x1b\[2Jand"),
        (ValueError("Expected more than 1 value per channel"), ModelError, 4, "mlp takes statistics of each batch"),
        (torch.AcceleratorError("CUDA error: device-side assert"), DeviceError, 9, "cpu has failed at .*: CUDA error"),
    ],
    ids=["any", "a batch of one", "the device"],
)
@pytest.mark.parametrize("after", [0, 11])
def test_a_model_that_fails_is_told_with_its_place_and_costs_no_checkpoint(
    tiny: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    kind: type[TrainerError],
    code: int,
    said: str,
    after: int,
) -> None:
    build = models.build
    monkeypatch.setattr(
        models, "build", lambda *words, **more: nn.Sequential(Fails(after, error), build(*words, **more))
    )
    monkeypatch.setattr("tui_trainer.training.course.layers_of", lambda *_: ())
    monkeypatch.setattr(stepping, "replays", lambda *_: False)
    with pytest.raises(kind, match=said) as refused:
        list(fit(tiny, Inbox(), tmp_path))
    assert refused.value.exit_code == code and "\x1b" not in str(refused.value)
    assert [load(path)["step"] for path in tmp_path.glob("*.pt")] == ([] if after == 0 else [8, 8])


def test_a_run_is_handed_over_saved_at_its_last_step_and_has_not_ended(tiny: Settings, tmp_path: Path) -> None:
    events = list(steered(tiny, {5: [commands.HandOver()]}, tmp_path))
    assert isinstance(events[-1], RunHandedOver) and not only(RunEnded, events)
    assert load(tmp_path / "last.pt")["step"] == 5 == only(CheckpointSaved, events)[-1].step


def test_a_run_that_cannot_be_saved_is_not_handed_over(
    tiny: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write = disk.write_whole
    monkeypatch.setattr(disk, "write_whole", full)
    events = []
    inbox = Inbox()
    for event in fit(tiny, inbox, tmp_path):
        events.append(event)
        if isinstance(event, BatchTrained) and event.step == 3:
            inbox.send(commands.HandOver())
        if isinstance(event, Warned) and event.answers == "HandOver":
            monkeypatch.setattr(disk, "write_whole", write)
    (answer,) = (event for event in only(Warned, events) if event.answers == "HandOver")
    assert "not handed over: it cannot be saved (the disk is full" in answer.text
    assert events[-1].reason == "finished"


def test_auto_takes_the_first_device_there_is() -> None:
    assert str(pick("auto")) in ("cpu", "cuda:0", "mps", "xpu:0")
    assert str(pick("cpu")) == "cpu"


def test_deterministic_allows_only_operations_that_repeat_themselves(tiny: Settings) -> None:
    events = fit(tiny.model_copy(update={"deterministic": True}), Inbox())
    next(event for event in events if isinstance(event, BatchTrained))
    assert torch.are_deterministic_algorithms_enabled()
    events.close()
    prepared(tiny)
    assert not torch.are_deterministic_algorithms_enabled()
