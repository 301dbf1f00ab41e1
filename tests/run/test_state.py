"""What viewers see is their events folded: nothing else, and the same for every viewer."""

import dataclasses
import math

import pytest

from tests import replay
from tests.run.examples import EVERY_KIND, ended, epoch_ended, evaluated, folded, saved, started, trained
from tui_trainer.run.events import (
    BatchTrained,
    EpochEnded,
    LearningRateChanged,
    Preparing,
    RunPaused,
    RunResumed,
    RunStarted,
    Warned,
)
from tui_trainer.run.series import Series
from tui_trainer.run.state import ENDINGS, RunState

# --- curves --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 7, 8, 9, 16, 17, 1000, 12_345])
def test_a_series_stays_small_and_keeps_the_mean_of_all_that_was_added(count: int) -> None:
    series = Series(limit=8)
    values = [math.sin(i) + i / 100 for i in range(count)]
    for i, value in enumerate(values):
        series.add(float(i), value)
    assert len(series) == len(series.ys) <= 8
    full, rest = divmod(count, series.stride)
    assert len(series) == full + bool(rest)
    sizes = [series.stride] * full + [rest] * bool(rest)
    for points, truth in ((series.ys, values), (series.xs, list(map(float, range(count))))):
        whole = [sum(truth[i * series.stride :][:size]) / size for i, size in enumerate(sizes)]
        assert points == pytest.approx(whole), "each point is the mean of the values it stands for"
    assert series.xs == sorted(series.xs)


def test_a_series_below_its_limit_keeps_every_value() -> None:
    series = Series()
    for i in range(1024):
        series.add(i, i * i)
    assert (series.stride, series.xs, series.ys) == (1, list(range(1024)), [i * i for i in range(1024)])


def test_values_are_joined_by_what_they_weigh() -> None:
    series = Series(limit=2)
    for x, (y, weight) in enumerate([(1.0, 9), (11.0, 1), (3.0, 30), (0.0, 10)]):
        series.add(float(x), y, weight)
    assert series.weights == [10, 40] and series.ys == pytest.approx([2.0, 2.25])
    assert series.xs == pytest.approx([0.1, 2.25])


def test_a_report_weighs_as_many_batches_as_it_covers() -> None:
    state = folded(started(), trained(10), trained(12), trained(15, math.nan), trained(20))
    assert (state.train_curve.xs, state.train_curve.weights) == ([10, 12, 20], [10, 2, 5])
    state.apply(trained(14))  # from an older checkpoint
    assert (state.train_curve.xs, state.train_curve.weights) == ([10, 12, 14], [10, 2, 2])


def test_a_day_of_reports_is_folded_into_curves_that_stay_small() -> None:
    state = folded(started(epochs=10**6), *(trained(step, float(step)) for step in range(1, 20_001)))
    assert 512 <= len(state.train_curve) <= 1024 and len(state.recent) == 240
    assert state.recent[-1] == 20_000 and state.train_curve.xs[-1] > 19_900


# --- status --------------------------------------------------------------------------------------------------------


def test_a_run_is_preparing_then_training_validating_testing_and_finished() -> None:
    state, seen = RunState(), []
    for event in (
        *(Preparing(what=what) for what in ("torch", "device", "data", "downloading data: 1 of 2 MB", "model")),
        started(),
        trained(1),
        Preparing(what="validation"),
        evaluated(10),
        saved(10),
        epoch_ended(1),
        trained(11),
        Preparing(what="test"),
        evaluated(10, split="test"),
        ended(),
    ):
        state.apply(event)
        seen.append((state.status, state.activity))
    assert seen == [
        ("preparing", "torch"),
        ("preparing", "device"),
        ("preparing", "data"),
        ("preparing", "downloading data: 1 of 2 MB"),
        ("preparing", "model"),
        ("training", "first step"),
        ("training", ""),
        ("validating", "validation"),
        *[("training", "")] * 4,
        ("testing", "test"),
        ("training", ""),
        ("finished", ""),
    ]


def test_a_pause_is_over_when_the_run_carries_on_with_what_it_did() -> None:
    assert folded(started(), trained(1), RunPaused()).status == "paused"
    assert folded(started(), trained(1), RunPaused(), RunResumed()).status == "training"
    validating = (started(), trained(10), Preparing(what="validation"), RunPaused())
    assert folded(*validating).status == "paused"
    parked = folded(started(), trained(1), RunPaused(why="parked", text="1.2 GB given back"))
    assert (parked.status, parked.asks, parked.log[-1].text) == ("parked", "", "parked: 1.2 GB given back")
    parked.apply(RunResumed())
    assert (parked.status, parked.parked) == ("training", False)
    assert folded(*validating, RunResumed()).status == "validating"
    assert folded(*validating, RunPaused(), RunResumed()).status == "validating"


