"""Every screen at three sizes, as text: what was looked at once stays as it was."""

from collections.abc import Callable

import pytest

from tests import replay
from tests.ui.conftest import SIZES, Show
from tui_trainer.run.events import Event

RUNS: dict[str, Callable[[], list[Event]]] = {
    "training": replay.training,
    "paused": replay.paused,
    "parked": replay.parked,
    "attached": replay.attached,
    "waiting": replay.waiting,
    "finished": lambda: replay.events("finished"),
    "out_of_patience": lambda: replay.events("out_of_patience"),
    "stopped": lambda: replay.events("stopped"),
    "diverged": lambda: replay.events("diverged"),
    "failed": lambda: replay.events("failed"),
}

KEYS = {
    "zoom": ("training", (120, 40), ["3", "z"]),
    "counts": ("training", (120, 40), ["m"]),
    "linear": ("training", (120, 40), ["y"]),
    "help": ("training", (120, 40), ["question_mark"]),
    "help-80x24": ("training", (80, 24), ["question_mark"]),
    "stop": ("training", (120, 40), ["s"]),
    "quit": ("training", (80, 24), ["q"]),
    "learning-rate": ("training", (120, 40), ["l"]),
    "model": ("training", (120, 40), ["i"]),
    "accuracy-80x24": ("training", (80, 24), ["2"]),
    "confusion-80x24": ("training", (80, 24), ["3"]),
    "epochs-80x24": ("finished", (80, 24), ["4"]),
    "checkpoints-80x24": ("finished", (80, 24), ["5"]),
    "parked-80x24": ("parked", (80, 24), ["6"]),
    "events-80x24": ("finished", (80, 24), ["6"]),
    "too-small": ("training", (59, 14), []),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", RUNS)
async def test_a_run_looks_as_it_did(
    name: str, size: str, show_run: Show, same_as_before: Callable[[str, str], None]
) -> None:
    async with show_run(RUNS[name](), SIZES[size]) as shown:
        same_as_before(f"{name}-{size}", shown.text)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("state", ["silent", "lost"])
async def test_a_run_of_which_nothing_is_heard_looks_as_it_did(
    state: str, size: str, show_run: Show, same_as_before: Callable[[str, str], None]
) -> None:
    async with show_run(replay.training(), SIZES[size]) as shown:
        if state == "silent":
            shown.screen._heard = -42.0  # the clock of the screens stands at 0
        else:
            shown.screen.state.lose()
        await shown.settle()
        same_as_before(f"{state}-{size}", shown.text)


@pytest.mark.parametrize("name", KEYS)
async def test_what_a_key_shows_looks_as_it_did(
    name: str, show_run: Show, same_as_before: Callable[[str, str], None]
) -> None:
    run, size, keys = KEYS[name]
    async with show_run(RUNS[run](), size) as shown:
        await shown.press(*keys)
        same_as_before(f"key-{name}", shown.text)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("name", "keys"), [("form", []), ("form-all", ["f2"]), ("form-wrong", ["tab", "minus"])])
async def test_the_form_looks_as_it_did(
    name: str, keys: list[str], size: str, show_form: Show, same_as_before: Callable[[str, str], None]
) -> None:
    async with show_form(SIZES[size]) as shown:
        await shown.press(*keys)
        same_as_before(f"{name}-{size}", shown.text)
