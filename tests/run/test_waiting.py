"""What a run waits for before it begins: told, ended by its time or by an order, and never for nothing."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import replay
from tests.run.examples import started, trained
from tui_trainer.cli.local_run import local_run
from tui_trainer.errors import DeviceError, SettingsError
from tui_trainer.run import commands
from tui_trainer.run.commands import Inbox
from tui_trainer.run.events import Event, Preparing, RunEnded, RunPaused, Warned
from tui_trainer.run.events_json import to_json
from tui_trainer.run.folder import RunFolder
from tui_trainer.run.waiting import Waiting
from tui_trainer.settings.schema import Settings


@pytest.fixture(autouse=True)
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Waiting, "POLL", 0.001)


@pytest.fixture
def ahead() -> RunFolder:
    """A run of five epochs that has just begun."""
    folder = RunFolder.create(Settings(name="ahead"))
    write(folder, Preparing(what="torch"))
    return folder


def write(folder: RunFolder, *events: Event) -> None:
    with folder.journal.open("a") as file:
        file.writelines(to_json(event) + "\n" for event in events)


def ended(reason: str) -> RunEnded:
    error = "It broke." if reason in ("failed", "diverged") else None
    best = {"best_epoch": None, "best_loss": None, "best_accuracy": None}
    return RunEnded(reason=reason, error=error, exit_code=0, seconds=1.0, **best)


def what(event: Event | None) -> str:
    assert isinstance(event, Preparing)
    return event.what


# --- another run ---


def test_a_run_waits_until_nobody_holds_the_other_and_tells_how_far_that_is(ahead: RunFolder) -> None:
    with ahead.lock.hold():
        waiting = Waiting(Settings(after="ahead")).wait(Inbox())
        assert what(next(waiting)) == "waiting for ahead to end: it is being prepared"
        assert next(waiting) is None
        write(ahead, started(), trained(3))
        assert what(next(waiting)) == "waiting for ahead to end: epoch 1 of 5"
        write(ahead, trained(7))
        assert next(waiting) is None
        write(ahead, trained(23))
        assert what(next(waiting)) == "waiting for ahead to end: epoch 3 of 5"
        write(ahead, RunPaused())
        assert what(next(waiting)) == "waiting for ahead to end: epoch 3 of 5, paused"
        write(ahead, ended("finished"))
        next(waiting)
    assert list(waiting) == []


def test_a_run_that_is_over_is_not_waited_for(ahead: RunFolder) -> None:
    write(ahead, started(), ended("stopped"))
    assert list(Waiting(Settings(after="ahead")).wait(Inbox())) == []


@pytest.mark.parametrize(
    ("end", "says"), [("failed", "ahead failed"), ("diverged", "ahead diverged"), ("", "ahead was lost")]
)
def test_a_run_that_went_wrong_is_told_of_and_the_next_begins_all_the_same(
    end: str, says: str, ahead: RunFolder
) -> None:
    write(ahead, started(), trained(3), *([ended(end)] if end else []))
    (warned,) = Waiting(Settings(after="ahead")).wait(Inbox())
    assert isinstance(warned, Warned) and warned.text == f"{says}; this run begins all the same"


def test_a_run_whose_folder_was_deleted_meanwhile_is_told_of(ahead: RunFolder) -> None:
    turn = Waiting(Settings(after="ahead"))
    ahead.journal.unlink()
    (warned,) = turn.wait(Inbox())
    assert isinstance(warned, Warned) and warned.text == "ahead is gone; this run begins all the same"


@pytest.mark.parametrize("named", ["ahead", "ah", "last", "runs/ahead"])
def test_a_run_is_named_as_everywhere_and_last_is_the_newest_of_that_moment(named: str, ahead: RunFolder) -> None:
    turn = Waiting(Settings(after=named))
    newer = RunFolder.create(Settings(name="newer"))
    write(newer, Preparing(what="torch"))
    with ahead.lock.hold():
        assert what(next(turn.wait(Inbox()))).startswith("waiting for ahead")


def test_a_run_behind_one_that_waits_itself_says_so(ahead: RunFolder) -> None:
    write(ahead, Preparing(what="waiting for another to end: epoch 1 of 2"))
    with ahead.lock.hold():
        assert what(next(Waiting(Settings(after="ahead")).wait(Inbox()))) == "waiting for ahead to end: it waits itself"


@pytest.mark.usefixtures("ahead")
@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"after": "haed"}, "after: there is no run 'haed' in runs."),
        ({"after": "\x1b[31m"}, "after: there is no run '\\\\x1b[31m' in runs."),
        ({"after": "last", "output_dir": "none"}, "after: there is no run 'last': none holds no runs."),
    ],
)
def test_a_run_that_is_not_there_is_refused_before_anything_is_made(
    settings: dict[str, str], says: str, own_folder: Path
) -> None:
    before = sorted(own_folder.rglob("*"))
    with pytest.raises(SettingsError) as error:
        local_run(Settings(**settings))
    assert error.value.problems[0].startswith(says) and error.value.exit_code == 2
    assert sorted(own_folder.rglob("*")) == before


def test_a_run_cannot_wait_for_itself() -> None:
    with pytest.raises(SettingsError, match="cannot wait for itself"):
        Settings(after="it", name="it")


# --- a run that waits ---


@pytest.mark.parametrize(("signal", "reason", "code"), [(0, "stopped", 0), (2, "interrupted", 130)])
def test_an_order_to_stop_ends_the_wait_and_the_run(signal: int, reason: str, code: int, ahead: RunFolder) -> None:
    run = local_run(Settings(after="ahead", name="it"))
    with ahead.lock.hold():
        events = run.events()
        assert what(next(events)).startswith("waiting for ahead")
        run.send(commands.Pause())
        run.send(commands.Stop(signal=signal))
        (end,) = events
    assert isinstance(end, RunEnded) and (end.reason, end.exit_code, end.error) == (reason, code, None)
    assert run.folder and not run.folder.is_held()
    assert f'after = "{Path("runs/ahead").absolute()}"' in run.folder.manifest.read_text()


def test_a_run_trains_once_it_has_its_turn(ahead: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    trained_with: list[Settings] = []

    def fit(settings: Settings, inbox: Inbox, *_: object) -> Iterator[Event]:
        trained_with.append(settings)
        assert isinstance(inbox.take(), commands.Pause)  # what came meanwhile is still there
        yield ended("finished")

    monkeypatch.setitem(sys.modules, "tui_trainer.training.loop", SimpleNamespace(fit=fit))
    run = local_run(Settings(after="ahead", name="it"))
    with ahead.lock.hold():
        events = run.events()
        next(events)
        run.send(commands.Pause())
        assert not trained_with
    assert [type(event).__name__ for event in events] == ["Warned", "Preparing", "RunEnded"]
    assert len(trained_with) == 1


def test_a_waiting_run_has_a_state_of_its_own() -> None:
    state = replay.ReplayedRun([]).earlier
    state.apply(Preparing(what="waiting for ahead to end: epoch 1 of 2"))
    assert state.status == "waiting"
    state.apply(Preparing(what="torch"))
    assert state.status == "preparing"
    state.apply(started())
    state.apply(Preparing(what="waiting for data: 5 s"))
    assert state.status == "training"


# --- free memory ---


class Nvml(SimpleNamespace):
    """A driver with GPUs of 80 GiB; `free` is what of each is free, in GiB."""

    class NVMLError(Exception):
        pass

    def __init__(self, *free: float) -> None:
        super().__init__(free=list(free), init=None)

    def nvmlInit(self) -> None:  # noqa: N802
        if self.init:
            raise self.init

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.free)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> str:  # noqa: N802
        return f"GPU-{handle}abc"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(free=int(self.free[handle] * 2**30), total=80 * 2**30)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nvml]:
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    nvml = Nvml(3.2, 1.0)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    yield nvml


def test_a_run_waits_for_memory_on_its_gpu(gpus: Nvml) -> None:
    turn = Waiting(Settings(when_free="10GiB", device="cuda"))
    waiting = turn.wait(Inbox())
    assert what(next(waiting)) == "waiting for 10.0 GiB free on GPU 0: 3.2 GiB are"
    gpus.free = [3.3, 80.0]
    assert next(waiting) is None  # it changes all the time; told now and then
    gpus.free = [10.0, 0.0]
    assert list(waiting) == [] and turn.device == "cuda"


def test_free_memory_is_told_again_when_it_has_changed_and_some_time_has_passed(
    gpus: Nvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Waiting, "SELDOM", 0.0)
    waiting = Waiting(Settings(when_free="10GiB", device="cuda:1")).wait(Inbox())
    assert what(next(waiting)) == "waiting for 10.0 GiB free on GPU 1: 1.0 GiB are"
    assert next(waiting) is None
    gpus.free[1] = 2.5
    assert what(next(waiting)) == "waiting for 10.0 GiB free on GPU 1: 2.5 GiB are"


def test_where_any_gpu_would_do_the_one_that_has_the_memory_is_used(
    gpus: Nvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[str] = []
    fit = lambda settings, *_: iter([used.append(settings.device), ended("finished")][1:])  # noqa: E731
    monkeypatch.setitem(sys.modules, "tui_trainer.training.loop", SimpleNamespace(fit=fit))
    run = local_run(Settings(when_free="10GiB"))
    events = run.events()
    assert what(next(events)) == "waiting for 10.0 GiB free on any of 2 GPUs: 3.2 GiB are"
    gpus.free = [9.0, 11.0]
    list(events)
    assert used == ["cuda:1"] == [run.settings.device]


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(
    ("visible", "device", "seen"),
    [
        ("1", "cuda", "GPU 0: 1.0 GiB"),
        ("1,0", "cuda:1", "GPU 1: 3.2 GiB"),
        ("GPU-1a", "cuda", "GPU 0: 1.0 GiB"),
        ("1,7,0", "auto", "GPU 0: 1.0 GiB"),
    ],
)
def test_gpus_are_counted_as_cuda_visible_devices_leaves_them(
    visible: str, device: str, seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    waiting = Waiting(Settings(when_free="10GiB", device=device)).wait(Inbox())
    assert what(next(waiting)).endswith(f"free on {seen} are")


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize("visible", ["", "-1", "GPU-nothing"])
def test_gpus_that_are_hidden_are_none(visible: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(DeviceError, match=r"0 are seen here \(CUDA_VISIBLE_DEVICES is set\)"):
        next(Waiting(Settings(when_free="1GB")).wait(Inbox()))


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"device": "cpu"}, "the device is cpu"),
        ({"device": "mps"}, "the device is mps"),
        ({"device": "cuda:2"}, "There is no GPU 2 to wait for: 2 are seen here"),
        ({"when_free": "81GiB"}, "81.0 GiB will never be free: the GPU has 80.0 GiB in all"),
    ],
)
def test_a_wait_that_could_never_end_is_refused(settings: dict[str, str], says: str) -> None:
    run = local_run(Settings(**{"when_free": "1GB", "name": "it"} | settings))
    (end,) = run.events()
    assert isinstance(end, RunEnded) and end.exit_code == 9 and says in (end.error or "")
    assert "Nothing was trained." in (end.error or "")


def test_a_machine_without_a_driver_says_so_before_the_other_run_has_ended(gpus: Nvml, ahead: RunFolder) -> None:
    gpus.init = Nvml.NVMLError("NVML Shared Library Not Found")
    with ahead.lock.hold(), pytest.raises(DeviceError, match="cannot look at a GPU: NVML Shared Library Not Found"):
        next(Waiting(Settings(when_free="1GB", after="ahead")).wait(Inbox()))


@pytest.mark.usefixtures("gpus")
def test_a_journal_of_a_run_that_waited_is_one_like_any_other() -> None:
    run = local_run(Settings(when_free="10GiB", name="it"))
    events = run.events()
    next(events)
    run.send(commands.Stop())
    list(events)
    assert run.folder
    kinds = [json.loads(line)["event"] for line in run.folder.journal.read_text().splitlines()]
    assert kinds == ["Preparing", "RunEnded"]