def test_a_paused_run_that_evaluates_or_saves_is_still_paused_afterwards() -> None:
    paused = (started(), trained(3), RunPaused())
    assert folded(*paused, LearningRateChanged(lr=0.1, by="you"), saved(3)).status == "paused"
    evaluating = (*paused, Preparing(what="validation"))
    assert folded(*evaluating).status == "validating"
    assert folded(*evaluating, evaluated(3)).status == "paused"
    assert folded(*evaluating, evaluated(3), RunResumed()).status == "training"


def test_a_run_that_is_told_to_stop_is_stopping_until_it_has_ended() -> None:
    stopping = (started(), trained(3), Preparing(what="stop"))
    assert folded(*stopping).status == "stopping"
    assert folded(*stopping, saved(3)).status == "stopping"
    assert folded(*stopping, saved(3), ended("stopped")).status == "stopped"
    assert folded(started(), trained(3), RunPaused(), Preparing(what="stop")).status == "stopping"


@pytest.mark.parametrize("reason", ENDINGS)
def test_an_ended_run_has_its_reason_as_status(reason: str) -> None:
    state = folded(started(), trained(1))
    assert not state.is_over
    state.apply(ended(reason))
    assert (state.status, state.is_over, state.elapsed) == (reason, True, 12.5)
    state.lose()
    assert state.status == reason, "a run that said goodbye is not lost"


def test_a_run_that_nobody_trains_any_more_is_lost() -> None:
    state = folded(started(), trained(1))
    state.lose()
    assert state.status == "lost" and state.is_over


def test_a_run_resumed_after_its_end_is_training_again() -> None:
    state = folded(started(), trained(1), ended("stopped"), started(), trained(2))
    assert (state.status, state.ended, state.is_over) == ("training", None, False)


# --- what is known -------------------------------------------------------------------------------------------------


def test_the_start_tells_what_the_run_is() -> None:
    state = folded(event := started(epochs=3))
    names = ("settings", "classes", "train_examples", "valid_examples", "test_examples", "parameters", "layers")
    assert all(getattr(state, name) == getattr(event, name) for name in (*names, "device", "data", "resumed_from"))
    assert (state.total_epochs, state.lr) == (3, 1e-3)


def test_a_report_tells_where_the_run_is() -> None:
    state = folded(started(), trained(13, 0.25, lr=0.01, elapsed=8.0))
    assert (state.epoch, state.batch, state.batches, state.step) == (2, 3, 10, 13)
    assert (state.loss, state.lr, state.grad_norm, state.data_wait, state.elapsed) == (0.25, 0.01, 0.5, 0.1, 8.0)
    assert (state.train_curve.xs, state.train_curve.ys, list(state.recent)) == ([13], [0.25], [0.25])


def test_a_gradient_that_was_not_measured_leaves_the_one_before() -> None:
    assert folded(started(), trained(1, grad_norm=0.7), trained(2, grad_norm=None)).grad_norm == 0.7


def test_a_loss_that_is_not_finite_is_shown_but_never_drawn() -> None:
    for value in (math.nan, math.inf, -math.inf):
        state = folded(started(), trained(1), trained(2, value), evaluated(10, value), epoch_ended(1, value))
        assert state.loss == value or value != value
        curves = (state.train_curve, state.valid_curve, state.epoch_curve)
        assert [curve.ys for curve in curves] == [[1.0], [], []]
        assert list(state.recent) == [1.0] and len(state.epochs) == 1


def test_the_speed_is_smoothed_and_begins_with_the_first_report() -> None:
    assert folded(started(), trained(1, speed=100)).examples_per_second == 100
    assert folded(started(), trained(1, speed=100), trained(2, speed=200)).examples_per_second == 120
    assert folded(started(), trained(1, speed=100), trained(2, speed=0)).examples_per_second == 100


def test_an_epoch_row_has_the_validation_of_its_own_end_and_no_other() -> None:
    state = folded(
        started(),
        *(trained(10, lr=0.02), evaluated(10, 0.4, accuracy=0.8), epoch_ended(1, 0.9)),
        *(trained(13), evaluated(13, 0.1), trained(20, lr=0.01), epoch_ended(2, 0.7)),
    )
    rows = [(r.epoch, r.train_loss, r.valid_loss, r.score, r.lr, r.seconds) for r in state.epochs]
    assert rows == [(1, 0.9, 0.4, 0.8, 0.02, 3.5), (2, 0.7, None, None, 0.01, 3.5)]
    assert (state.epoch_curve.xs, state.epoch_curve.ys) == ([10, 20], [0.9, 0.7])
    assert state.valid_curve.ys == [0.4, 0.1] and state.score_curve.ys == [0.8, 0.75]


