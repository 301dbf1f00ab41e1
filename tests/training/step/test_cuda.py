"""What only a GPU can show: the same results as on a CPU, steps replayed as a graph, and the memory given back.

`pytest tests/training/step/test_cuda.py` on a machine with one; elsewhere all of it is left out.
"""

import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training.plain_loop import NARROW, Orders, only, prepared, steered
from tests.training.saving.test_resume import prompt_disk  # noqa: F401
from tests.training.test_features import assert_close, losses, run, validations, weights_in
from tui_trainer import train
from tui_trainer.errors import DeviceError
from tui_trainer.run import commands
from tui_trainer.run.events import BatchTrained, Evaluated, Event, RunPaused, RunStarted, Warned
from tui_trainer.run.folder import RunFolder
from tui_trainer.run.resume import Resume
from tui_trainer.settings.schema import Settings
from tui_trainer.training import devices
from tui_trainer.training.loop import fit
from tui_trainer.training.saving.safe_load import load
from tui_trainer.training.step import cuda_graph

if not torch.cuda.is_available():
    pytest.skip("there is no CUDA device here", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore:Synchronization debug mode")


@pytest.fixture
def tiny(tiny: Settings) -> Settings:
    return tiny.model_copy(update={"device": "cuda"})


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """A list that grows with each step that is recorded."""
    made: list[torch.device] = []
    record = cuda_graph.record_cuda

    def counting(step: Callable[[], cuda_graph.Loss]) -> cuda_graph.Recording:
        recording = record(step)
        made.append(torch.device("cuda"))
        return recording

    monkeypatch.setattr(cuda_graph, "record_cuda", counting)
    return made


def told_losses(events: list[Event]) -> list[float]:
    return losses(events) + [e.loss for e in validations(events)]


# --- the same as on a CPU ------------------------------------------------------------------------------------------

SAME: dict[str, dict[str, Any]] = {
    "sgd": {"optimizer": "sgd", "lr": 0.05},
    "momentum": {"optimizer": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    "adam": {"optimizer": "adam"},
    "adamw": {"optimizer": "adamw"},
    "adagrad": {"optimizer": "adagrad", "lr": 0.01},
    "rmsprop": {"optimizer": "rmsprop"},
    "clipped": {"clip_grad": 0.3},
    "accumulated": {"grad_accum_steps": 3},
    "cnn": {**NARROW["cnn"], "model_arg": "channels=4,8 hidden=16 dropout=0"},
    "one cycle": {"scheduler": "onecycle"},
    "mse": {"loss": "mse"},
    "bce": {"loss": "bce"},
    "l1": {"loss": "l1"},
    "kl_div": {"loss": "kl_div", "label_smoothing": 0.1},
    "average": {"ema": 0.9},
    "weighted": {"class_weights": "balanced"},
    "sampled": {"sampler": "balanced"},
    "mixed": {"mixup": 0.3},
    "flipped": {"augment": "flip_crop"},
    "recipes": {"augment": "trivial_augment"},
    "rest": {"freeze_epochs": 1},
    "decayed": {"layer_decay": 0.8},
}


@pytest.mark.parametrize("name", SAME)
def test_a_gpu_gives_the_losses_of_a_cpu(tiny: Settings, name: str) -> None:
    used = SAME[name]
    there, here = run(tiny, **used), run(tiny, **used, device="cpu")
    assert told_losses(there) == pytest.approx(told_losses(here), rel=2e-3)
    norms = [[event.grad_norm for event in only(BatchTrained, events)] for events in (there, here)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-2)
    assert sum(map(sum, validations(there)[-1].confusion)) == sum(map(sum, validations(here)[-1].confusion))


@pytest.mark.parametrize("words", [{"workers": 0}, {"workers": 2, "mp_context": "fork"}])
def test_data_that_workers_fetch_are_those_that_lie_on_the_gpu(tiny: Settings, words: dict[str, object]) -> None:
    through = run(tiny, data_path="loader", **words)
    assert losses(through) == pytest.approx(losses(run(tiny)), rel=1e-5)
    assert not only(Warned, through)
    (started,) = only(RunStarted, through)
    assert "through a DataLoader" in started.data and started.device.startswith("cuda:0 ")


# --- recorded steps ------------------------------------------------------------------------------------------------

RECORDED: dict[str, dict[str, Any]] = {
    name: SAME[name]
    for name in ("sgd", "momentum", "adam", "adamw", "clipped", "one cycle", "average", "weighted", "mixed", "decayed")
} | {
    "cnn with dropout": NARROW["cnn"],
    "residual network": {"model": "resnet18", "model_arg": "", "batch_size": 16, "optimizer": "sgd", "lr": 1e-4},
    "channels last": {**NARROW["cnn"], "channels_last": True},
    "bf16": {"amp": "bf16"},
    "bf16 cnn": {**NARROW["cnn"], "amp": "bf16", "channels_last": True},
    "loader": {"data_path": "loader", "workers": 2, "mp_context": "fork"},
}


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_step_is_the_step_itself(
    tiny: Settings, name: str, graphs: list[torch.device], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # its noise grows to some percent in a few steps
    used = RECORDED[name]
    replayed = run(tiny, **used)
    assert len(graphs) == 1 and not only(Warned, replayed)
    plainly = run(tiny, **used, cuda_graph="off")
    assert len(graphs) == 1
    exact = name not in ("residual network", "bf16 cnn", "channels last", "cnn with dropout")  # convolutions vary
    assert told_losses(replayed) == pytest.approx(told_losses(plainly), rel=1e-6 if exact else 1e-2)


def test_layers_that_rest_and_then_learn_are_recorded_anew(tiny: Settings, graphs: list[torch.device]) -> None:
    used = {"freeze_epochs": 1, "optimizer": "sgd", "momentum": 0.9, "lr": 0.05}
    assert losses(run(tiny, **used)) == pytest.approx(losses(run(tiny, **used, cuda_graph="off")), rel=1e-6)
    assert len(graphs) == 2


def test_a_smaller_last_batch_is_taken_by_itself_between_replays(tiny: Settings, graphs: list[torch.device]) -> None:
    used = {"limit_train_batches": 0, "valid_fraction": 0.9, "batch_size": 48, "optimizer": "sgd", "lr": 0.1}
    assert losses(run(tiny, **used)) == pytest.approx(losses(run(tiny, **used, cuda_graph="off")), rel=1e-6)
    assert len(graphs) == 1


@pytest.mark.parametrize("cuda_graph", ["auto", "off"])
@pytest.mark.parametrize("log_interval", [1, 8])
def test_a_run_that_diverges_is_found_out_at_the_same_batch_as_on_a_cpu(
    tiny: Settings, tmp_path: Path, cuda_graph: str, log_interval: int
) -> None:
    used = {"optimizer": "sgd", "lr": 1e9, "log_interval": log_interval, "limit_train_batches": 8}
    here = run(tiny, **used, device="cpu")
    there = run(tiny, tmp_path, **used, cuda_graph=cuda_graph)
    assert (there[-1].reason, there[-1].exit_code) == ("diverged", 8) == (here[-1].reason, here[-1].exit_code)
    place = "The step was not taken."
    assert place in here[-1].error and place in there[-1].error
    assert here[-1].error.split(" at ")[1] == there[-1].error.split(" at ")[1]


def test_a_run_goes_back_and_on_after_a_loss_that_is_not_finite(tiny: Settings, tmp_path: Path) -> None:
    events = run(tiny, tmp_path, optimizer="sgd", lr=2.0, on_nonfinite="rollback", momentum=0.99, epochs=3)
    assert all(math.isfinite(loss) for loss in losses(events))


# --- sixteen bits, products, compiler ------------------------------------------------------------------------------


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_sixteen_bits_give_nearly_the_same_losses(tiny: Settings, tmp_path: Path, amp: str, model: str) -> None:
    used = {**NARROW[model], "optimizer": "sgd", "lr": 0.05}
    plainly, events = run(tiny, **used), run(tiny, tmp_path, **used, amp=amp)
    assert told_losses(events) == pytest.approx(told_losses(plainly), rel=0.05)
    assert {w.dtype for w in weights_in(tmp_path / "last.pt") if w.is_floating_point()} == {torch.float32}
    assert bool(only(Warned, events)) == (amp == "fp16")  # which is not recorded as a graph
    assert load(tmp_path / "last.pt")["scaler"] is None or amp == "fp16"


def test_products_in_tf32_are_near_those_in_32_bits_and_not_the_same(tiny: Settings) -> None:
    used = {"model_arg": "", "batch_size": 256, "limit_train_batches": 4}
    try:
        fewer, all_bits = run(tiny, **used, matmul_precision="high"), run(tiny, **used, matmul_precision="highest")
    finally:
        torch.set_float32_matmul_precision("highest")
    assert told_losses(fewer) == pytest.approx(told_losses(all_bits), rel=1e-2)
    assert told_losses(fewer) != told_losses(all_bits)


@pytest.mark.filterwarnings("ignore")  # of the compiler, which warns of much
def test_a_compiled_model_gives_the_same_losses(tiny: Settings) -> None:
    used: dict[str, Any] = {**NARROW["cnn"], "model_arg": "channels=4,8 hidden=16 dropout=0", "limit_train_batches": 4}
    events = run(tiny, **used, compile=True)
    told = [warned.text for warned in only(Warned, events)]
    assert told == ["steps are not replayed as a CUDA graph (compile brings its own); they are taken one by one"]
    assert losses(events) == pytest.approx(losses(run(tiny, **used)), rel=1e-3)


def test_runs_of_one_seed_are_the_same_bit_for_bit_when_that_is_wanted(tiny: Settings, tmp_path: Path) -> None:
    used = {**NARROW["cnn"], "deterministic": True}
    try:
        first, second = run(tiny, tmp_path / "a", **used), run(tiny, tmp_path / "b", **used)
    finally:
        torch.use_deterministic_algorithms(False)
    assert told_losses(first) == told_losses(second)
    assert_close(weights_in(tmp_path / "a" / "last.pt"), weights_in(tmp_path / "b" / "last.pt"), 0)


# --- saved, carried on, parked -------------------------------------------------------------------------------------


@pytest.mark.parametrize("used", [{}, NARROW["cnn"], {"amp": "bf16"}, {"amp": "fp16"}, {"cuda_graph": "off"}])
@pytest.mark.usefixtures("prompt_disk")
def test_a_run_that_was_stopped_goes_on_as_if_it_never_had_been(
    tiny: Settings, tmp_path: Path, used: dict[str, object]
) -> None:
    settings = tiny.model_copy(update={"epochs": 3, **used})
    whole = run(settings, tmp_path / "whole")
    folder = tmp_path / "stopped"
    first = list(steered(settings, {11: [commands.Stop()]}, folder))
    assert first[-1].reason == "stopped" and load(folder / "last.pt")["step"] in (11, 12)
    rest = list(fit(settings, Orders(), folder, Resume()))
    assert_close(weights_in(folder / "last.pt"), weights_in(tmp_path / "whole" / "last.pt"), 1e-5)
    assert validations(rest)[-1].loss == pytest.approx(validations(whole)[-1].loss, rel=1e-5)


def test_a_checkpoint_of_a_gpu_is_carried_on_by_a_cpu_and_the_other_way_round(tiny: Settings, tmp_path: Path) -> None:
    list(steered(tiny, {4: [commands.Stop()]}, tmp_path))
    on_cpu = tiny.model_copy(update={"device": "cpu"})
    list(fit(on_cpu.model_copy(update={"max_steps": 10}), Orders(), tmp_path, Resume()))
    last = list(fit(tiny, Orders(), tmp_path, Resume()))
    assert last[-1].reason == "finished" and only(BatchTrained, last)[-1].step == 16


def test_a_parked_run_gives_the_memory_of_the_gpu_back(tiny: Settings, tmp_path: Path) -> None:
    settings = tiny.model_copy(update={"model_arg": "hidden=4096,4096", "epochs": 1})
    device = torch.device("cuda")
    devices.give_back(device)
    before = devices.held(device)
    held: list[int] = []
    inbox, told = Orders(), []
    for event in fit(settings, inbox, tmp_path):
        told.append(event)
        if isinstance(event, BatchTrained) and event.step == 5:
            held.append(devices.held(device))
            inbox.send(commands.Park())
            inbox.send(commands.Continue())
        if isinstance(event, RunPaused):
            held.append(devices.held(device))
    (paused,) = only(RunPaused, told)
    assert paused.why == "parked" and "of cuda:0 given back" in paused.text
    assert held[0] - before > 80e6 and held[1] <= before + 4e6
    never = run(settings)
    assert told_losses(told) == pytest.approx(told_losses(never), rel=1e-5)


class Moody(torch.nn.Module):
    """A user's model whose Python matters in each step."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
        self.calls = 0

    def forward(self, X: Tensor) -> Tensor:
        self.calls += self.training
        out: Tensor = self.inner(X)
        return out


@pytest.mark.parametrize("word", ["auto", "on"])
def test_a_model_of_ones_own_is_recorded_only_when_that_is_wanted(word: str, graphs: list[torch.device]) -> None:
    model = Moody()
    used = {"dataset": "fashion-mnist-mini", "limit_train_batches": 16, "device": "cuda", "epochs": 1, "seed": 0}
    outcome = train(model, ui=False, cuda_graph=word, **used)
    assert outcome.reason == "finished" and outcome.folder is not None
    events = [json.loads(line) for line in RunFolder(outcome.folder).journal.read_text().splitlines()]
    told = [event["text"] for event in events if event["event"] == "Warned"]
    refusal = (
        "steps are not replayed as a CUDA graph (your own model may compute something else in each step; "
        "--cuda-graph on if it does not); they are taken one by one"
    )
    assert (told, len(graphs)) == (([refusal], 0) if word == "auto" else ([], 1))
    assert (model.calls >= 16) == (word == "auto")


# --- memory --------------------------------------------------------------------------------------------------------


@pytest.fixture
def little_memory() -> Iterator[None]:
    """This process may have 300 MB of the GPU."""
    devices.give_back(torch.device("cuda"))
    torch.cuda.set_per_process_memory_fraction(300e6 / devices.total(torch.device("cuda")))
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.usefixtures("little_memory")
def test_a_model_too_large_for_the_gpu_is_told_in_a_sentence(tiny: Settings) -> None:
    text = ""
    try:
        run(tiny, model_arg="hidden=8192,8192")
    except DeviceError as error:
        text = str(error)  # the error itself would hold on to what lies on the GPU
    assert re.match(r"cuda is out of memory.* free\)\. Saved checkpoints are kept\.\nTry --batch-size 32", text)
    devices.give_back(torch.device("cuda"))
    assert run(tiny)[-1].reason == "finished"


def test_the_batch_size_is_found_by_trying(tiny: Settings) -> None:
    events = run(tiny, **NARROW["cnn"], batch_size=0, limit_train_batches=0, epochs=1)
    assert "a larger one leaves fewer than 32 steps an epoch" in only(Warned, events)[0].text
    assert events[-1].reason == "finished"


def test_the_memory_that_a_run_takes_does_not_grow(tiny: Settings) -> None:
    course = prepared(tiny.model_copy(update={"limit_train_batches": 0, "epochs": 6}))
    seen: list[int] = []
    for epoch in range(1, 7):
        course.begin_epoch(epoch)
        for batch, (X, y) in course.train_batches():
            course.count(course.step(X, y, batch), len(X))
        course.report()
        seen.append(torch.cuda.memory_allocated())
    assert seen[-1] <= seen[1] + 1024


# --- tasks and a measurement ---------------------------------------------------------------------------------------


def test_a_table_is_learned_on_a_gpu_as_on_a_cpu(tmp_path: Path) -> None:
    rows = torch.rand(400, 4, generator=torch.Generator().manual_seed(0))
    lines = ["a,b,c,y", *(f"{a:.4f},{b:.4f},{c:.4f},{2 * a - b + 0.1 * d:.4f}" for a, b, c, d in rows.tolist())]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    used = {"dataset": f"table:{tmp_path / 't.csv'}", "target": "y", "batch_size": 16, "seed": 0}
    here, there = (run(Settings(**used, epochs=2, device=device)) for device in ("cpu", "cuda"))
    figures = [only(Evaluated, events)[-1].scores for events in (here, there)]
    assert figures[1] == pytest.approx(figures[0], rel=1e-2)


def test_nothing_waits_for_the_gpu_between_two_reports(tiny: Settings) -> None:
    course = prepared(tiny.model_copy(update={"optimizer": "adam", "ema": 0.9, "clip_grad": 1.0}))
    course.begin_epoch(1)
    batches = course.train_batches()
    loss: float | Tensor = 0.0
    for number in range(8):
        batch, (X, y) = next(batches)
        if number == 5:  # recorded by now
            torch.cuda.set_sync_debug_mode("error")
        try:
            loss = course.step(*course.learned_from(X, y, batch), batch)
            course.count(loss, len(X))
            course.due()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert math.isfinite(float(loss))
