"""What makes a step fast changes neither its result nor its protection: each is held against the plain step."""

import math
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.training.plain_loop import NARROW, only, prepared
from tests.training.test_features import assert_close, broken, losses, run, validations, weights_in
from tui_trainer.errors import DivergedError
from tui_trainer.run.events import BatchTrained, Evaluated, Event, Warned
from tui_trainer.settings.schema import Settings
from tui_trainer.training import course, devices
from tui_trainer.training.loop import train
from tui_trainer.training.saving.safe_load import load
from tui_trainer.training.step import finite
from tui_trainer.training.step.cuda_graph import Graph, Loss, Recording, why_no_graph

# --- the update and the start --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "fused"), [("sgd", 1), ("adam", 1), ("adamw", 1), ("adagrad", 1), ("rmsprop", 0)])
def test_the_update_is_one_kernel_where_torch_has_one(tiny: Settings, name: str, fused: bool) -> None:
    course = prepared(tiny.model_copy(update={"optimizer": name}))
    assert bool(course.optimizer.defaults.get("fused")) == fused


def test_a_run_does_not_load_the_compiler_of_torch_nor_what_that_needs() -> None:
    code = """
import sys
from tui_trainer.cli.local_run import local_run
from tui_trainer.settings.schema import Settings
*_, end = local_run(Settings(dataset="fashion-mnist-mini", dry_run=True, device="cpu", scheduler="plateau")).events()
print(end.reason, *(name in sys.modules for name in ("torch", "torch._dynamo", "sympy")))
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120).stdout
    assert told.split() == ["finished", "True", "False", "False"]


def test_what_is_below_the_smallest_normal_number_is_0_during_a_run_and_only_then() -> None:
    def product() -> float:
        return float(torch.full((), 1e-20) * 1e-20)

    assert product() > 0
    with devices.without_denormals():
        assert product() == 0
    assert product() > 0


def test_the_threads_that_share_the_work_drop_such_numbers_too() -> None:
    code = """
import torch
from tui_trainer.run.commands import Inbox
from tui_trainer.run.events import BatchTrained
from tui_trainer.settings.schema import Settings
from tui_trainer.training.loop import fit
torch.set_num_threads(2)
for event in fit(Settings(dataset="fashion-mnist-mini", dry_run=True, device="cpu"), Inbox()):
    if isinstance(event, BatchTrained):
        print(int((torch.full((1_000_000,), 1e-20) * 1e-20).count_nonzero()))
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120).stdout
    assert told.split() == ["0"]


def test_threads_are_as_many_as_are_asked_for(tiny: Settings) -> None:
    before = torch.get_num_threads()
    try:
        events = run(tiny, threads=before + 1, epochs=1)
        assert torch.get_num_threads() == before + 1
        assert any(f"cpu, {before + 1} threads" in str(getattr(event, "device", "")) for event in events)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("precision", ["high", "medium", "highest"])
def test_the_precision_of_products_is_the_one_that_is_set(tiny: Settings, precision: str) -> None:
    try:
        run(tiny, matmul_precision=precision, dry_run=True)
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision("highest")