def test_an_epoch_trained_again_after_a_resume_replaces_its_row() -> None:
    state = folded(
        started(), epoch_ended(1, 0.9), epoch_ended(2, 0.8), started(), epoch_ended(2, 0.7), epoch_ended(3, 0.6)
    )
    assert [(row.epoch, row.train_loss) for row in state.epochs] == [(1, 0.9), (2, 0.7), (3, 0.6)]


def test_the_best_is_the_validation_whose_checkpoint_was_saved_as_best() -> None:
    first, second = evaluated(10, 0.4), evaluated(20, 0.5)
    state = folded(started(), trained(10), first, saved(10, "best"), saved(10), trained(20), second, saved(20))
    assert state.best is first and state.validation is second and state.evaluation is second
    state.apply(test := evaluated(10, 0.45, split="test"))
    assert (state.test, state.evaluation, state.validation, state.best) == (test, test, second, first)
    assert state.valid_curve.ys == [0.4, 0.5], "the test is no point of the validation curve"


def test_the_checkpoints_are_the_newest_file_of_each_path() -> None:
    state = folded(
        started(),
        *(trained(10), evaluated(10, 0.4), saved(10, "best"), saved(10), saved(10, "epoch", name="epoch-1")),
        *(trained(15), saved(15)),
    )
    rows = [(row.path, row.kind, row.epoch, row.step, row.score) for row in state.checkpoints.values()]
    assert rows == [
        ("checkpoints/best.pt", "best", 1, 10, 0.4),
        ("checkpoints/epoch-1.pt", "epoch", 1, 10, 0.4),
        ("checkpoints/last.pt", "last", 2, 15, None),
    ]


def test_a_checkpoint_that_was_removed_for_a_better_one_is_gone() -> None:
    state = folded(
        *(started(), saved(10, "epoch", name="epoch-1"), saved(20, "epoch", name="epoch-2")),
        saved(30, "epoch", name="epoch-3", replaces="checkpoints/epoch-1.pt"),
    )
    assert list(state.checkpoints) == ["checkpoints/epoch-2.pt", "checkpoints/epoch-3.pt"]


def test_the_list_of_checkpoints_is_bounded() -> None:
    state = folded(started(), *(saved(10 * n, "epoch", name=f"epoch-{n}") for n in range(1, 500)))
    assert len(state.checkpoints) <= 200 and "checkpoints/epoch-499.pt" in state.checkpoints


def test_the_log_tells_what_happened_and_how_much_it_matters() -> None:
    state = folded(
        *(started(), trained(10), LearningRateChanged(lr=5e-4, by="plateau"), evaluated(10), saved(10, "best")),
        *(RunPaused(), RunResumed(), Warned(text="the disk is full"), evaluated(10, split="test")),
        ended("diverged", error="The loss is not finite (nan) at epoch 2.\nTry a lower --lr."),
    )
    assert [(row.level, row.text) for row in state.log] == [
        ("info", "started on cpu, 2 threads, fashion-mnist-mini part of the program"),
        ("info", "learning rate 0.001 → 0.0005 (plateau)"),
        ("info", "validation at epoch 1: loss 0.5000, accuracy 75.0 %"),
        ("good", "saved best checkpoint, 1.5 kB in 12 ms"),
        ("warning", "paused"),
        ("info", "carries on"),
        ("warning", "the disk is full"),
        ("good", "test: loss 0.5000, accuracy 75.0 %"),
        ("error", "stopped: the loss is not finite: The loss is not finite (nan) at epoch 2."),
    ]
    assert [row.at for row in state.log] == sorted(row.at for row in state.log)


def test_the_log_is_bounded() -> None:
    state = folded(*(Warned(text=str(n)) for n in range(2000)))
    assert len(state.log) == 500 and state.log[-1].text == "1999"


def test_every_kind_of_event_is_taken_in_from_the_very_first() -> None:
    for event in EVERY_KIND:
        folded(event)
    folded(*EVERY_KIND)


def test_equal_events_make_equal_states() -> None:
    assert folded(*EVERY_KIND) == folded(*EVERY_KIND) != folded(*EVERY_KIND[:-1])


# --- time left -----------------------------------------------------------------------------------------------------

BATCH = 0.1
"""Seconds a batch takes: 10 examples at 100 a second."""


def test_nothing_is_estimated_before_the_first_speed_or_after_the_end() -> None:
    assert RunState().seconds_left() == (None, None)
    assert folded(started()).seconds_left() == (None, None)
    assert folded(started(), trained(1), ended()).seconds_left() == (None, None)


def test_the_time_left_includes_every_validation_and_the_test() -> None:
    state = folded(started(epochs=5), trained(10), evaluated(10, seconds=3.0), epoch_ended(1), trained(14))
    epoch, run = state.seconds_left()
    assert epoch == pytest.approx(6 * BATCH + 3)
    # epochs 3 to 5 with their validations, then a test on twice as many examples as a validation
    assert run == pytest.approx(epoch + 3 * (10 * BATCH + 3) + 6)


