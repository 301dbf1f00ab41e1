"""A run that trains here and the same run read from its folder are one to whoever looks."""

import contextlib
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pty.terminal import until
from tests.run.examples import ended, evaluated, folded, saved, started, trained
from tui_trainer.cli.local_run import local_run
from tui_trainer.errors import DataError, FolderError
from tui_trainer.run import commands
from tui_trainer.run.background import Orders
from tui_trainer.run.commands import Inbox
from tui_trainer.run.control import Control
from tui_trainer.run.events import (
    BatchTrained,
    CheckpointSaved,
    EpochEnded,
    Event,
    Preparing,
    RunEnded,
    RunStarted,
    Warned,
)
from tui_trainer.run.folder import RunFolder
from tui_trainer.run.heartbeat import Heartbeat
from tui_trainer.run.journal import Journal, read
from tui_trainer.run.recorded import AttachedRun, RecordedRun
from tui_trainer.run.resume import own_settings
from tui_trainer.run.state import RunState
from tui_trainer.settings.schema import Settings
from tui_trainer.settings.sources import read_toml, resolve


def recorded(*events: Event) -> RunFolder:
    """A folder with these events in its journal."""
    folder = RunFolder.create(Settings())
    with contextlib.closing(Journal(folder.journal)) as journal:
        for event in events:
            journal.append(event)
    return folder


# --- training here -------------------------------------------------------------------------------------------------


def test_a_recorded_run_is_seen_as_the_live_one_was(tiny: Settings) -> None:
    run = local_run(tiny.model_copy(update={"save_top_k": 2, "scheduler": "plateau"}))
    live = []
    for event in run.events():
        live.append(event)
        if isinstance(event, BatchTrained) and event.step == 5:
            for command in (commands.SetLearningRate(2e-3), commands.Evaluate(), commands.SaveCheckpoint()):
                run.send(command)
    assert run.folder is not None
    again = RecordedRun(run.folder)
    assert list(again.events()) == again.so_far() == live
    assert folded(*again.events()) == folded(*live)
    state = folded(*live)
    assert (state.status, state.epoch, len(state.epochs), state.test is not None) == ("finished", 2, 2, True)
    assert list(state.checkpoints) == [
        "checkpoints/epoch-1.pt",
        "checkpoints/best.pt",
        "checkpoints/epoch-2.pt",
        "checkpoints/last.pt",
    ]
    assert {path.name for path in run.folder.checkpoints.iterdir()} == {
        *(Path(path).name for path in state.checkpoints),
        "prev.pt",
    }


def test_an_event_is_in_the_journal_before_it_is_given_out(tiny: Settings) -> None:
    run, seen = local_run(tiny.model_copy(update={"epochs": 1})), []
    for event in run.events():
        seen.append(event)
        assert run.folder is not None and list(read(run.folder.journal)) == seen


def test_an_epoch_is_batches_then_validation_then_checkpoints_then_its_end(tiny: Settings) -> None:
    kinds = [type(event).__name__ for event in local_run(tiny).events() if not isinstance(event, Preparing)]
    epoch = ["BatchTrained"] * 8 + ["Evaluated", "CheckpointSaved", "CheckpointSaved", "EpochEnded"]
    assert kinds == ["RunStarted", *epoch, *epoch, "Evaluated", "RunEnded"]


def test_the_folder_of_a_run_repeats_it(tiny: Settings) -> None:
    first = local_run(tiny.model_copy(update={"seed": None, "epochs": 1}))
    losses = [event.loss for event in first.events() if isinstance(event, BatchTrained)]
    assert first.folder is not None and first.settings.seed is not None
    read_back = resolve([read_toml(first.folder.manifest)]).settings
    assert read_back == first.settings
    again = local_run(read_back)
    assert [event.loss for event in again.events() if isinstance(event, BatchTrained)] == losses
    assert local_run(tiny.model_copy(update={"seed": None})).settings.seed != first.settings.seed


