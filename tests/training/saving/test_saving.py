"""Checkpoints are written while the next steps are taken, and are told of in their place and not before their time."""

import dataclasses
import threading
from itertools import pairwise
from pathlib import Path

import pytest

from tests.training.plain_loop import Orders, only, steered
from tui_trainer import disk
from tui_trainer.run import commands
from tui_trainer.run.commands import Inbox
from tui_trainer.run.events import BatchTrained, CheckpointSaved, EpochEnded, Event, RunEnded, RunPaused, Warned
from tui_trainer.settings.schema import Settings
from tui_trainer.training.course import Course
from tui_trainer.training.loop import fit
from tui_trainer.training.saving import safe_load
from tui_trainer.training.saving.writer import Save, Writer, in_order

PATIENCE = 20.0


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """A disk that finishes nothing before the second batch after it was asked. Whether it was ever in time."""
    write, count = disk.write_whole, Course.count
    stepped, in_time = threading.Event(), []

    def write_late(*words: object, **more: object) -> None:
        in_time.append(stepped.wait(PATIENCE))
        write(*words, **more)  # type: ignore[arg-type]

    def count_and_tell(course: Course, loss: object, examples: int) -> None:
        count(course, loss, examples)  # type: ignore[arg-type]
        if course.progress.batch == 2 and course.progress.epoch == 2:
            stepped.set()

    monkeypatch.setattr(disk, "write_whole", write_late)
    monkeypatch.setattr(Course, "count", count_and_tell)
    return in_time


def test_the_next_steps_are_taken_while_a_checkpoint_is_written(
    tiny: Settings, tmp_path: Path, slow_disk: list[bool]
) -> None:
    events = list(fit(tiny, Inbox(), tmp_path))
    assert slow_disk and all(slow_disk)
    kinds = [type(event).__name__ for event in events if type(event).__name__ != "Preparing"]
    epoch = ["BatchTrained"] * 8 + ["Evaluated"] + ["CheckpointSaved"] * 2 + ["EpochEnded"]
    assert kinds == ["RunStarted", *epoch, *epoch, "Evaluated", "RunEnded"]
    assert [event.step for event in only(CheckpointSaved, events)] == [8, 8, 16, 16]
    assert all(a.at <= b.at for a, b in pairwise(events))


def test_nothing_is_told_as_saved_before_it_is_on_the_disk(tiny: Settings, tmp_path: Path) -> None:
    for event in fit(tiny.model_copy(update={"save_every": 1}), Inbox(), tmp_path):
        if isinstance(event, CheckpointSaved):
            assert safe_load.load(tmp_path / Path(event.path).name)["step"] >= event.step


@pytest.mark.usefixtures("slow_disk")
def test_a_pause_is_told_though_a_checkpoint_was_being_written(tiny: Settings, tmp_path: Path) -> None:
    orders = {10: [commands.Pause(), commands.SaveCheckpoint(), commands.Continue()]}
    events = list(steered(tiny, orders, tmp_path))
    kinds = [type(event) for event in events]
    assert kinds.index(EpochEnded) < kinds.index(RunPaused) and events[-1].reason == "finished"


@pytest.mark.usefixtures("slow_disk")
def test_a_stop_waits_for_what_is_being_written(tiny: Settings, tmp_path: Path) -> None:
    events = list(steered(tiny, {10: [commands.Stop()]}, tmp_path))
    assert isinstance(events[-1], RunEnded) and events[-1].reason == "stopped"
    saved = only(CheckpointSaved, events)
    assert [event.kind for event in saved] == ["best", "last", "last"]
    assert safe_load.load(tmp_path / "last.pt")["step"] == saved[-1].step


def test_no_thread_is_left_behind(tiny: Settings, tmp_path: Path) -> None:
    before = threading.active_count()
    list(fit(tiny, Inbox(), tmp_path))
    assert threading.active_count() == before
    going = fit(tiny, Orders(), tmp_path)
    while not isinstance(next(going), CheckpointSaved):
        pass
    going.close()
    assert threading.active_count() == before


def test_events_wait_for_the_saves_ahead_of_them_and_no_longer() -> None:
    writer, first, second = Writer(), threading.Event(), threading.Event()
    saved = [CheckpointSaved(kind=k, epoch=1, step=1, path=k, bytes=1, seconds=0.0) for k in ("best", "last")]
    told: list[Event] = []

    def failed(error: OSError) -> Event:
        return Warned(text=str(error))

    def happenings():  # type: ignore[no-untyped-def]
        yield writer.begin(lambda: (first.wait(PATIENCE), saved[0])[1], failed)
        yield writer.begin(lambda: (second.wait(PATIENCE), saved[1])[1], failed)
        yield ended
        assert told == []
        first.set()
        while not writer.news():
            pass
        yield None
        assert told == saved[:1]
        second.set()
        writer.wait()
        yield None
        assert [type(event) for event in told] == [CheckpointSaved, CheckpointSaved, EpochEnded]
        yield batch

    ended = EpochEnded(epoch=1, train_loss=0.0, seconds=0.0)
    batch = Warned(text="next")
    for event in in_order(happenings()):
        told.append(event)
    assert [dataclasses.replace(event, at=0.0) for event in told] == [
        dataclasses.replace(event, at=0.0) for event in (*saved, ended, batch)
    ]
    writer.close()


def test_what_came_before_a_fault_is_told_before_it() -> None:
    writer = Writer()
    saved = CheckpointSaved(kind="last", epoch=1, step=1, path="last", bytes=1, seconds=0.0)

    def happenings():  # type: ignore[no-untyped-def]
        yield writer.begin(lambda: saved, lambda error: Warned(text=str(error)))
        raise ValueError("a fault")

    told = []
    with pytest.raises(ValueError, match="a fault"):
        for event in in_order(happenings()):
            told.append(event)
    assert told == [saved]
    writer.close()


def test_at_most_two_checkpoints_wait_for_the_disk() -> None:
    writer, done = Writer(), []
    saved = CheckpointSaved(kind="last", epoch=1, step=1, path="last", bytes=1, seconds=0.0)
    saves: list[Save] = []
    for number in range(5):
        saves.append(writer.begin(lambda n=number: (done.append(n), saved)[1], lambda error: Warned(text=str(error))))  # type: ignore[misc,func-returns-value]
        assert sum(not save.is_done() for save in saves) <= 2
    writer.wait()
    assert done == [0, 1, 2, 3, 4]
    assert isinstance(saves[-1].event(), CheckpointSaved) and not isinstance(saves[-1].event(), BatchTrained)
    writer.close()
