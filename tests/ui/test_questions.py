"""What the run screen asks: whether a run is carried on like this, and what is to be done when it cannot go on."""

from collections.abc import Callable
from typing import Any

import pytest
from textual.screen import Screen

from tests import replay
from tests.ui.conftest import Show, Shown
from tui_trainer.cli.local_run import local_run
from tui_trainer.run import commands
from tui_trainer.run.commands import Command
from tui_trainer.run.events import Warned
from tui_trainer.run.recorded import RecordedRun
from tui_trainer.settings.schema import Settings
from tui_trainer.settings.sources import resolve
from tui_trainer.ui.app import TrainerApp
from tui_trainer.ui.screens.confirm_changes import Agree
from tui_trainer.ui.screens.dialogs import Ask

SIZES = [(80, 24), (120, 40), (200, 60)]


NOT_FINITE = "The loss is not finite (nan) at epoch 2, batch 12 of 71."
FULL = "Nothing can be saved: the disk is full: 8.1 MB needed, 0.3 MB free"


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("name", ["agree", "diverged-asks", "disk-asks"])
async def test_the_questions_look_as_they_did(
    name: str, size: tuple[int, int], show_run: Show, same_as_before: Callable[[str, str], None]
) -> None:
    events = {"agree": replay.carried_on, "diverged-asks": lambda: replay.asking("diverged", NOT_FINITE)}.get(
        name, lambda: replay.asking("disk", FULL)
    )()
    async with show_run(events, size) as shown:
        same_as_before(f"{name}-{size[0]}x{size[1]}", shown.text)


@pytest.mark.parametrize(
    ("key", "sent"), [("enter", commands.Continue()), ("y", commands.Continue()), ("escape", commands.Stop(save=False))]
)
async def test_a_run_with_other_settings_waits_for_a_yes(key: str, sent: Command, show_run: Show) -> None:
    async with show_run(replay.carried_on()) as shown:
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
    async with show_run(replay.asking(why, "something is wrong")) as shown:
        assert isinstance(shown.app.screen, Ask)
        await shown.press(key)
        assert shown.run.sent == [sent]


async def test_a_question_that_was_called_off_comes_again_with_space(show_run: Show) -> None:
    async with show_run(replay.asking("diverged", NOT_FINITE)) as shown:
        await shown.press("escape")
        assert shown.run.sent == [] and "PAUSED" in shown.text
        await shown.press("space")
        screen: Any = shown.app.screen
        assert isinstance(screen, Ask) and NOT_FINITE.split(" at ")[0] in shown.text


async def test_r_carries_a_lost_run_on_and_says_why_it_cannot() -> None:
    run_ = local_run(Settings(dataset="fashion-mnist-mini", epochs=1, limit_train_batches=4, seed=0, device="cpu"))
    list(run_.events())
    assert run_.folder is not None
    lines = run_.folder.journal.read_text().splitlines(keepends=True)
    app = TrainerApp(resolve([]), recorded=RecordedRun(run_.folder), begin=local_run)
    async with app.run_test(size=(120, 40)) as pilot:
        view = Shown(pilot)
        await until(pilot, lambda: "✔ finished" in view.text)
        await view.press("r")
        assert view.notes[-1].endswith("To go on, give more epochs: --epochs 2.")
    run_.folder.journal.write_text("".join(lines[:-1]))
    app = TrainerApp(resolve([]), recorded=RecordedRun(run_.folder), begin=local_run)
    async with app.run_test(size=(120, 40)) as pilot:
        view = Shown(pilot)
        await until(pilot, lambda: "LOST" in view.text)
        assert f"tui-trainer resume {run_.folder.path.name}" in view.text
        await view.press("r")
        await until(pilot, lambda: "✔ finished" in view.text)
        feed = app.feed
    assert feed is not None and feed.ended is not None and feed.ended.reason == "finished"


async def until(pilot: Any, true: Callable[[], bool]) -> None:
    for _ in range(1000):
        if true():
            return
        await pilot.pause(0.02)
    raise AssertionError("waited in vain")


@pytest.mark.parametrize("opened", ["s", "q", "question_mark", "l", "i"])
async def test_two_quick_keys_close_a_question_and_not_the_screen_beneath_it(opened: str, show_run: Show) -> None:
    async with show_run(replay.training()) as shown:
        await shown.press(opened)
        question = shown.app.screen
        assert question is not shown.screen
        for _ in range(2):
            question.dismiss(None)
        await shown.settle()
        assert shown.app.screen is shown.screen


async def test_beneath_an_open_question_the_run_is_painted_when_it_changes_and_then_no_more(
    show_run: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with show_run(replay.training()) as shown:
        await shown.press("s")
        painted = 0
        paint = Screen._compositor_refresh

        def count(screen: Screen[object]) -> None:
            nonlocal painted
            painted += screen is shown.screen
            paint(screen)

        monkeypatch.setattr(Screen, "_compositor_refresh", count)
        shown.screen.feed._deliver([Warned(text="seen beneath the question")])
        await shown.settle()
        assert "seen beneath" in shown.text and painted
        await shown.pilot.pause(0.2)
        painted = 0
        await shown.pilot.pause(1.0)  # it would be painted some ten times
        assert painted == 0
