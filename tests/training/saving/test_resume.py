"""A run that is broken off anywhere and carried on ends as if it had never stopped: bit for bit, on a CPU."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training.plain_loop import NARROW, Orders, only
from tui_trainer.run import commands
from tui_trainer.run.commands import Command
from tui_trainer.run.events import BatchTrained, EpochEnded, Evaluated, Event, LearningRateChanged, RunEnded
from tui_trainer.run.resume import Resume
from tui_trainer.settings.schema import Settings
from tui_trainer.training import models
from tui_trainer.training.loop import fit
from tui_trainer.training.saving import safe_load
from tui_trainer.training.saving.checkpoint import pack
from tui_trainer.training.saving.writer import Save, Writer
from tui_trainer.training.step import step as stepping

KINDS: dict[str, dict[str, Any]] = {
    "tutorial": {"optimizer": "sgd", "valid_fraction": 0.0, "batch_size": 8},
    "dropout and random changes": {
        **NARROW["cnn"],
        "augment": "flip_crop",
        "limit_train_batches": 4,
        "batch_size": 16,
    },
    "batch normalisation": {"batch_size": 8},
    "accumulation and clipping": {"grad_accum_steps": 3, "clip_grad": 0.5, "optimizer": "sgd", "momentum": 0.9},
    "average and one cycle": {"ema": 0.9, "scheduler": "onecycle", "optimizer": "adamw"},
    "plateau and patience": {
        "scheduler": "plateau",
        "decay_epochs": 1,
        "patience": 4,
        "min_delta": 0.3,
        "lr": 3e-3,
        "epochs": 8,
        "model_arg": "",
    },
    "cosine, warm-up, top 2": {"scheduler": "cosine", "warmup_epochs": 0.5, "save_top_k": 2, "optimizer": "rmsprop"},
    "loader": {"data_path": "loader", "augment": "flip", "optimizer": "adagrad"},
    "fp16": {"amp": "fp16", "batch_size": 4, "limit_train_batches": 4, "optimizer": "sgd"},
    "bf16": {"amp": "bf16", "loss": "kl_div", "label_smoothing": 0.1},
}


def settings_of(tiny: Settings, kind: str, **more: Any) -> Settings:
    return Settings(**(tiny.model_dump() | {"epochs": 3, "save_interval": 0} | KINDS[kind] | more))


@pytest.fixture(autouse=True)
def prompt_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is done while a checkpoint is written, so that orders come at the steps they are meant for."""
    begin = Writer.begin

    def begin_and_wait(writer: Writer, *words: Any) -> Save:
        save = begin(writer, *words)
        save.wait()
        return save

    monkeypatch.setattr(Writer, "begin", begin_and_wait)


class Broken:
    """A run in its folder that is broken off and carried on as often as one likes."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self.events: list[Event] = []
        folder.mkdir()

    def go(self, orders: dict[int, list[Command]] | None = None, *, kill_at: int = 0, **changed: Any) -> list[Event]:
        """Train on, with orders given at steps; broken off after step `kill_at`, as a kill would: nothing is saved."""
        inbox, orders = Orders(), dict(orders or {})
        self.settings = Settings(**(self.settings.model_dump() | changed))
        resume = Resume() if (self.folder / "last.pt").exists() else None
        told: list[Event] = []
        run = fit(self.settings, inbox, self.folder, resume)
        for event in run:
            told.append(event)
            if isinstance(event, BatchTrained):
                for command in orders.pop(event.step, []):
                    inbox.send(command)
                if kill_at and event.step >= kill_at:
                    run.close()
                    break
        self.events += told
        return told

    def losses(self) -> dict[tuple[int, int, int], float]:
        """Every reported loss by its place. A step that was taken twice must have given the same twice."""
        found: dict[tuple[int, int, int], float] = {}
        for event in only(BatchTrained, self.events):
            place = (event.epoch, event.batch, event.step)
            assert found.setdefault(place, event.loss) == event.loss, place
        return found

    def outcome(self) -> dict[str, Any]:
        """All that a run leaves behind, but for what its clocks say."""
        saved = dict(safe_load.load(self.folder / "last.pt"))
        for clock in ("watch", "settings"):
            saved.pop(clock)
        ended = self.events[-1]
        assert isinstance(ended, RunEnded)
        tests = [(e.loss, e.accuracy, e.confusion) for e in only(Evaluated, self.events) if e.split == "test"]
        epochs = {e.epoch: e.train_loss for e in only(EpochEnded, self.events)}
        rates = [(e.lr, e.by) for e in only(LearningRateChanged, self.events) if e.by == "plateau"]
        files = sorted(path.name for path in self.folder.glob("*.pt") if path.name != "prev.pt")
        best = (ended.reason, ended.best_epoch, ended.best_loss, ended.best_accuracy)
        return saved | {"ended": best, "test": tests[-1:], "epochs": epochs, "rates": rates[-1:], "files": files}


def same(a: Any, b: Any) -> bool:
    """Equal to the last bit, whatever is nested in what."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    return [key for key in a if not same(a[key], b.get(key))]