def test_a_validation_not_yet_measured_is_guessed_and_not_left_out() -> None:
    epoch, _ = folded(started(epochs=1), trained(4)).seconds_left()
    assert 6 * BATCH < epoch < 6 * BATCH + 20 / 100


def test_epochs_without_validation_are_not_charged_for_one() -> None:
    state = folded(
        started(epochs=4, val_interval=2), trained(10), evaluated(10, seconds=3.0), epoch_ended(1), trained(14)
    )
    epoch, run = state.seconds_left()
    assert epoch == pytest.approx(6 * BATCH + 3)
    assert run == pytest.approx(epoch + 2 * 10 * BATCH + 3 + 6)
    odd = folded(started(epochs=4, val_interval=2), evaluated(5, seconds=3.0), trained(4))
    assert odd.seconds_left()[0] == pytest.approx(6 * BATCH)


@pytest.mark.parametrize(("step", "validations"), [(4, 3), (14, 3), (24, 2), (34, 2), (44, 1)])
def test_the_last_epoch_is_always_validated_and_counted(step: int, validations: int) -> None:
    state = folded(started(epochs=5, val_interval=2), evaluated(2, seconds=3.0), trained(step))
    _, run = state.seconds_left()
    assert run == pytest.approx((50 - step) * BATCH + 3 * validations + 6)


def test_limits_bound_the_time_left() -> None:
    most_steps = folded(started(max_steps=20), trained(14), evaluated(14, seconds=3.0)).seconds_left()[1]
    assert most_steps <= 6 * BATCH + 3 + 6
    assert folded(started(max_time=10.0), trained(4, elapsed=9.5)).seconds_left()[1] <= 0.5 + 1e-9


def test_the_time_left_falls_as_the_run_goes_on() -> None:
    state, seen = folded(started(epochs=3)), []
    for step in range(1, 31):
        state.apply(trained(step))
        seen.append(state.seconds_left()[1])
        if step % 10 == 0:
            state.apply(evaluated(step, seconds=0.07))
            state.apply(epoch_ended(step // 10))
            seen.append(state.seconds_left()[1])
    assert seen == sorted(seen, reverse=True)


def test_started_is_what_the_examples_say() -> None:
    assert isinstance(started(), RunStarted)


# --- carried on ----------------------------------------------------------------------------------------------------


def test_a_run_that_is_carried_on_forgets_what_came_after_its_checkpoint() -> None:
    """Killed at step 12, saved at step 8: steps 9 to 12 are taken again."""
    events = replay.events("finished")
    (start,) = (event for event in events if isinstance(event, RunStarted))
    state = RunState()
    for event in events[:-1]:
        state.apply(event)
    batches = state.batches
    again = dataclasses.replace(
        start,
        resumed_from="checkpoints/last.pt",
        epoch=2,
        batch=batches,
        step=2 * batches,
        best_epoch=1,
        best_loss=0.5,
        best_accuracy=0.8,
    )
    state.apply(again)
    assert (state.epoch, state.batch, state.step) == (2, batches, 2 * batches)
    assert [row.epoch for row in state.epochs] == [1, 2] and state.test is None
    for curve in (state.train_curve, state.valid_curve, state.score_curve):
        assert max(curve.xs) <= 2 * batches
    assert state.best is not None and (state.best.epoch, state.best.loss) == (1, 0.5)
    rows = list(state.epochs)
    state.apply(EpochEnded(epoch=2, train_loss=rows[-1].train_loss, seconds=99.0))
    assert state.epochs == rows, "its end was told before"
    assert any("carries on after epoch 2" in row.text for row in state.log)


def test_steps_that_are_taken_again_replace_those_before() -> None:
    state = RunState()
    batch = next(event for event in replay.events("finished") if isinstance(event, BatchTrained))
    for step in (1, 2, 3, 4, 3, 4, 5):
        state.apply(dataclasses.replace(batch, step=step, batch=step, loss=float(10 * step + len(state.recent))))
    assert state.train_curve.xs == [1, 2, 3, 4, 5]
    assert state.train_curve.ys == [10, 21, 34, 45, 56]


@pytest.mark.parametrize("broken", [None, "x", "", [], {"a": 1}, float("nan"), 10**400, -1, 0, True])
def test_settings_of_a_journal_from_elsewhere_break_nothing(broken: object) -> None:
    names = ("lr", "epochs", "batch_size", "val_interval", "max_steps", "max_time")
    begun = dataclasses.replace(started(), settings=started().settings | dict.fromkeys(names, broken))
    state = folded(begun, trained(3), evaluated(10), epoch_ended(1), trained(11))
    assert state.status == "training" and state.total_epochs <= 1
    state.seconds_left()
