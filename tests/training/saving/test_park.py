"""A run that is parked gives its memory back, and goes on as if it had never been: bit for bit, on a CPU."""

import gc
import weakref
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from tests.training.plain_loop import Orders, only, steered
from tests.training.saving.test_resume import (  # noqa: F401
    KINDS,
    Broken,
    differences,
    normalised,
    prompt_disk,
    settings_of,
    unbroken,
)
from tui_trainer import disk
from tui_trainer.run import commands
from tui_trainer.run.commands import Command, Inbox
from tui_trainer.run.events import (
    BatchTrained,
    CheckpointSaved,
    EpochEnded,
    Evaluated,
    Event,
    LearningRateChanged,
    Preparing,
    RunEnded,
    RunPaused,
    RunResumed,
    RunStarted,
    Warned,
)
from tui_trainer.run.state import RunState
from tui_trainer.settings.schema import Settings
from tui_trainer.training import course as courses
from tui_trainer.training import models
from tui_trainer.training.data import splits
from tui_trainer.training.loop import fit

PARKED: list[Command] = [commands.Park(), commands.Continue()]


def kinds(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


class After(Orders):
    """Gives out orders after a step that nothing is told of."""

    def __init__(self, step: int, orders: list[Command]) -> None:
        super().__init__()
        self._looks, self._orders = step + 1, orders  # the first look comes before the first step

    def take(self) -> Command | None:
        command = super().take()
        if command is None:
            self._looks -= 1
            if self._looks == 0:
                self.put_back(self._orders)
                return super().take()
        return command


# --- exactly as it was ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*KINDS, "two workers"])
def test_a_run_parked_in_all_its_parts_ends_as_one_that_never_was(
    kind: str,
    tiny: Settings,
    tmp_path: Path,
    unbroken: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    normalised(kind, monkeypatch)
    workers = {"workers": 2, "mp_context": "fork"} if kind == "two workers" else {}
    settings = settings_of(tiny, "loader" if workers else kind, **workers)
    whole = unbroken(settings)
    steps = [step for _, _, step in whole.losses()]
    batches = only(BatchTrained, whole.events)[-1].batches
    run = Broken(settings, tmp_path / "checkpoints")
    told = run.go(dict.fromkeys((1, batches - 1, batches, batches + 2, max(steps) - 1, max(steps)), PARKED))
    assert sum(event.why == "parked" for event in only(RunPaused, told)) == 6 == len(only(RunResumed, told))
    assert differences(whole.outcome(), run.outcome()) == []
    assert run.losses() == whole.losses()
    assert [e.epoch for e in only(EpochEnded, told)] == [e.epoch for e in only(EpochEnded, whole.events)]


def test_a_report_after_parking_is_that_of_an_unbroken_run(tiny: Settings, tmp_path: Path, unbroken: Any) -> None:  # noqa: F811
    settings = settings_of(tiny, "tutorial", log_interval=4)
    whole = unbroken(settings)
    run = Broken(settings, tmp_path / "checkpoints")
    run.events = list(fit(settings, After(6, PARKED), run.folder))  # a step of which there is no report otherwise
    assert (1, 6, 6) in run.losses() and whole.losses().items() < run.losses().items()
    assert differences(whole.outcome(), run.outcome()) == []


@pytest.mark.parametrize("epoch", [1, 3])
@pytest.mark.parametrize("first", [[], [commands.Pause()]], ids=["", "paused in it"])
def test_parked_during_a_validation_it_is_finished_first_and_its_epoch_told_once(
    first: list[Command],
    epoch: int,
    tiny: Settings,
    tmp_path: Path,
    unbroken: Any,  # noqa: F811
) -> None:
    settings = settings_of(tiny, "plateau and patience", epochs=3)
    whole = unbroken(settings)
    inbox, run, validations = Orders(), Broken(settings, tmp_path / "checkpoints"), 0
    for event in fit(settings, inbox, run.folder):
        run.events.append(event)
        if isinstance(event, Preparing) and event.what == "validation":
            validations += 1
            for command in [*first, commands.Park()] if validations == epoch else []:
                inbox.send(command)
        if isinstance(event, RunPaused) and event.why == "parked":
            inbox.send(commands.Continue())
    told = [f"{kind}" for kind in kinds(run.events) if kind in ("Evaluated", "RunPaused", "EpochEnded")]
    assert told[-1 - told[::-1].index("RunPaused") - 1] == "Evaluated"
    assert [event.epoch for event in only(EpochEnded, run.events)] == [1, 2, 3]
    assert differences(whole.outcome(), run.outcome()) == []


def test_a_limit_reached_and_an_epoch_ended_early_are_remembered(tiny: Settings, tmp_path: Path) -> None:
    settings = settings_of(tiny, "accumulation and clipping", max_steps=12)
    whole, run = (Broken(settings, tmp_path / name) for name in ("whole", "checkpoints"))
    whole.go({4: [commands.EndEpoch()]})  # inside a group, which is still completed
    run.go({4: [commands.EndEpoch(), *PARKED], 12: PARKED})
    assert [e.step for e in only(Evaluated, run.events)] == [e.step for e in only(Evaluated, whole.events)]
    assert run.losses() == whole.losses() and differences(whole.outcome(), run.outcome()) == []


def test_parked_before_the_first_step_and_twice_at_the_same_one_and_without_a_folder(tiny: Settings) -> None:
    whole = list(steered(tiny, {}))
    inbox = Orders()
    for command in PARKED * 2:
        inbox.send(command)
    events = list(fit(tiny, inbox))
    assert kinds(events).count("RunPaused") == 2
    assert [e.loss for e in only(BatchTrained, events)] == [e.loss for e in only(BatchTrained, whole)]
    assert only(RunEnded, events)[-1].best_loss == only(RunEnded, whole)[-1].best_loss


# --- orders --------------------------------------------------------------------------------------------------------


def test_parking_saves_and_then_says_what_it_gave_back(tiny: Settings, tmp_path: Path) -> None:
    events = list(steered(tiny, {3: PARKED}, tmp_path))
    told = kinds(events)
    at = told.index("RunPaused")
    assert told[at - 1] == "CheckpointSaved" and events[at - 1].step == 3
    assert events[at].why == "parked" and events[at].text.endswith(" given back")
    assert "RunStarted" not in told[at:]


def test_a_paused_run_can_be_parked_and_goes_on_with_one_continue(tiny: Settings) -> None:
    events = list(steered(tiny, {3: [commands.Pause(), commands.Pause(), *PARKED]}))
    assert [e.why for e in only(RunPaused, events)] == ["", "parked"] and len(only(RunResumed, events)) == 1
    assert only(RunEnded, events)[-1].reason == "finished"


def test_continue_calls_parking_off_while_an_evaluation_is_still_under_way(tiny: Settings) -> None:
    inbox = Orders()
    events = []
    for event in fit(tiny, inbox):
        events.append(event)
        if isinstance(event, Preparing) and event.what == "validation" and not only(RunResumed, events):
            for command in PARKED:
                inbox.send(command)
    assert not only(RunPaused, events) and only(RunEnded, events)[-1].reason == "finished"


def test_a_rate_and_an_end_of_the_epoch_wait_until_the_run_goes_on(tiny: Settings, tmp_path: Path) -> None:
    late = [commands.SetLearningRate(0.01), commands.EndEpoch()]
    direct = Broken(tiny, tmp_path / "direct")
    direct.go({3: late})
    parked = Broken(tiny, tmp_path / "parked")
    parked.go({3: [commands.Park(), *late, commands.Continue()]})
    told = kinds(parked.events)
    assert told.index("LearningRateChanged") > told.index("RunResumed")
    assert only(LearningRateChanged, parked.events)[0].lr == 0.01
    assert parked.losses() == direct.losses() and differences(direct.outcome(), parked.outcome()) == []


def test_what_a_parked_run_cannot_do_it_says(tiny: Settings, tmp_path: Path) -> None:
    orders = [commands.Park(), commands.Evaluate(), commands.SaveCheckpoint(), commands.Pause(), commands.Park()]
    events = list(steered(tiny, {3: [*orders, commands.Continue()]}, tmp_path))
    said = [event.text for event in only(Warned, events)]
    assert said == ["the run is parked: it can be measured when it goes on", "the run is parked: it was saved then"]


@pytest.mark.parametrize(
    ("stop", "reason", "code"), [(commands.Stop(), "stopped", 0), (commands.Stop(signal=15), "interrupted", 143)]
)
def test_stop_ends_a_parked_run_which_can_be_carried_on(
    stop: commands.Stop,
    reason: str,
    code: int,
    tiny: Settings,
    tmp_path: Path,
    unbroken: Any,  # noqa: F811
) -> None:
    run = Broken(tiny, tmp_path / "checkpoints")
    ended = run.go({10: [commands.Park(), stop]})[-1]
    assert isinstance(ended, RunEnded) and (ended.reason, ended.exit_code, ended.best_epoch) == (reason, code, 1)
    run.go()
    assert differences(unbroken(tiny).outcome(), run.outcome()) == []


def test_a_run_that_asks_what_to_do_is_not_parked(tiny: Settings) -> None:
    inbox = Orders()
    inbox.watched_here = True
    settings = tiny.model_copy(update={"optimizer": "sgd", "lr": 1e6, "on_nonfinite": "ask", "epochs": 1})
    events = []
    for event in fit(settings, inbox):
        events.append(event)
        if isinstance(event, RunPaused):
            for command in [commands.Park(), commands.Stop()]:
                inbox.send(command)
    assert [e.why for e in only(RunPaused, events)] == ["diverged"]
    assert "once that is answered" in only(Warned, events)[0].text


# --- faults --------------------------------------------------------------------------------------------------------


class Full(disk.Disk):
    """A disk without room, until there is some."""

    room = False

    def write(self, fd: int, content: bytes | memoryview) -> int:
        if not self.room:
            raise OSError(28, "No space left on device")
        return super().write(fd, content)


@pytest.mark.parametrize("end", ["goes on", "is saved", "is stopped"])
def test_a_full_disk_costs_a_parked_run_nothing(
    end: str,
    tiny: Settings,
    tmp_path: Path,
    unbroken: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    full = Full()
    run = Broken(tiny, tmp_path / "checkpoints")
    inbox = Orders()
    for event in fit(tiny, inbox, run.folder):
        run.events.append(event)
        if isinstance(event, BatchTrained) and event.step == 5:
            monkeypatch.setattr(disk, "DISK", full)
            inbox.send(commands.Park())
        if isinstance(event, RunPaused):
            assert "held in memory alone" in event.text
            if end == "goes on":
                inbox.send(commands.SaveCheckpoint())
            full.room = True
            if end != "is stopped":
                inbox.send(commands.SaveCheckpoint())
            inbox.send(commands.Stop() if end == "is stopped" else commands.Continue())
    if end == "is stopped":
        assert run.events[-2:] == [only(CheckpointSaved, run.events)[-1], run.events[-1]]
        run.go()
    assert only(CheckpointSaved, run.events)[0].step == 5
    assert differences(unbroken(tiny).outcome(), run.outcome()) == []


def test_a_run_whose_disk_stays_full_ends_with_the_reason(
    tiny: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "DISK", Full())
    with pytest.raises(Exception, match=r"last\.pt cannot be saved: the disk is full"):
        list(steered(tiny, {3: [commands.Park(), commands.Stop()]}, tmp_path))


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "it cannot go on yet. cpu is out of memory"),
        (splits.DataError("The data is gone.\nBring it back."), "it cannot go on yet. The data is gone."),
    ],
)
def test_a_run_that_cannot_go_on_stays_parked(
    error: Exception,
    says: str,
    tiny: Settings,
    tmp_path: Path,
    unbroken: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, build = Broken(tiny, tmp_path / "checkpoints"), models.build
    inbox = Orders()

    def refuse(*_: object, **__: object) -> None:
        raise error

    for event in fit(tiny, inbox, run.folder):
        run.events.append(event)
        if isinstance(event, BatchTrained) and event.step == 5:
            monkeypatch.setattr(models, "build", refuse)
            for command in PARKED:
                inbox.send(command)
        if isinstance(event, RunPaused) and event.text.startswith("it cannot"):
            monkeypatch.setattr(models, "build", build)
            inbox.send(commands.Continue())
    assert only(RunPaused, run.events)[-1].text.startswith(says) and len(only(RunPaused, run.events)) == 2
    assert differences(unbroken(tiny).outcome(), run.outcome()) == []


# --- memory and time -----------------------------------------------------------------------------------------------


def test_a_parked_run_gives_most_of_its_data_and_all_of_its_parts_back(
    tiny: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pad = 80  # images of 188 x 188: 212 MB
    settings = tiny.model_copy(update={"pad": pad, "optimizer": "sgd", "valid_fraction": 0.0})
    images = 6_000 * (28 + 2 * pad) ** 2
    alive: list[weakref.ref[Any]] = []
    make = courses.Course.__init__

    def noted(self: courses.Course, *words: Any) -> None:
        make(self, *words)
        parts = (self, self.model, self.optimizer, self.step, self.schedule, self.splits.train.inputs)
        alive.extend(weakref.ref(part) for part in parts)

    monkeypatch.setattr(courses.Course, "__init__", noted)
    process, inbox, held, lived = psutil.Process(), Inbox(), {}, {}
    for event in fit(settings, inbox, tmp_path):
        if isinstance(event, BatchTrained) and event.step == 2:
            held["training"] = process.memory_info().rss
            inbox.send(commands.Park())
        if isinstance(event, RunPaused):
            held["parked"] = process.memory_info().rss
            lived["parked"] = [ref() for ref in alive if ref() is not None]
            inbox.send(commands.Continue())
        if isinstance(event, BatchTrained) and event.step == 3:
            held["again"] = process.memory_info().rss
            break
    assert lived["parked"] == []
    assert held["training"] - held["parked"] > 0.8 * images
    assert held["again"] - held["parked"] > 0.8 * images


def test_parked_time_counts_towards_the_run_but_towards_no_epoch_and_no_speed(
    tiny: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    ahead = 0.0
    monotonic = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + ahead)
    inbox, events = Orders(), []
    for event in fit(tiny, inbox):
        events.append(event)
        if isinstance(event, BatchTrained) and event.step == 3:
            for command in PARKED:
                inbox.send(command)
        if isinstance(event, RunPaused):
            ahead = 1000.0
    assert all(event.seconds < 900 for event in only(EpochEnded, events))
    after = [event for event in only(BatchTrained, events) if event.step > 3]
    assert all(event.elapsed > 1000 and event.examples_per_second > 1 for event in after)
    assert events[-1].seconds > 1000


def test_a_parked_run_is_parked_for_its_viewers_until_it_goes_on(tiny: Settings) -> None:
    state, seen = RunState(), []
    for event in steered(tiny, {3: PARKED}):
        state.apply(event)
        seen.append(state.status)
    assert "parked" in seen and seen[-1] == "finished"
    assert any(row.text.startswith("parked: ") for row in state.log)
    assert not state.asks and not state.parked
    assert only(RunStarted, [event]) == [] and gc.isenabled()