def test_a_run_on_the_second_gpu_has_its_steps_recorded_there(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    for name in ("cuda:1", "cpu"):
        devices.tune(Settings(), torch.device(name))
    assert chosen == [torch.device("cuda:1")]


# --- a loss that is looked at later, as on a GPU -------------------------------------------------------------------


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses are looked at when they are reported, as where looking would wait for the device."""
    monkeypatch.setattr(finite, "heeds_flag", lambda _device: True)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "adagrad"])
def test_looking_later_changes_nothing_of_a_run(
    tiny: Settings, optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = run(tiny, optimizer=optimizer)
    monkeypatch.setattr(finite, "heeds_flag", lambda _device: True)
    assert losses(run(tiny, optimizer=optimizer)) == pytest.approx(losses(at_once), rel=1e-6)


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("log_interval", [1, 3, 8])
def test_a_loss_that_is_not_finite_is_found_later_and_named_exactly(
    tiny: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float, log_interval: int
) -> None:
    broken(monkeypatch, value, at=11)
    events = run(tiny, tmp_path, log_interval=log_interval)
    assert (events[-1].reason, events[-1].exit_code) == ("diverged", 8)
    assert "epoch 2, batch 3 of 8. The step was not taken. The checkpoints from before are kept." in events[-1].error
    assert load(tmp_path / "last.pt")["step"] == 8
    assert all(math.isfinite(loss) for loss in losses(events))


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "adagrad"])
def test_weights_and_optimizer_are_as_before_the_first_step_that_was_not_taken(
    tiny: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    broken(monkeypatch, math.nan, at=4)
    used = {"valid_fraction": 0.0, "log_interval": 8, "optimizer": optimizer, "lr": 0.01}
    course = prepared(tiny.model_copy(update=used))
    course.begin_epoch(1)
    with pytest.raises(DivergedError):
        list(train(course))
    monkeypatch.undo()  # the same three steps, each loss looked at before its own
    run(tiny, tmp_path, **used, max_steps=3)
    assert_close(list(course.model.state_dict().values()), weights_in(tmp_path / "last.pt"), 1e-6)
    assert (course.progress.step, course.step.updates) == (3, 3)
    assert {int(state["step"]) for state in course.optimizer.state.values() if "step" in state} <= {3}


@pytest.mark.usefixtures("later")
def test_a_checkpoint_asked_for_behind_a_broken_loss_is_not_saved(
    tiny: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch, math.nan, at=2)
    course = prepared(tiny.model_copy(update={"log_interval": 8}))
    course.begin_epoch(1)
    batches = course.train_batches()
    for _ in range(4):
        batch, (X, y) = next(batches)
        course.count(course.step(X, y, batch), len(X))
    with pytest.raises(DivergedError, match="The loss or its gradient is not finite"):
        course.pack(None)
    assert (course.progress.batch, course.progress.step) == (1, 1)


# --- steps that are recorded and replayed --------------------------------------------------------------------------


class GraphOnCpu(Graph):
    """What a CUDA graph does, on the CPU: recording computes nothing, a replay leaves loss and gradients in place."""

    made = 0

    def __init__(
        self, learn: Callable[..., Loss], parameters: list[nn.Parameter], warned: Callable[[str], None]
    ) -> None:
        super().__init__(learn, parameters, warned, record=self.note_down)

    def note_down(self, step: Callable[[], Loss]) -> Recording:
        GraphOnCpu.made += 1
        loss_place, places = torch.zeros(()), [torch.zeros_like(p) for p in self._parameters]

        def replay() -> None:
            loss = step()
            assert isinstance(loss, Tensor)
            loss_place.copy_(loss)
            for place, parameter in zip(places, self._parameters, strict=True):
                assert parameter.grad is not None
                place.copy_(parameter.grad)

        for place, parameter in zip(places, self._parameters, strict=True):
            parameter.grad = place
        return replay, loss_place


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps are recorded and replayed as on a CUDA device."""
    monkeypatch.setattr(finite, "heeds_flag", lambda _device: True)
    monkeypatch.setattr(course, "why_no_graph", lambda settings, _device: why_no_graph(settings, torch.device("cuda")))
    monkeypatch.setattr(course, "Graph", GraphOnCpu)
    monkeypatch.setattr(GraphOnCpu, "made", 0)


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("used", [{"optimizer": "sgd", "lr": 0.05, "momentum": 0.9}, {"optimizer": "adam"}])
@pytest.mark.parametrize("more", [{}, {"clip_grad": 0.3}, {"scheduler": "onecycle"}, NARROW["cnn"], {"ema": 0.9}])
def test_replayed_steps_are_the_steps_that_were_recorded(
    tiny: Settings,
    used: dict[str, object],
    more: dict[str, object],
) -> None:
    settings = tiny.model_copy(update=used | more)
    replayed = run(settings)
    plainly = run(settings, cuda_graph="off")
    assert GraphOnCpu.made == 1
    assert losses(replayed) == pytest.approx(losses(plainly), rel=1e-4)
    norms = [[event.grad_norm for event in only(BatchTrained, events)] for events in (replayed, plainly)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)
    assert [event.lr for event in only(BatchTrained, replayed)] == pytest.approx(
        [event.lr for event in only(BatchTrained, plainly)]
    )
    assert [e.loss for e in validations(replayed)] == pytest.approx([e.loss for e in validations(plainly)], rel=1e-4)
    assert not only(Warned, replayed)


@pytest.mark.usefixtures("recorded")
def test_a_smaller_last_batch_is_taken_by_itself_between_replays(tiny: Settings) -> None:
    used = {"limit_train_batches": 0, "valid_fraction": 0.9, "batch_size": 48, "optimizer": "sgd", "lr": 0.1}
    assert losses(run(tiny, **used)) == pytest.approx(losses(run(tiny, **used, cuda_graph="off")), rel=1e-5)
    replayed = only(BatchTrained, run(tiny, **used))
    assert replayed[-1].batches == 11 and GraphOnCpu.made == 2


@pytest.mark.usefixtures("recorded")
def test_a_checkpoint_of_a_recorded_run_holds_its_rates_as_numbers(tiny: Settings, tmp_path: Path) -> None:
    run(tiny, tmp_path)
    (group,) = load(tmp_path / "last.pt")["optimizer_state_dict"]["param_groups"]
    assert type(group["lr"]) is float and group["lr"] == pytest.approx(1e-3)


@pytest.mark.usefixtures("recorded")
def test_a_loss_that_is_not_finite_stops_replayed_steps_too(tiny: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch, math.nan, at=7)
    events = run(tiny, log_interval=8)
    assert "epoch 1, batch 7 of 8. The step was not taken." in events[-1].error


@pytest.mark.usefixtures("recorded")
def test_a_step_that_cannot_be_recorded_is_taken_plainly_and_that_is_said(
    tiny: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_graph: GraphOnCpu, _step: Callable[[], Loss]) -> Recording:
        raise RuntimeError("operation not permitted when stream is capturing\nmany more lines")

    monkeypatch.setattr(GraphOnCpu, "note_down", refuse)
    events = run(tiny)
    (warned,) = only(Warned, events)
    assert warned.text == (
        "steps are not replayed as a CUDA graph (operation not permitted when stream is capturing); "
        "they are taken one by one"
    )
    assert losses(events) == pytest.approx(losses(run(tiny, cuda_graph="off")), rel=1e-5)


@pytest.mark.parametrize(
    ("used", "reason"),
    [
        ({"grad_accum_steps": 2}, "grad_accum_steps makes steps of several batches"),
        ({"amp": "fp16"}, "amp fp16 changes its scale"),
        ({"compile": True}, "compile brings its own"),
        ({"loss": "mse"}, "loss mse looks at the labels"),
        ({"optimizer": "rmsprop"}, "rmsprop has no fused update"),
    ],
)
def test_what_cannot_be_recorded_is_known_beforehand(tiny: Settings, used: dict[str, object], reason: str) -> None:
    told = why_no_graph(tiny.model_copy(update=used), torch.device("cuda"))
    assert told is not None and reason in told
    assert why_no_graph(tiny, torch.device("cuda")) is None


def test_a_graph_that_was_asked_for_where_there_is_none_is_a_warning(tiny: Settings) -> None:
    assert [w.text for w in only(Warned, run(tiny, cuda_graph="on"))] == [
        "steps are not replayed as a CUDA graph (cpu has none); they are taken one by one"
    ]
    assert not only(Warned, run(tiny))


# --- sixteen bits, averages, memory formats, compilation -----------------------------------------------------------


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_sixteen_bits_give_nearly_the_same_losses_and_keep_weights_in_32(
    tiny: Settings, tmp_path: Path, amp: str
) -> None:
    plainly, events = run(tiny), run(tiny, tmp_path, amp=amp)
    assert losses(events) == pytest.approx(losses(plainly), rel=0.03)
    assert losses(events) != losses(plainly)
    assert [e.loss for e in validations(events)] == pytest.approx([e.loss for e in validations(plainly)], rel=0.03)
    assert {w.dtype for w in weights_in(tmp_path / "last.pt")} == {torch.float32}
    norms = [[event.grad_norm for event in only(BatchTrained, run)] for run in (events, plainly)]
    assert norms[0] == pytest.approx(norms[1], rel=0.1)
    assert (load(tmp_path / "last.pt")["scaler"] is not None) == (amp == "fp16")


def test_sixteen_bits_clip_and_accumulate_as_32_do(tiny: Settings) -> None:
    used = {"clip_grad": 0.2, "grad_accum_steps": 2}
    assert losses(run(tiny, **used, amp="fp16")) == pytest.approx(losses(run(tiny, **used)), rel=0.03)


def test_the_average_of_the_weights_is_what_is_measured_and_kept(tiny: Settings, tmp_path: Path) -> None:
    settings = tiny.model_copy(update={"ema": 0.8, "optimizer": "sgd", "lr": 0.3, "valid_fraction": 0.0})
    course = prepared(settings)
    followed: list[Tensor] = []
    course.begin_epoch(1)
    for batch, (X, y) in course.train_batches():
        course.step(X, y, batch)
        now = [p.detach().clone() for p in course.model.parameters()]
        followed = [0.8 * old + 0.2 * new for old, new in zip(followed, now, strict=True)] if followed else now
    assert course.average is not None
    assert_close([p.detach() for p in course.average.module.parameters()], followed, 1e-6)

    events, plainly = run(settings, tmp_path, epochs=1), run(settings, epochs=1, ema=0.0)
    assert losses(events) == losses(plainly)
    assert validations(events)[0].loss != pytest.approx(validations(plainly)[0].loss, rel=1e-3)
    saved = load(tmp_path / "best.pt")
    assert_close(list(saved["ema_state_dict"].values()), followed, 1e-6)
    course.model.load_state_dict(saved["ema_state_dict"])
    X, y = next(iter(course.valid_batches))
    with torch.no_grad():
        guessed = course.model(X).argmax(1)
    assert int((guessed == y).sum()) > 0
    tested = run(settings, epochs=1, valid_fraction=0.1)
    assert [event.split for event in only(Evaluated, tested)] == ["valid", "test"]


def test_channels_last_in_memory_gives_the_same_losses(tiny: Settings) -> None:
    used: dict[str, object] = {**NARROW["cnn"], "limit_train_batches": 4}
    assert losses(run(tiny, **used, channels_last=True)) == pytest.approx(losses(run(tiny, **used)), rel=1e-4)
    course = prepared(tiny.model_copy(update=used | {"channels_last": True}))
    assert course.model[3].weight.is_contiguous(memory_format=torch.channels_last)


def test_a_compiled_model_gives_the_same_losses_and_weights_under_their_own_names(
    tiny: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    used: dict[str, object] = {**NARROW["cnn"], "limit_train_batches": 3}
    events = run(tiny, tmp_path, **used, compile=True)
    assert losses(events) == pytest.approx(losses(run(tiny, **used)), rel=1e-5)
    assert not only(Warned, events)
    assert next(iter(load(tmp_path / "last.pt")["model_state_dict"])) == "0.weight"


def test_a_model_that_cannot_be_compiled_runs_plainly_and_that_is_said(
    tiny: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_model: nn.Module) -> nn.Module:
        raise FileNotFoundError("no C++ compiler [/red]\nlong story")

    monkeypatch.setattr(torch, "compile", refuse)
    events: list[Event] = run(tiny, compile=True)
    (warned,) = only(Warned, events)
    assert warned.text == (
        "the model is not compiled (FileNotFoundError: no C++ compiler [/red]); its layers run one by one"
    )
    assert losses(events) == losses(run(tiny))


def test_compiling_leaves_no_trace_in_model_and_random_numbers(tiny: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda model: model)
    used: dict[str, object] = {**NARROW["cnn"], "limit_train_batches": 3}
    assert losses(run(tiny, **used, compile=True)) == losses(run(tiny, **used))


def test_a_residual_network_learns(tiny: Settings) -> None:
    events = run(tiny, model="resnet18", model_arg="", limit_train_batches=4, epochs=1, batch_size=16, pad=2)
    assert losses(events)[-1] < losses(events)[0] + 1 and events[-1].reason == "finished"


# --- when a report is due ------------------------------------------------------------------------------------------


def reported(tiny: Settings, monkeypatch: pytest.MonkeyPatch, *, trained: float, batches: int, gap: float) -> list[int]:
    """The batches that are reported of an epoch with a batch every `gap` seconds, `trained` seconds into the run."""
    clock = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    here = prepared(tiny.model_copy(update={"log_interval": 0}))
    here.reports.batches, here.progress.step = batches, 1 if trained else 0
    here.begin_epoch(2 if trained else 1)
    here.reports.watch.began = clock[0] - trained
    due = []
    for batch in range(1, batches + 1):
        clock[0] += gap
        here.progress.batch, here.progress.step = batch, here.progress.step + 1
        if here.due():
            due.append(batch)
            here.reports.watch.mark = clock[0]
    return due


def test_reports_come_by_the_clock_and_after_the_first_and_the_last_batch(
    tiny: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reported(tiny, monkeypatch, trained=0, batches=16, gap=0.125) == [1, *range(3, 14, 2), 16]
    assert reported(tiny, monkeypatch, trained=50_000, batches=160, gap=0.125) == [20, 40, 60, 80, 100, 120, 160]
    assert reported(tiny, monkeypatch, trained=50_000, batches=3, gap=30.0) == [1, 2, 3]


def test_a_short_epoch_of_a_long_run_is_one_report(tiny: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for batches in (1, 2, 40, 59):
        assert reported(tiny, monkeypatch, trained=50_000, batches=batches, gap=0.125) == [batches]
    assert reported(tiny, monkeypatch, trained=50_000, batches=60, gap=0.125) == [20, 60]
