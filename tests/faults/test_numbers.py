"""A loss or gradient that is not finite never reaches the weights, and each policy does as it says."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.faults.scale import many
from tests.training.plain_loop import only
from tui_trainer.run import commands
from tui_trainer.run.commands import Command, Inbox
from tui_trainer.run.events import BatchTrained, Event, LearningRateChanged, RunEnded, RunPaused, RunResumed, Warned
from tui_trainer.settings.schema import Settings
from tui_trainer.training import models
from tui_trainer.training.loop import fit
from tui_trainer.training.saving import safe_load
from tui_trainer.training.step import finite
from tui_trainer.training.step import step as stepping


class Poison(nn.Module):
    """A model that spoils the loss, or only its gradient, at some of its training steps; each once, or every time."""

    def __init__(self, inner: nn.Module, steps: set[int], what: str, *, again: bool) -> None:
        super().__init__()
        self.inner, self.steps, self.what, self.again = inner, steps, what, again
        self.norm = nn.BatchNorm2d(1)
        self.taken = 0

    def forward(self, X: Tensor) -> Tensor:
        if not self.training:
            return self.inner(self.norm(X))
        self.taken += 1
        bad = self.taken in self.steps or (self.again and self.taken > min(self.steps))
        if bad and self.what == "input":
            X = X * math.nan
        outputs = self.inner(self.norm(X))
        if bad and self.what == "loss":
            return outputs * math.inf
        if bad and self.what == "gradient":
            outputs = outputs + 0 * (outputs - outputs.detach()).abs().sqrt()  # the root of 0 has no slope
        return outputs


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the model of the next run spoil its steps."""

    build = models.build

    def poison(*steps: int, what: str = "loss", again: bool = False) -> None:
        def built(*words: Any, **more: Any) -> nn.Module:
            return Poison(build(*words, **more), set(steps), what, again=again)

        monkeypatch.setattr(models, "build", built)
        monkeypatch.setattr("tui_trainer.training.course.layers_of", lambda *_: ())
        monkeypatch.setattr(stepping, "replays", lambda *_: False)

    return poison


class Answering(Inbox):
    """Somebody who watches and answers each question with the next of these."""

    def __init__(self, *answers: Command) -> None:
        super().__init__()
        self.watched_here = True
        self.answers = list(answers)

    def wait(self) -> Command:
        return self.answers.pop(0)


def steps(events: list[Event]) -> list[int]:
    return [event.step for event in only(BatchTrained, events)]


def assert_finite(folder: Path) -> None:
    for path in folder.glob("*.pt"):
        safe_load.load(path)  # which refuses NaN and infinity


@pytest.mark.parametrize("what", ["loss", "gradient", "input"])
def test_whichever_step_is_poisoned_its_weights_are_those_of_the_step_before(
    what: str, tiny: Settings, tmp_path: Path, poisoned: Any
) -> None:
    settings = tiny.model_copy(update={"batch_size": 4, "epochs": 1, "limit_train_batches": 100, "valid_fraction": 0.9})
    for step in range(1, 101, many(20, 1)):
        folder = tmp_path / str(step)
        folder.mkdir()
        poisoned(step, what=what)
        events = list(fit(settings, Inbox(), folder))
        ended = events[-1]
        assert isinstance(ended, RunEnded) and (ended.reason, ended.exit_code) == ("diverged", 8)
        assert ended.error.startswith("The gradient" if what == "gradient" else "The loss")
        assert f"batch {step} of 100" in ended.error and "The step was not taken" in ended.error
        assert steps(events) == list(range(1, step))
        assert_finite(folder)


@pytest.mark.parametrize("what", ["loss", "gradient", "input"])
def test_rollback_goes_back_with_half_the_rate_and_finishes(
    what: str, tiny: Settings, tmp_path: Path, poisoned: Any
) -> None:
    poisoned(11, what=what)
    settings = tiny.model_copy(update={"on_nonfinite": "rollback"})
    events = list(fit(settings, Inbox(), tmp_path))
    assert events[-1].reason == "finished"
    assert steps(events) == [*range(1, 11), *range(9, 17)]
    (changed,) = only(LearningRateChanged, events)
    assert (changed.lr, changed.by) == (settings.lr / 2, "rollback")
    assert [event.lr for event in only(BatchTrained, events)] == [1e-3] * 10 + [5e-4] * 8
    assert any("back to step 8, with half the rate" in event.text for event in only(Warned, events))
    assert_finite(tmp_path)


def test_rollback_before_the_first_epoch_goes_back_to_the_beginning(
    tiny: Settings, tmp_path: Path, poisoned: Any
) -> None:
    poisoned(3)
    events = list(fit(tiny.model_copy(update={"on_nonfinite": "rollback"}), Inbox(), tmp_path))
    assert steps(events) == [1, 2, *range(1, 17)] and events[-1].reason == "finished"


def test_rollback_gives_up_after_three_times(tiny: Settings, tmp_path: Path, poisoned: Any) -> None:
    poisoned(11, again=True)
    events = list(fit(tiny.model_copy(update={"on_nonfinite": "rollback"}), Inbox(), tmp_path))
    rates = [event.lr for event in only(LearningRateChanged, events)]
    assert rates == [5e-4, 2.5e-4, 1.25e-4] and (events[-1].reason, events[-1].exit_code) == ("diverged", 8)
    assert_finite(tmp_path)


def test_ask_pauses_and_stops_when_it_is_told_to(tiny: Settings, tmp_path: Path, poisoned: Any) -> None:
    poisoned(11)
    events = list(fit(tiny.model_copy(update={"on_nonfinite": "ask"}), Answering(commands.Stop()), tmp_path))
    (pause,) = only(RunPaused, events)
    assert pause.why == "diverged" and "not finite" in pause.text and "epoch 2, batch 3 of 8" in pause.text
    assert events[-1].reason == "stopped" and safe_load.load(tmp_path / "last.pt")["step"] == 10


