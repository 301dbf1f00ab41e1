"""What the run screen asks: whether a run is carried on like this, and what is to be done when it cannot go on."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from tests import replay
from tests.ui.conftest import Show
from tui_trainer.run import commands
from tui_trainer.run.commands import Command
from tui_trainer.run.events import Event, Preparing, RunPaused, RunStarted
from tui_trainer.ui.agree import Agree
from tui_trainer.ui.dialogs import Ask

SIZES = [(80, 24), (120, 40), (200, 60)]


def carried_on() -> list[Event]:
    """A run that is carried on with other settings and waits for a yes."""
    events = replay.until("finished", lambda event: type(event).__name__ == "EpochEnded")
    (started,) = (event for event in events if isinstance(event, RunStarted))
    last = events[-1].at
    changed = (("epochs", "5", "30"), ("lr", "0.001", "0.0003"), ("scheduler", "none", "cosine"))
    again = dataclasses.replace(
        started,
        at=last + 1,
        settings=started.settings | {"epochs": 30, "lr": 3e-4, "scheduler": "cosine"},
        resumed_from="checkpoints/last.pt",
        epoch=1,
        batch=next(event.batch for event in reversed(events) if hasattr(event, "batch")),
        step=next(event.step for event in reversed(events) if hasattr(event, "step")),
        lr=3e-4,
        changed=changed,
        best_epoch=1,
        best_loss=0.45,
        best_accuracy=0.83,
    )
    return [*events, Preparing(what="checkpoint", at=last + 1), again, RunPaused(at=last + 1)]


def asking(why: str, text: str) -> list[Event]:
    """A run that has come upon something and asks."""
    events = replay.training()
    return [*events, RunPaused(at=events[-1].at, why=why, text=text)]


NOT_FINITE = "The loss is not finite (nan) at epoch 2, batch 12 of 71."
FULL = "Nothing can be saved: the disk is full: 8.1 MB needed, 0.3 MB free"


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("name", ["agree", "diverged-asks", "disk-asks"])
async def test_the_questions_look_as_they_did(
    name: str, size: tuple[int, int], show_run: Show, same_as_before: Callable[[str, str], None]
) -> None:
    events = {"agree": carried_on, "diverged-asks": lambda: asking("diverged", NOT_FINITE)}.get(
        name, lambda: asking("disk", FULL)
    )()
    async with show_run(events, size) as shown:
        same_as_before(f"{name}-{size[0]}x{size[1]}", shown.text)


@pytest.mark.parametrize(
    ("key", "sent"), [("enter", commands.Continue()), ("y", commands.Continue()), ("escape", commands.Stop(save=False))]
)
async def test_a_run_with_other_settings_waits_for_a_yes(key: str, sent: Command, show_run: Show) -> None:
    async with show_run(carried_on()) as shown:
        assert isinstance(shown.app.screen, Agree)
        await shown.press(key)
        assert shown.run.sent == [sent] and not isinstance(shown.app.screen, Agree)


@pytest.mark.parametrize(
    ("why", "key", "sent"),
    [
        ("diverged", "b", commands.SkipBatch()),
        ("diverged", "h", commands.RollBack(halve=True)),
        ("diverged", "r", commands.RollBack()),
        ("diverged", "s", commands.Stop()),
        ("disk", "t", commands.Continue()),
        ("disk", "s", commands.Stop(save=False)),
    ],
)
async def test_an_answer_is_a_command(why: str, key: str, sent: Command, show_run: Show) -> None:
    async with show_run(asking(why, "something is wrong")) as shown:
        assert isinstance(shown.app.screen, Ask)
        await shown.press(key)
        assert shown.run.sent == [sent]


async def test_a_question_that_was_called_off_comes_again_with_space(show_run: Show) -> None:
    async with show_run(asking("diverged", NOT_FINITE)) as shown:
        await shown.press("escape")
        assert shown.run.sent == [] and "PAUSED" in shown.text
        await shown.press("space")
        screen: Any = shown.app.screen
        assert isinstance(screen, Ask) and NOT_FINITE.split(" at ")[0] in shown.text
