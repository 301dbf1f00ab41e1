"""The model screen: layers and their cost as they become known."""

from collections.abc import Callable

import pytest

from tests.ui.conftest import SIZES
from tests.ui.looks import MEMORY, SPEED, Canned, model, opened
from tui_trainer.outlook.preview.facts import Answer, Layer, Memory, ModelFacts, Speed
from tui_trainer.text import span
from tui_trainer.ui.screens.model import ModelScreen

WHOLE = [Answer(model=model()), Answer(memory=MEMORY), Answer(speed=SPEED)]
DEEP = [
    Answer(model=model(200, "resnet152", frozen=True)),
    Answer(memory=MEMORY.model_copy(update={"device": "cuda:0 NVIDIA H200"})),
    Answer(speed=SPEED.model_copy(update={"peak": 1_204_000_000, "gpu": 0.93})),
]
BEGUN = [Answer(model=model()), Answer(preparing="measuring a few batches")]


@pytest.mark.parametrize(
    ("name", "size"), [("whole", size) for size in SIZES] + [("deep", "120x40"), ("begun", "120x40")]
)
async def test_the_model_looks_as_it_did(
    name: str, size: str, monkeypatch: pytest.MonkeyPatch, same_as_before: Callable[[str, str], None]
) -> None:
    script = {"whole": WHOLE, "deep": DEEP, "begun": BEGUN}[name]
    async with opened(monkeypatch, script, SIZES[size], kind="model") as (shown, _):
        same_as_before(f"model-{name}-{size}", shown.text)
        if size == "80x24":
            await shown.press("tab")
            same_as_before(f"model-{name}-{size}-other", shown.text)


async def test_parts_are_shown_as_they_come_and_the_layers_scroll(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch, [Answer(preparing="model")], kind="model") as (shown, screen):
        assert isinstance(screen, ModelScreen) and "model ..." in shown.text
        Canned.made[0].tell(DEEP[0])
        await shown.settle()
        assert (
            "features.0 " in shown.text and "after the first steps" in shown.text and "features.199" not in shown.text
        )
        await shown.press("end")
        assert "features.199" in shown.text and "of 200 ↑ ↓" in shown.text
        Canned.made[0].tell(DEEP[1])
        Canned.made[0].tell(DEEP[2])
        await shown.settle()
        assert "1.2 GB  held by torch" in shown.text and "GPU 93 % busy" in shown.text
        assert "not the first 3" in shown.text


async def test_an_error_leaves_what_is_known_in_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    error = "file.py:Net failed at epoch 1, batch 1 of 844: [red]RuntimeError\x1b[0m: mat1 and mat2 do not fit."
    script = [Answer(model=model()), Answer(warning="data falls back to [b]mini"), Answer(error=error, exit_code=4)]
    async with opened(monkeypatch, script, kind="model") as (shown, _):
        assert "[red]RuntimeError\\x1b[0m: mat1" in shown.text and "features.0" in shown.text
        assert (
            "falls back to [b]mini" in shown.text
            and shown.text.count("not measured") == 2
            and "r looks again" in shown.text
        )
        monkeypatch.setattr(Canned, "script", WHOLE)
        await shown.press("r")
        assert "RuntimeError" not in shown.text and "falls back" not in shown.text and "an epoch" in shown.text


async def test_hostile_answers_are_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = "\x1b[2J[bold red]" * 40
    layer = Layer(name=bad, type=bad, output=bad, parameters=10**30, trainable=0)
    zero = ModelFacts(
        name=bad, shape=(), outputs=0, layers=(layer, layer), parameters=10**30, trainable=0, loss=bad, task=bad
    )
    nothing = Memory(
        batch_size=0, weights=0, gradients=0, optimizer=0, activations=0, data=0, optimizer_name=bad, free=0, device=bad
    )
    infinite = Speed(
        batches=0,
        left_out=0,
        batch_size=0,
        batches_per_second=float("inf"),
        examples_per_second=float("nan"),
        epoch_batches=0,
        epochs=10**9,
        epoch_seconds=float("inf"),
        valid_seconds=float("nan"),
        cores_used=-1.0,
        cores=0,
        waited=float("nan"),
        data_path=bad,
    )
    script = [Answer(model=zero), Answer(memory=nothing), Answer(speed=infinite)]
    async with opened(monkeypatch, script, kind="model") as (shown, _):
        assert "\x1b" not in shown.text and "[bold red]" in shown.text and "inf batches/s" in shown.text
    empty = zero.model_copy(update={"layers": (), "parameters": 0})
    async with opened(monkeypatch, [Answer(model=empty)], (60, 15), kind="model") as (shown, _):
        await shown.press("down", "end", "tab", "pageup")


def test_durations_are_said_as_one_says_them() -> None:
    assert [span(s) for s in (0.0412, 0.84, 3.26, 12.4, 75, 7300)] == [
        "0.041 s",
        "0.84 s",
        "3.3 s",
        "12 s",
        "1:15",
        "2:01:40",
    ]