def test_ask_leaves_the_batch_out(tiny: Settings, tmp_path: Path, poisoned: Any) -> None:
    poisoned(11)
    inbox = Answering(commands.SkipBatch())
    events = list(fit(tiny.model_copy(update={"on_nonfinite": "ask"}), inbox, tmp_path))
    assert steps(events) == [*range(1, 11), *range(12, 17)] and events[-1].reason == "finished"
    assert len(only(RunResumed, events)) == 1
    assert any("batch 3 of 8 is left out" in event.text for event in only(Warned, events))
    assert safe_load.load(tmp_path / "last.pt")["skipped"] == [[2, 3]]


def test_a_batch_that_spoils_the_running_statistics_is_left_out_from_the_checkpoint_on(
    tiny: Settings, tmp_path: Path, poisoned: Any
) -> None:
    poisoned(11, what="input")
    inbox = Answering(commands.SkipBatch())
    events = list(fit(tiny.model_copy(update={"on_nonfinite": "ask"}), inbox, tmp_path))
    assert steps(events) == [*range(1, 11), 9, 10, *range(12, 17)] and events[-1].reason == "finished"
    assert_finite(tmp_path)


@pytest.mark.parametrize("answer", [commands.RollBack(), commands.RollBack(halve=True), commands.Continue()])
def test_ask_goes_back(answer: Command, tiny: Settings, tmp_path: Path, poisoned: Any) -> None:
    poisoned(11)
    events = list(fit(tiny.model_copy(update={"on_nonfinite": "ask"}), Answering(answer), tmp_path))
    assert steps(events) == [*range(1, 11), *range(9, 17)]
    halved = answer != commands.RollBack()
    assert only(BatchTrained, events)[-1].lr == (5e-4 if halved else 1e-3)


def test_ask_stops_when_nobody_watches(tiny: Settings, tmp_path: Path, poisoned: Any) -> None:
    poisoned(11)
    events = list(fit(tiny.model_copy(update={"on_nonfinite": "ask"}), Inbox(), tmp_path))
    assert (events[-1].reason, events[-1].exit_code) == ("diverged", 8)


def test_a_group_whose_batch_was_left_out_takes_nothing_along(tiny: Settings, tmp_path: Path, poisoned: Any) -> None:
    poisoned(4)  # the last of its group
    settings = tiny.model_copy(update={"on_nonfinite": "ask", "grad_accum_steps": 4, "epochs": 1})
    events = list(fit(settings, Answering(commands.SkipBatch()), tmp_path))
    saved = safe_load.load(tmp_path / "last.pt")
    assert events[-1].reason == "finished" and (saved["updates"], saved["gradients"]) == (1, None)


def test_a_scaler_that_finds_no_finite_gradient_any_more_ends_the_run(
    tiny: Settings, tmp_path: Path, poisoned: Any
) -> None:
    poisoned(9, what="gradient", again=True)
    events = list(fit(tiny.model_copy(update={"amp": "fp16", "epochs": 9}), Inbox(), tmp_path))
    ended = events[-1]
    assert isinstance(ended, RunEnded) and (ended.reason, ended.exit_code) == ("diverged", 8)
    assert ended.error is not None and ended.error.startswith(
        "The gradients are not finite, whatever fp16's loss scale"
    )
    assert steps(events)[-1] <= 8 + 24, "22 steps in a row that were left out, and the rest of their epoch"
    assert_finite(tmp_path)


def test_a_leap_of_the_loss_is_told_once(tiny: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    real = stepping.Step.__call__
    calls = 0

    def leaping(step: stepping.Step, *words: Any) -> Any:
        nonlocal calls
        calls += 1
        return real(step, *words) * (1000 if calls in (9, 10) else 1)

    monkeypatch.setattr(stepping.Step, "__call__", leaping)
    events = list(fit(tiny, Inbox()))
    leaps = [event.text for event in only(Warned, events) if "leapt" in event.text]
    assert len(leaps) == 1 and "at step 9" in leaps[0] and "clip_grad" in leaps[0]


def test_the_gradients_are_looked_at_on_a_device_too(
    tiny: Settings, tmp_path: Path, poisoned: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finite, "heeds_flag", lambda _: True)
    poisoned(11, what="gradient")
    settings = tiny.model_copy(update={"log_interval": 4})
    events = list(fit(settings, Inbox(), tmp_path))
    assert events[-1].reason == "diverged" and "epoch 2, batch 3 of 8" in events[-1].error
    poisoned(11, what="gradient")
    (tmp_path / "again").mkdir()
    events = list(fit(settings.model_copy(update={"on_nonfinite": "rollback"}), Inbox(), tmp_path / "again"))
    assert events[-1].reason == "finished" and events[-2].step == 16
    assert_finite(tmp_path / "again")


def test_weights_that_are_not_finite_are_never_saved(
    tiny: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = stepping.Step.__call__
    calls = 0

    def spoiling(step: stepping.Step, *words: Any) -> Any:
        nonlocal calls
        calls += 1
        loss = real(step, *words)
        if calls == 16:
            with torch.no_grad():
                step._parameters[0][0, 0] = math.inf
        return loss

    monkeypatch.setattr(stepping.Step, "__call__", spoiling)
    events = list(fit(tiny, Inbox(), tmp_path))
    assert events[-1].reason == "diverged" and "weights" in events[-1].error
    assert_finite(tmp_path)
    assert safe_load.load(tmp_path / "last.pt")["step"] == 8
