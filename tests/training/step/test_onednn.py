"""Products by the quicker library are those of the usual one, but for the last digits, wherever they are used."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.profiler import profile
from torch.nn import functional as F

from tests.training.plain_loop import NARROW, Tutorial, plain_loop, prepared
from tests.training.saving.test_resume import Broken, differences, prompt_disk  # noqa: F401
from tests.training.test_features import losses, run, validations, weights_in
from tui_trainer.run import commands
from tui_trainer.settings.schema import Settings
from tui_trainer.training.step import onednn
from tui_trainer.training.step import step as stepping
from tui_trainer.training.step.cpu_replay import Tape
from tui_trainer.training.step.onednn import LEAST, Quickly, adding, aten, by_few, instead_of, row_by_row

MINI_WIDE = {"model_arg": "", "optimizer": "sgd", "lr": 0.05, "valid_fraction": 0.0}
"""The tutorial's model in its full width: that of `tiny` has no product that is large enough."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quicker library is used, whatever the processor."""
    set_worth(monkeypatch, True)


def set_worth(monkeypatch: pytest.MonkeyPatch, worth: bool) -> None:
    for module in (onednn, stepping):
        monkeypatch.setattr(module, "is_worth_it", lambda: worth)


def products_in(profiled: profile) -> int:
    """How many products the quicker library has computed."""
    return sum(event.count for event in profiled.key_averages() if event.key == "mkldnn::_linear_pointwise")


def factors(m: int = 64, k: int = 512, n: int = 512) -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(n), torch.randn(m, k), torch.randn(k, n)


@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True), (True, True)])
def test_a_product_is_the_same_by_either_library(turned: tuple[bool, bool]) -> None:
    bias, left, right = factors()
    if turned[0]:
        left = left.t().contiguous().t()
    if turned[1]:
        right = right.t().contiguous().t()
    for operation, args in ((aten.mm.default, (left, right)), (aten.addmm.default, (bias, left, right))):
        quicker = instead_of(operation, args, {})
        assert quicker is not None
        found, usual = quicker(*args), operation(*args)
        torch.testing.assert_close(found, usual, rtol=1e-4, atol=1e-4)
        assert found.is_contiguous() and found.dtype == usual.dtype


@pytest.mark.parametrize("decay", [1.0, 0.9])
@pytest.mark.parametrize("turned", [False, True])
def test_a_product_is_added_to_a_weight_in_its_place(decay: float, *, turned: bool) -> None:
    _, left, right = factors(512, 64, 784)
    left = left.t().contiguous().t() if turned else left
    weight = torch.randn(512, 784)
    usual, place = weight.clone().addmm_(left, right, beta=decay, alpha=-0.1), weight.data_ptr()
    adding(left, right)(weight, left, right, beta=decay, alpha=-0.1)
    torch.testing.assert_close(weight, usual, rtol=1e-4, atol=1e-4)
    assert weight.data_ptr() == place and adding(left, right) is not Tensor.addmm_
    assert adding(left[:8], right) is Tensor.addmm_


@pytest.mark.parametrize("shape", [(512, 64), (784, 64), (1, 7), (5, 1), (10, 512)])
def test_a_turned_matrix_is_laid_out_row_by_row(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape[::-1]).t()
    laid_out = row_by_row(matrix)
    assert torch.equal(laid_out, matrix) and laid_out.is_contiguous()
    part = torch.randn(3 * shape[1], shape[0])[shape[1] : 2 * shape[1]].t()  # it begins in the middle of its memory
    assert torch.equal(row_by_row(part), part)


def test_a_product_of_few_numbers_is_left_to_one_thread() -> None:
    before, used = torch.get_num_threads(), list[int]()

    def watched(*args: Tensor) -> Tensor:
        used.append(torch.get_num_threads())
        return torch.mm(*args)

    _, left, right = factors(64, 512, 10)
    alone = by_few(aten.mm.default, (left, right), watched)
    torch.set_num_threads(2)
    try:
        torch.testing.assert_close(alone(left, right), left @ right, rtol=1e-4, atol=1e-4)
        with pytest.raises(RuntimeError):
            alone(left, left)
        assert used == [1, 1] and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_other_products_and_processors_keep_their_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    bias, left, right = factors(64, 512, 10)
    assert by_few(aten.mm.default, (left, right), torch.mm) is not torch.mm
    assert by_few(aten.addmm.default, (bias, left, right), torch.addmm) is torch.addmm
    assert by_few(aten.mm.default, factors(64, 512, 32)[1:], torch.mm) is torch.mm
    assert by_few(aten.mm.default, (left.double(), right.double()), torch.mm) is torch.mm
    assert by_few(aten.relu.default, (left,), torch.relu) is torch.relu
    set_worth(monkeypatch, False)
    assert by_few(aten.mm.default, (left, right), torch.mm) is torch.mm


