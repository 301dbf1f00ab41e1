"""A batch size that is left open becomes the largest that fits, and to look for it leaves no trace."""

import tomllib

import pytest
import torch
from torch import nn

from tests.training.plain_loop import only, prepared
from tui_trainer.cli.gather import gather
from tui_trainer.cli.local_run import local_run
from tui_trainer.errors import SettingsError
from tui_trainer.outlook import run as outlook_run
from tui_trainer.run.commands import Inbox
from tui_trainer.run.events import BatchTrained, Event, Preparing, RunStarted, Warned
from tui_trainer.run.resume import Resume
from tui_trainer.settings.schema import Settings
from tui_trainer.settings.sources import read_toml
from tui_trainer.settings.writing import to_toml
from tui_trainer.training import models
from tui_trainer.training.before import batch_size
from tui_trainer.training.before.batch_size import Trial, largest
from tui_trainer.training.loop import fit


def run(settings: Settings, **used: object) -> list[Event]:
    return list(fit(settings.model_copy(update=used), Inbox()))


@pytest.mark.parametrize(
    ("limit", "most", "found", "tried"),
    [
        (100, 4096, 64, [2, 4, 8, 16, 32, 64, 128]),
        (64, 64, 64, [2, 4, 8, 16, 32, 64]),
        (10**9, 100, 64, None),
        (0, 4096, 1, [2]),
        (10**9, 1, 1, []),
        (3, 3, 2, [2]),
    ],
)
def test_it_is_doubled_until_it_does_not_fit(limit: int, most: int, found: int, tried: list[int] | None) -> None:
    asked: list[int] = []

    def fits(size: int) -> bool:
        asked.append(size)
        return size <= limit

    assert largest(fits, most) == found
    assert tried is None or asked == tried


def test_auto_is_recorded_as_the_number_that_was_used(tiny: Settings) -> None:
    events = run(tiny, batch_size=0, limit_train_batches=2, epochs=1)
    (started,) = only(RunStarted, events)
    assert started.settings["batch_size"] == 128  # 4,500 examples, of which 32 steps an epoch take 140 each at most
    assert [e.text for e in only(Warned, events)] == [
        "batch size 128: a larger one leaves fewer than 32 steps an epoch"
    ]
    assert "the largest batch size that fits" in [e.what for e in only(Preparing, events)]


def test_it_stays_the_same_when_the_run_is_carried_on(tiny: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tiny.model_copy(update={"batch_size": 0, "limit_train_batches": 2})
    run = local_run(settings.model_copy(update={"max_steps": 3}))
    list(run.events())
    assert run.folder is not None and read_toml(run.folder.manifest).values["batch_size"] == 128
    monkeypatch.setattr(batch_size, "find", pytest.fail)
    for used in ({}, {"batch_size": 128}):
        resumed = settings.model_copy(update=used | {"max_steps": 4})
        events = list(fit(resumed, Inbox(), run.folder.checkpoints, Resume()))
        assert only(RunStarted, events)[0].settings["batch_size"] == 128 and events[-1].reason == "finished"


def test_to_look_for_it_leaves_no_trace(tiny: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    build = models.build
    monkeypatch.setattr(
        models, "build", lambda *words, **more: nn.Sequential(nn.BatchNorm2d(1), build(*words, **more), nn.Dropout(0.1))
    )
    used = {"limit_train_batches": 3, "epochs": 1, "model": "cnn"}
    found, known = run(tiny, batch_size=0, **used), run(tiny, batch_size=128, **used)
    assert [e.loss for e in only(BatchTrained, found)] == [e.loss for e in only(BatchTrained, known)]


def trial(settings: Settings) -> Trial:
    course = prepared(settings)
    return Trial(course.settings, course.splits, course.task, course.model)


def test_on_a_processor_half_of_the_free_memory_is_enough_for_what_layers_keep(
    tiny: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny, free = tiny.model_copy(update={"model_arg": ""}), 10**12
    monkeypatch.setattr(batch_size, "free_memory", lambda _: free)
    tried = trial(tiny)
    each = (tried._kept(10) - tried._kept(4)) / 6
    assert 3_136 + 3 * 2_048 <= each < 4 * (3_136 + 4 * 2_048)  # the image, and what comes out of each layer
    assert tried.would_fit(256)
    free = 2 * (12 * 669_706 + 2 * 64 * (int(each) + 3_136))
    assert tried.would_fit(64) and not tried.would_fit(65)
    course = prepared(tiny)
    assert batch_size.find(tiny, course.splits, course.task, course.model) == (
        64,
        "a larger one does not fit into the memory of cpu",
    )
    free = 10**12
    monkeypatch.setattr(batch_size, "LEAST_STEPS", 1)
    assert batch_size.find(tiny, course.splits, course.task, course.model) == (
        256,
        "cpu is no faster with a larger one",
    )


@pytest.mark.parametrize("error", [None, torch.OutOfMemoryError("full")])
def test_a_step_is_tried_as_it_will_be_taken(
    tiny: Settings, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    monkeypatch.setattr(batch_size.devices, "total", lambda _: 2000)
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda _: None)
    tried, seen = trial(tiny.model_copy(update={"optimizer": "sgd", "lr": 1.0})), []
    before = [p.detach().clone() for p in tried._model.parameters()]

    def fail(_module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        seen.append(tuple(inputs[0].shape))
        if error is not None:
            raise error

    tried._model.register_forward_pre_hook(fail)
    assert tried.steps(8) is (error is None)
    assert seen == [(8, 1, 28, 28)] and all(p.grad is None for p in tried._model.parameters())
    moved = any(not torch.equal(a, b) for a, b in zip(before, tried._model.parameters(), strict=True))
    assert moved is (error is None)


def test_a_model_that_cannot_be_tried_is_told_of_where_it_fails(tiny: Settings) -> None:
    course = prepared(tiny)
    course.model.register_forward_pre_hook(lambda *_: 1 / 0)  # type: ignore[arg-type,return-value]
    assert batch_size.find(tiny, course.splits, course.task, course.model) == (64, "the model could not be tried")


@pytest.mark.parametrize("word", ["auto", " Auto ", "0"])
def test_auto_can_be_typed_and_written(word: str) -> None:
    settings = gather({"batch_size": word}).settings
    assert settings.batch_size == 0
    assert tomllib.loads(to_toml(settings))["batch_size"] == 0
    future = outlook_run.describe_run(settings)
    assert "steps are known once the batch size is" in future.lines()


def test_what_needs_a_number_says_so() -> None:
    with pytest.raises(SettingsError, match="batch_size: overfit_batches counts batches of a size that is known"):
        Settings(batch_size="auto", overfit_batches=2)  # type: ignore[arg-type]