def normalised(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the model of this kind of run a layer with running statistics."""
    if kind == "batch normalisation":
        build = models.build
        monkeypatch.setattr(
            models, "build", lambda *words, **more: torch.nn.Sequential(torch.nn.BatchNorm2d(1), build(*words, **more))
        )


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Runs that never stopped, each made once."""
    made: dict[str, Broken] = {}

    def get(settings: Settings) -> Broken:
        key = settings.model_dump_json()
        if key not in made:
            made[key] = Broken(settings, tmp_path_factory.mktemp("unbroken") / "checkpoints")
            made[key].go()
        return made[key]

    yield get


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_killed_and_stopped_in_all_its_parts_ends_as_one_that_never_was(
    kind: str, tiny: Settings, tmp_path: Path, unbroken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    normalised(kind, monkeypatch)
    settings = settings_of(tiny, kind)
    whole = unbroken(settings)
    last = max(step for _, _, step in whole.losses())
    batches = whole.events[-1] and only(BatchTrained, whole.events)[-1].batches
    run = Broken(settings, tmp_path / "checkpoints")
    run.go({1: [commands.SaveCheckpoint()]}, kill_at=2)  # step 2 is lost, and taken again
    run.go({batches - 1: [commands.SaveCheckpoint()]}, kill_at=batches)  # in the middle of an accumulation group
    run.go(kill_at=batches + 1)  # from the end of an epoch
    run.go({last - 2: [commands.Stop()]})
    run.go()
    assert differences(whole.outcome(), run.outcome()) == []
    assert run.losses() == whole.losses()


def test_a_report_in_the_middle_is_that_of_an_unbroken_run(tiny: Settings, tmp_path: Path, unbroken: Any) -> None:
    settings = settings_of(tiny, "tutorial", log_interval=4)
    whole = unbroken(settings)
    run = Broken(settings, tmp_path / "checkpoints")
    steered = {4: [commands.SaveCheckpoint()], 12: [commands.Stop()]}
    run.go(steered, kill_at=8)
    run.go(steered)
    run.go()
    assert whole.losses().items() <= run.losses().items()
    assert differences(whole.outcome(), run.outcome()) == []


def test_a_run_killed_between_best_and_last_writes_the_same_best_again(tiny: Settings, tmp_path: Path) -> None:
    run = Broken(settings_of(tiny, "average and one cycle"), tmp_path / "checkpoints")
    last, prev, best = (run.folder / f"{name}.pt" for name in ("last", "prev", "best"))
    run.go(kill_at=17)
    newer = safe_load.load(best)
    last.write_bytes(prev.read_bytes())  # killed after the second epoch's best was saved, and before its last
    assert (safe_load.load(last)["step"], newer["step"]) == (8, 16)
    run.go(kill_at=17)
    assert differences(newer, safe_load.load(best)) == ["watch"] and safe_load.load(last)["step"] == 16


# --- every part counts ---------------------------------------------------------------------------------------------


def without(*path: str, value: Any = None) -> Any:
    """What takes one part out of a checkpoint's content, or puts `value` in its place."""

    def take_out(saved: dict[str, Any]) -> None:
        *way, last = path
        for step in way:
            saved = saved[step]
        assert last in saved and not same(saved[last], value), "it is as if it had been taken out already"
        saved[last] = value

    return take_out


def fresh_weights(saved: dict[str, Any]) -> None:
    torch.manual_seed(5)
    for tensor in saved["model_state_dict"].values():
        if tensor.ndim > 1:
            tensor.normal_(std=0.05)


def fresh_statistics(saved: dict[str, Any]) -> None:
    for name, tensor in saved["model_state_dict"].items():
        if "running_mean" in name:
            tensor.zero_()


PARTS: dict[str, tuple[str, int, Any]] = {
    "weights": ("tutorial", 10, fresh_weights),
    "statistics of batch normalisation": ("batch normalisation", 10, fresh_statistics),
    "optimizer": ("average and one cycle", 10, without("optimizer_state_dict", "state", value={})),
    "updates": ("average and one cycle", 10, without("updates", value=0)),
    "average": ("average and one cycle", 10, lambda saved: saved.update(ema_state_dict=saved["model_state_dict"])),
    "gradients": ("accumulation and clipping", 10, without("gradients")),
    "rate": ("plateau and patience", 46, without("schedule", "base", value=3e-3)),
    "plateau": ("plateau and patience", 24, without("schedule", "plateau")),
    "patience": ("plateau and patience", 50, without("unimproved", value=0)),
    "best": ("plateau and patience", 33, without("best")),
    "random numbers": ("dropout and random changes", 6, without("rng", "torch", value=torch.get_rng_state())),
    "epoch": ("tutorial", 10, without("epoch", value=1)),
    "batch": ("tutorial", 10, without("batch", value=1)),
    "step": ("tutorial", 10, without("step", value=9)),
    "top": ("cosine, warm-up, top 2", 18, without("top", value=[])),
    "sums of the loss": ("tutorial", 10, without("meter", "epoch_loss", value=0.0)),
    "end of the epoch": ("plateau and patience", 24, without("done", value=False)),
    "scale": ("fp16", 6, without("scaler", "scale", value=2.0)),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_run_that_lacks_one_part_of_its_checkpoint_comes_out_otherwise(
    part: str, tiny: Settings, tmp_path: Path, unbroken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, step, take_out = PARTS[part]
    normalised(kind, monkeypatch)
    settings = settings_of(tiny, kind)
    whole = unbroken(settings)
    first = Broken(settings, tmp_path / "first")
    orders: dict[int, list[Command]] = {step: [commands.SaveCheckpoint()]} if step % 8 else {}
    first.go(orders, kill_at=step + 1)
    saved = safe_load.load(first.folder / "last.pt")
    assert saved["step"] == step
    take_out(saved)
    (first.folder / "last.pt").write_bytes(pack(saved))
    first.go()
    agrees = whole.losses().items() <= dict(places(first.events)).items()
    assert not agrees or differences(whole.outcome(), first.outcome())


def places(events: list[Event]) -> Iterator[tuple[tuple[int, int, int], float]]:
    return (((event.epoch, event.batch, event.step), event.loss) for event in only(BatchTrained, events))


class Moody(torch.nn.Module):
    """A user's model that draws from Python's and numpy's random numbers."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, X: Tensor) -> Tensor:
        return self.inner(X) * (1 + random.random() / 10 + np.random.rand() / 10)


@pytest.mark.parametrize("source", [None, "python", "numpy"])
def test_random_numbers_of_python_and_numpy_go_on_where_they_were(
    source: str | None, tiny: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = models.build
    monkeypatch.setattr(models, "build", lambda *words, **more: Moody(build(*words, **more)))
    monkeypatch.setattr("tui_trainer.training.course.layers_of", lambda *_: ())
    monkeypatch.setattr(stepping, "replays", lambda *_: False)
    settings = settings_of(tiny, "tutorial", epochs=1)
    whole, run = Broken(settings, tmp_path / "whole"), Broken(settings, tmp_path / "checkpoints")
    whole.go()
    run.go({4: [commands.SaveCheckpoint()]}, kill_at=6)
    if source is not None:
        saved = safe_load.load(run.folder / "last.pt")
        other = random.Random(1).getstate() if source == "python" else np.random.RandomState(1).get_state()
        kind, keys, *rest = other
        saved["rng"][source] = [kind, list(map(int, keys)), *rest]
        (run.folder / "last.pt").write_bytes(pack(saved))
    run.go()
    assert (dict(places(run.events)) == whole.losses()) == (source is None)