class Both(nn.Module):
    """Needs what goes into a relu for something else too."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(784, 512), nn.Linear(512, 512), nn.Linear(512, 10)

    def forward(self, X: Tensor) -> Tensor:
        hidden = torch.relu(self.first(X.flatten(1)))
        before = self.second(hidden)
        return self.last(torch.relu(before) + torch.tanh(before))  # type: ignore[no-any-return]


def test_a_relu_is_taken_with_the_product_unless_the_product_itself_is_needed() -> None:
    model = Both()
    plain, tape = copy.deepcopy(model), Tape(lambda X, y: F.cross_entropy(model(X), y), model)
    for seed in range(3):
        torch.manual_seed(seed)
        X, y = torch.rand(64, 1, 28, 28), torch.randint(10, (64,))
        loss = F.cross_entropy(plain(X), y)
        plain.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        with profile() as profiled:
            found = tape(X, y)
        torch.testing.assert_close(found, loss.detach(), rtol=1e-5, atol=1e-5)
        for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)
    counts = {event.key: event.count for event in profiled.key_averages()}
    assert counts["aten::relu"] == 1 and products_in(profiled) == 5


def test_only_large_products_of_plain_numbers_go_the_other_way(monkeypatch: pytest.MonkeyPatch) -> None:
    bias, left, right = factors()
    at_most = factors(64, 512, LEAST // (64 * 512))
    for operation, args, kwargs in (
        (aten.mm.default, at_most[1:], {}),
        (aten.addmm.default, at_most, {}),
        (aten.mm.default, (left.double(), right.double()), {}),
        (aten.mm.default, (left.to("meta"), right.to("meta")), {}),
        (aten.mm.default, (left, torch.randn(1, 512).expand(512, 512)), {}),
        (aten.mm.default, (left, torch.randn(512, 1024)[:, ::2]), {}),
        (aten.addmm.default, (bias, left, right), {"alpha": 2}),
        (aten.addmm.default, (torch.randn(64, 512), left, right), {}),
        (aten.linear.default, (left[None], right.t(), bias), {}),
        (aten.bmm.default, (left[None], right[None]), {}),
    ):
        assert instead_of(operation, args, kwargs) is None
    assert instead_of(aten.linear.default, (left, right.t()), {}) is not None
    set_worth(monkeypatch, False)
    assert instead_of(aten.mm.default, (left, right), {}) is None


def test_a_model_measured_quickly_says_the_same() -> None:
    model, X = Tutorial(), torch.rand(512, 1, 28, 28)
    with torch.inference_mode():
        usual = model(X)
        with Quickly():
            found = model(X)
        with Quickly():  # one that is used again
            again = model(X)
    torch.testing.assert_close(found, usual, rtol=1e-5, atol=1e-5)
    assert torch.equal(found, again) and not torch.equal(found, usual)


@pytest.mark.parametrize("used", [{}, {"weight_decay": 0.01}, {"momentum": 0.9}, {"optimizer": "adam", "lr": 1e-3}])
def test_a_run_has_the_losses_that_it_has_without(
    tiny: Settings, monkeypatch: pytest.MonkeyPatch, used: dict[str, Any]
) -> None:
    settings = tiny.model_copy(update=MINI_WIDE | used)
    with profile() as quick:
        with_it = run(settings)
    set_worth(monkeypatch, False)
    with profile() as usual:
        without = run(settings)
    assert products_in(quick) >= 2 * 8 * 5 and products_in(usual) == 0  # five in each step
    assert losses(with_it) == pytest.approx(losses(without), rel=1e-4)
    assert [e.loss for e in validations(with_it)] == pytest.approx([e.loss for e in validations(without)], rel=1e-4)


def test_a_run_is_the_plain_loop(tiny: Settings, tmp_path: Path) -> None:
    plainly = plain_loop(
        torch.nn.CrossEntropyLoss(), lambda parameters: torch.optim.SGD(parameters, lr=0.05), model=Tutorial
    )
    events = run(tiny.model_copy(update=MINI_WIDE), tmp_path)
    assert losses(events) == pytest.approx(plainly.losses, rel=1e-5)
    for ours, theirs in zip(weights_in(tmp_path / "last.pt"), plainly.weights, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("prompt_disk")
def test_a_run_that_was_broken_off_ends_with_the_same_bits(tiny: Settings, tmp_path: Path) -> None:
    settings = Settings(**(tiny.model_dump() | MINI_WIDE | {"save_interval": 0, "epochs": 2}))
    whole, run = Broken(settings, tmp_path / "whole"), Broken(settings, tmp_path / "broken")
    whole.go()
    run.go({3: [commands.SaveCheckpoint()]}, kill_at=5)
    run.go({11: [commands.Stop()]})
    run.go()
    assert differences(whole.outcome(), run.outcome()) == []


def test_a_model_without_a_tape_is_left_alone(tiny: Settings) -> None:
    used = MINI_WIDE | {"grad_accum_steps": 2}
    step = prepared(tiny.model_copy(update=used)).step
    assert step.tape is None and not isinstance(step.quickly, Quickly)
    assert isinstance(prepared(tiny.model_copy(update=NARROW["cnn"])).step.quickly, Quickly)


def test_it_is_worth_it_on_amd_with_wide_instructions_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    found: dict[str, bool] = {}
    for maker in ("AuthenticAMD", "GenuineIntel"):
        for widest in ("AVX512", "AVX2"):
            with monkeypatch.context() as patch:
                patch.setattr(torch.backends.cpu, "get_cpu_capability", lambda widest=widest: widest)
                patch.setattr(Path, "exists", lambda _path: True)
                patch.setattr(Path, "read_text", lambda _path, maker=maker, **_: f"vendor_id\t: {maker}\n")
                onednn.is_worth_it.cache_clear()
                found[f"{maker} {widest}"] = onednn.is_worth_it()
    onednn.is_worth_it.cache_clear()
    assert [name for name, worth in found.items() if worth] == ["AuthenticAMD AVX512"]