def test_a_run_leaves_files_for_its_owner_alone_and_is_held_while_it_trains(tiny: Settings) -> None:
    run = local_run(tiny.model_copy(update={"epochs": 1}))
    held = [run.folder.is_held() for _ in run.events() if run.folder]
    assert run.folder is not None and all(held) and not run.folder.is_held()
    for path in [run.folder.path, *run.folder.path.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_folder_that_is_deleted_under_way_can_be_found_and_carried_on_afterwards(tiny: Settings) -> None:
    run = local_run(tiny)
    told = []
    for event in run.events():
        told.append(event)
        if isinstance(event, BatchTrained) and event.step == 3 and run.folder:
            shutil.rmtree(run.folder.path)
        if isinstance(event, EpochEnded) and run.folder:
            assert run.folder.is_held() and list(read(run.folder.journal)) == told
    assert run.folder is not None and told[-1].reason == "finished"
    assert list(read(run.folder.journal)) == told and not run.folder.is_held()
    assert own_settings(run.folder, RunState()).values["epochs"] == tiny.epochs


def test_stop_saves_a_checkpoint_before_the_run_ends(tiny: Settings) -> None:
    run, events = local_run(tiny), []
    for event in run.events():
        events.append(event)
        if isinstance(event, BatchTrained) and event.step == 3:
            run.send(commands.Stop())
    assert isinstance(events[-2], CheckpointSaved) and events[-2].path == "checkpoints/last.pt"
    assert (events[-1].reason, events[-1].exit_code) == ("stopped", 0)
    assert run.folder is not None and (run.folder.path / events[-2].path).stat().st_size == events[-2].bytes


@pytest.mark.parametrize(
    ("fault", "code", "said"),
    [
        (
            ZeroDivisionError("division by zero"),
            1,
            "ZeroDivisionError: division by zero\nThis is a bug in tui-trainer.",
        ),
        (DataError("The file is cut short."), 3, "The file is cut short."),
        (SystemExit(0), 1, "SystemExit: 0\nThis is a bug in tui-trainer."),
        (MemoryError(), 1, "MemoryError: \nThis is a bug in tui-trainer."),
    ],
)
def test_whatever_goes_wrong_while_training_ends_the_run_as_failed(
    tiny: Settings, monkeypatch: pytest.MonkeyPatch, fault: BaseException, code: int, said: str
) -> None:
    from tui_trainer.training import loop

    def fit(*_args: object) -> Iterator[Event]:
        yield started()
        yield trained(10)
        yield evaluated(10, 0.4)
        yield saved(10, "best")
        raise fault

    monkeypatch.setattr(loop, "fit", fit)
    run = local_run(tiny)
    events = list(run.events())
    assert isinstance(events[0], Preparing) and [type(event) for event in events].count(RunEnded) == 1
    assert (events[-1].reason, events[-1].exit_code) == ("failed", code)
    assert (events[-1].best_epoch, events[-1].best_loss) == (1, 0.4)
    assert run.folder is not None
    assert events[-1].error == f"{said}\nThe details are in {run.folder.log}."
    log = run.folder.log.read_text()
    assert log.startswith("Traceback") and type(fault).__name__ in log
    assert RecordedRun(run.folder).so_far() == events and not run.folder.is_held()


def test_a_run_in_which_nothing_happens_notes_where_it_stands_and_goes_on(
    tiny: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui_trainer.training import loop

    def hangs(log: Path) -> None:
        until(lambda: "in hangs" in log.read_text(), lambda: "the traces of all threads")

    def fit(_settings: Settings, _inbox: object, checkpoints: Path, *_: object) -> Iterator[Event]:
        yield started()
        hangs(checkpoints.parent / "log.txt")
        yield ended()

    monkeypatch.setattr(loop, "fit", fit)
    monkeypatch.setattr(Heartbeat, "SILENCE", 0.1)
    run = local_run(tiny)
    assert list(run.events())[-1].reason == "finished", "it is told of, and never ended"
    assert run.folder is not None and run.folder.log.read_text().startswith("Timeout (0:00:00.1")


def test_a_run_that_is_left_lets_go_of_its_folder_and_is_lost(tiny: Settings) -> None:
    run = local_run(tiny)
    events = run.events()
    next(event for event in events if isinstance(event, BatchTrained))
    events.close()
    assert run.folder is not None and not run.folder.is_held()
    state = folded(*RecordedRun(run.folder).events())
    state.lose()
    assert state.status == "lost"


def no_space(*_args: object, **_kwargs: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_disk_that_is_full_from_the_start_is_a_folder_error(tiny: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "replace", no_space)  # the last call of writing run.toml
    with pytest.raises(FolderError, match="No space left on device") as refused:
        next(local_run(tiny).events())
    assert refused.value.exit_code == 6


def test_a_disk_that_fills_up_while_the_data_is_loaded_does_not_stop_training(
    tiny: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = []
    for event in local_run(tiny.model_copy(update={"epochs": 1})).events():
        events.append(event)
        if isinstance(event, Preparing) and event.what == "model":
            monkeypatch.setattr(os, "replace", no_space)
    assert (events[-1].reason, events[-1].exit_code) == ("failed", 6), "its last checkpoint could not be saved"
    assert len([event for event in events if isinstance(event, BatchTrained)]) == 8


def test_a_journal_that_cannot_be_written_is_told_once_and_is_whole_when_there_is_room_again(
    tiny: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, events = local_run(tiny), []
    with monkeypatch.context() as patch:
        for event in run.events():
            events.append(event)
            if isinstance(event, RunStarted):
                patch.setattr(os, "write", no_space)
            if isinstance(event, BatchTrained) and event.step == 12:
                patch.undo()
    warned = [event for event in events if isinstance(event, Warned) and "journal" in event.text]
    assert len(warned) == 1 and "the journal cannot be written (No space left on device)" in warned[0].text
    assert events[-1].reason == "finished"
    assert run.folder is not None
    assert folded(*RecordedRun(run.folder).events()) == folded(*events), "every viewer sees the same"


# --- reading one ---------------------------------------------------------------------------------------------------


def test_a_run_that_ended_or_is_lost_is_read_to_its_end() -> None:
    whole = (started(), trained(1), ended())
    assert list(RecordedRun(recorded(*whole)).events()) == list(whole)
    assert list(RecordedRun(recorded(*whole[:2])).events()) == list(whole[:2])


def test_a_run_carried_on_after_its_end_is_read_past_it() -> None:
    whole = (started(), trained(1), ended("stopped"), started(), trained(2), ended())
    assert list(RecordedRun(recorded(*whole)).events()) == list(whole)


def test_a_run_that_somebody_trains_is_followed_until_it_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RecordedRun, "POLL", 0.001)
    folder = recorded(started())
    watching = RecordedRun(folder).events()
    with folder.lock.hold(), contextlib.closing(Journal(folder.journal)) as journal:
        assert isinstance(next(watching), RunStarted)
        for step in (1, 2, 3):
            journal.append(trained(step))
            assert next(watching).step == step
        journal.append(ended())
    assert [type(event) for event in watching] == [RunEnded]


def test_a_follower_can_be_closed_while_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RecordedRun, "POLL", 0.001)
    folder = recorded(started())
    run = RecordedRun(folder)
    with folder.lock.hold():
        watching = run.events()
        next(watching)
        run.close()
        assert list(watching) == []


def test_history_is_given_before_anybody_is_connected_to_and_a_command_from_then_arrives(tiny: Settings) -> None:
    folder, inbox = RunFolder.create(tiny), Inbox()
    control = Control(folder.path, inbox)
    with contextlib.closing(Journal(folder.journal)) as journal, folder.lock.hold(), contextlib.closing(control):
        journal.append(started())
        run = AttachedRun(folder)
        bunches = run.bunches()
        assert [type(event) for event in next(bunches)] == [RunStarted], "a process that hangs holds nobody up"
        assert run._connection is None and not run.read_only
        run.send(commands.Pause())
        journal.append(trained(1))
        next(bunches)
        until(lambda: inbox.waiting, lambda: "the command that was given before")
        command = inbox.take()
        assert isinstance(command, commands.Pause) and command.by.startswith("viewer")
        bunches.close()
    assert run.read_only


def test_a_recorded_run_takes_no_orders(tiny: Settings) -> None:
    run = RecordedRun(recorded(started()))
    run.send(commands.Stop())
    assert run.read_only and not local_run(tiny).read_only
    assert len(run.so_far()) == 1


# --- orders --------------------------------------------------------------------------------------------------------


def test_the_inbox_gives_orders_in_the_order_they_came() -> None:
    inbox = commands.Inbox()
    assert inbox.take() is None and inbox.stop is None
    for command in (sent := [commands.Pause(), commands.SetLearningRate(0.1), commands.Continue()]):
        inbox.send(command)
    assert [inbox.take(), inbox.wait(), inbox.take(), inbox.take()] == [*sent, None]


def test_the_first_order_to_stop_is_seen_at_once_by_what_takes_no_other() -> None:
    inbox = commands.Inbox()
    inbox.send(commands.Pause())
    inbox.send(commands.Stop(signal=15))
    inbox.send(commands.Stop())
    assert inbox.stop == commands.Stop(signal=15)
    assert inbox.take() == commands.Pause()


# --- layers --------------------------------------------------------------------------------------------------------


def test_what_a_run_says_and_leaves_on_disk_is_read_without_torch_or_a_screen() -> None:
    """Nothing in run/ imports them, so that attach and the form are there at once."""
    script = """
import importlib, json, pkgutil, sys
import tui_trainer.run
for module in pkgutil.iter_modules(tui_trainer.run.__path__):
    importlib.import_module(f"tui_trainer.run.{module.name}")
from tui_trainer.run.resume import own_settings
from tui_trainer.cli.local_run import local_run
from tui_trainer.settings.schema import Settings
local_run(Settings())
print(json.dumps(sorted(sys.modules)))
"""
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(json.loads(answer.stdout))
    assert "tui_trainer.run.journal" in loaded
    heavy = {"torch", "torchvision", "numpy", "textual", "rich", "plotext", "tui_trainer.training", "tui_trainer.ui"}
    assert not loaded & heavy


def test_what_the_process_in_the_background_is_told_holds_all_that_was_named(tiny: Settings) -> None:
    settings = tiny.model_copy(update={"notify_url": "https://me:secret@ntfy.sh/x", "lr": 0.5, "max_time": 90.0})
    folder = RunFolder.create(settings)
    orders = Orders.from_json(Orders.of(folder, 7, settings, paused=True).to_json())
    assert Settings(**orders.settings) == settings and (orders.lock, orders.paused) == (7, True)
    assert Path(orders.folder) == folder.path.absolute()
    assert set(Settings(**orders.settings).model_fields_set) == settings.model_fields_set | {"notify_url"}
