"""A replay shows at each moment what the run screen showed then; its keys move through time and steer nothing."""

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import replay
from tests.run.examples import epoch_ended, folded, started, trained
from tests.ui.conftest import SIZES, Show, Shown
from tui_trainer.cli.local_run import local_run
from tui_trainer.run.events import Event, RunPaused, Warned
from tui_trainer.run.events_json import to_json
from tui_trainer.run.folder import RunFolder
from tui_trainer.runs.player import Player
from tui_trainer.settings.sources import resolve
from tui_trainer.ui.app import TrainerApp
from tui_trainer.ui.screens import replay as replay_screen
from tui_trainer.ui.screens.dialogs import Help, Outline
from tui_trainer.ui.screens.replay import ReplayScreen
from tui_trainer.ui.screens.run.screen import RunScreen
from tui_trainer.ui.widgets.keys import bindings_of
from tui_trainer.ui.widgets.player_line import PlayerLine

MARKED = ["space", "home", "n", "n", "n", "n"]
"""From anywhere to where the finished run was paused."""


class Replayed(Shown):
    """A replay under test. Its clock stands still: it plays by `play` alone."""

    screen: ReplayScreen

    @property
    def player(self) -> Player:
        return self.screen.player

    async def play(self, seconds: float) -> None:
        """Let so many seconds go by on the clock."""
        self.screen.play(seconds)
        await self.settle()

    @property
    def line(self) -> str:
        return self.text.splitlines()[-2]


ShowReplay = Callable[..., AbstractAsyncContextManager[Replayed]]


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., RunFolder]:
    """Makes the folder of a recorded run, or of events."""

    def make(run: str | list[Event]) -> RunFolder:
        made = RunFolder(tmp_path / "runs" / (run if isinstance(run, str) else "made"))
        made.checkpoints.mkdir(parents=True)
        if isinstance(run, str):
            shutil.copy(replay.JOURNALS / f"{run}.jsonl", made.journal)
        else:
            made.journal.write_text("".join(to_json(event) + "\n" for event in run), "utf-8")
        return made

    return make


@pytest.fixture
def show_replay(
    folder: Callable[..., RunFolder], still: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> ShowReplay:
    """Shows the replay of a recorded run, or of events, at a size."""

    @asynccontextmanager
    async def shown(
        run: str | list[Event], size: tuple[int, int] = (120, 40), speed: float | None = None
    ) -> AsyncIterator[Replayed]:
        still(2e9)  # long after all that was recorded
        monkeypatch.setattr(replay_screen, "time", SimpleNamespace(monotonic=lambda: 0.0))
        screen = ReplayScreen(folder(run), speed)
        app = TrainerApp(resolve([]), replay=screen, begin=local_run)
        async with app.run_test(size=size) as pilot:
            view = Replayed(pilot, screen)
            await view.settle()
            yield view

    return shown


# --- looks ---

LOOKS: dict[str, tuple[str, float, list[str]]] = {
    "playing": ("finished", 12.0, []),
    "paused": ("finished", 0.0, MARKED),
    "end": ("out_of_patience", 100.0, []),
    "failed": ("failed", 0.0, ["end"]),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", LOOKS)
async def test_a_replay_looks_as_it_did(
    name: str, size: str, show_replay: ShowReplay, same_as_before: Callable[[str, str], None]
) -> None:
    run, seconds, keys = LOOKS[name]
    async with show_replay(run, SIZES[size]) as shown:
        await shown.play(seconds)
        await shown.press(*keys)
        same_as_before(f"replay-{name}-{size}", shown.text)


async def test_its_help_looks_as_it_did(show_replay: ShowReplay, same_as_before: Callable[[str, str], None]) -> None:
    async with show_replay("finished") as shown:
        await shown.press("question_mark")
        same_as_before("replay-help", shown.text)


@pytest.mark.parametrize("size", SIZES)
async def test_the_panels_are_those_of_the_run_screen(size: str, show_replay: ShowReplay, show_run: Show) -> None:
    """But for the line to play by and the keys; at the end all is the same to the letter."""
    async with show_run(replay.events("finished"), (SIZES[size][0], SIZES[size][1] - 1)) as shown:
        expected = shown.text.splitlines()[:-1]
    async with show_replay("finished", SIZES[size]) as shown:
        await shown.press("end")
        assert shown.text.splitlines()[:-2] == expected


async def test_what_depends_on_the_clock_is_told_by_that_of_the_run(show_replay: ShowReplay) -> None:
    async with show_replay("finished", (200, 60), speed=1.0) as shown:
        await shown.press(*MARKED[:4])
        top = shown.text.splitlines()
        assert "saved 0 s ago" in top[0] and "0:18" in top[0]
        await shown.press("space", "5", "z")
        await shown.play(5.25)
        top = shown.text.splitlines()
        assert "saved 5 s ago" in top[0] and "0:24" in top[0]
        assert any("checkpoints/last.pt  5 s ago" in line for line in top)


async def test_what_is_left_runs_down_between_two_events(show_replay: ShowReplay) -> None:
    events = [started(), trained(1, speed=1.0), trained(2, speed=1.0)]
    async with show_replay([replace(event, at=1e9 + 4 * i) for i, event in enumerate(events)], speed=1.0) as shown:
        await shown.play(4.0)
        seen = []
        for _ in range(4):
            seen.append(shown.text.splitlines()[1].split(" left")[0].split()[-1])
            assert shown.player.position == 2
            await shown.play(0.95)
        seconds = [60 * int(clock.split(":")[0]) + int(clock.split(":")[1]) for clock in seen]
        assert seconds == [seconds[0] - n for n in range(4)]


@pytest.mark.parametrize("size", [(59, 14), (60, 15), (79, 23), (109, 31), (110, 32)])
async def test_the_line_fits_every_size(size: tuple[int, int], show_replay: ShowReplay) -> None:
    async with show_replay("finished", size, speed=100_000) as shown:
        await shown.press("space", "end")
        assert ("needs a terminal" in shown.text) is (size[0] < 60)
        if size[0] >= 60:
            assert "■" in shown.line and "1:37 / 1:37" in shown.line and "x100,000" in shown.line
            assert "end" in shown.line and "●" in shown.line


# --- playing ---


@pytest.mark.parametrize("name", ["finished", "stopped", "out_of_patience", "diverged", "failed"])
async def test_it_plays_to_the_end_and_stays_there(name: str, show_replay: ShowReplay) -> None:
    async with show_replay(name) as shown:
        assert shown.player.playing
        for _ in range(400):
            shown.screen.play(0.1)
        await shown.settle()
        assert shown.screen.state == folded(*replay.events(name))
        assert " ■ " in shown.line and " end" in shown.line and "space Again" in shown.text
        await shown.press("space")
        assert shown.player.playing and shown.player.position == 1 and "space Pause" in shown.text


async def test_space_stops_and_goes_on(show_replay: ShowReplay) -> None:
    async with show_replay("finished") as shown:
        await shown.play(2)
        await shown.press("space")
        assert "❚❚" in shown.line and "space Play" in shown.text
        before = shown.text
        await shown.play(2)
        assert shown.text == before
        await shown.press("space")
        assert "▶" in shown.line
        await shown.play(2)
        assert shown.player.now == pytest.approx(4 * shown.player.speed)


async def test_the_clock_moves_it_and_a_process_that_stood_still_skips_nothing(
    show_replay: ShowReplay, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with show_replay("finished", speed=1.0) as shown:
        now = 0.0
        monkeypatch.setattr(replay_screen, "time", SimpleNamespace(monotonic=lambda: now))
        now = 0.25
        shown.screen._tick()
        assert shown.player.now == 0.25
        now = 1000.0
        shown.screen._tick()
        assert shown.player.now == 0.75
        await shown.press("question_mark")
        now += 0.25
        shown.screen._tick()
        assert shown.player.now == 0.75, "it waits while a dialog covers it"
        await shown.press("escape")
        shown.screen._tick()
        assert shown.player.now == 0.75, "and leaves that time out"


async def test_keys_move_through_time(show_replay: ShowReplay) -> None:
    async with show_replay("finished") as shown:
        player = shown.player
        await shown.press("space", "home")
        for key, now in [("right", 0.02), ("right", 0.04), ("left", 0.02), ("left", 0), ("left", 0), ("end", 1)]:
            await shown.press(key)
            assert player.now == pytest.approx(now * player.duration)
        for key, position in [("comma", 114), ("shift+left", 113), ("full_stop", 114), ("shift+right", 115)]:
            await shown.press(key)
            assert player.position == position
        await shown.press("home")
        assert (player.position, player.now) == (1, 0)


async def test_keys_jump_from_mark_to_mark_and_stop_there(show_replay: ShowReplay) -> None:
    async with show_replay("finished") as shown:
        await shown.press("n", "n")
        assert "epoch 1 ended, the best" in shown.line and "❚❚" in shown.line
        await shown.press("n", "n")
        assert "paused" in shown.line and "PAUSED" in shown.text
        await shown.press("b")
        assert "epoch 2 ended, the best" in shown.line and "PAUSED" not in shown.text
        await shown.press("home", "b")
        assert "no mark before" in shown.notes[-1]
        await shown.press("end", "n")
        assert "no mark after" in shown.notes[-1]


async def test_keys_change_the_speed_and_say_where_it_ends(show_replay: ShowReplay) -> None:
    async with show_replay("finished") as shown:
        await shown.press("n")
        assert "x5 " in shown.line
        for key, speed in [("plus", 10), ("equals_sign", 20), ("right_square_bracket", 50), ("minus", 20)]:
            await shown.press(key)
            assert f"x{speed} " in shown.line
        await shown.press("left_square_bracket")
        assert "x10 " in shown.line
        shown.player.speed = 100_000
        await shown.press("plus")
        assert "faster" in shown.notes[-1]
        shown.player.speed = 0.1
        await shown.press("minus")
        assert "slower" in shown.notes[-1] and "x0.1 " in shown.line


async def test_a_click_on_the_slider_goes_there_and_to_the_mark_under_it(show_replay: ShowReplay) -> None:
    async with show_replay("finished") as shown:
        await shown.press("space")
        first, width = shown.screen.line._slider
        await shown.pilot.click(PlayerLine, offset=(first + 3 * width // 4, 0))
        assert shown.player.now == pytest.approx(0.75 * shown.player.duration)
        await shown.settle()
        await shown.pilot.click(PlayerLine, offset=(shown.line.index("★"), 0))
        await shown.settle()
        assert "epoch 1 ended" in shown.line
        await shown.pilot.click(PlayerLine, offset=(first + width - 1, 0))
        assert shown.player.at_end
        await shown.pilot.click(PlayerLine, offset=(2, 0))
        assert shown.player.at_end, "beside the slider nothing happens"


async def test_the_slider_is_dragged_beyond_its_ends(show_replay: ShowReplay) -> None:
    async with show_replay("finished") as shown:
        first, _ = shown.screen.line._slider
        await shown.pilot.mouse_down(PlayerLine, offset=(first + 20, 0))
        await shown.pilot.hover(offset=(119, 3))
        assert shown.player.at_end
        await shown.pilot.hover(offset=(0, 3))
        assert shown.player.now < 0.1 * shown.player.duration
        await shown.pilot.mouse_up(offset=(0, 3))
        await shown.pilot.hover(offset=(119, 3))
        assert not shown.player.at_end


async def test_many_epochs_do_not_crowd_the_slider(show_replay: ShowReplay) -> None:
    events: list[Event] = [started(epochs=500)]
    for epoch in range(1, 501):
        events += [trained(10 * epoch), *([Warned(text="hot")] if epoch == 250 else [])]
        events.append(epoch_ended(epoch))
    events = [replace(event, at=1e9 + second) for second, event in enumerate(events)]
    async with show_replay(events) as shown:
        await shown.press("space", "home")
        assert "┼" not in shown.line and shown.line.count("!") == 1


# --- keys ---


def keys_of(screen: RunScreen) -> list[str]:
    return [key for binding in bindings_of(screen) for key in binding.key.split(",") if binding.action]


async def test_no_key_means_two_things_and_all_that_look_mean_what_they_mean_on_the_run_screen(
    show_replay: ShowReplay,
) -> None:
    async with show_replay("finished") as shown:
        keys = keys_of(shown.screen)
        assert len(keys) == len(set(keys))
        theirs, ours = (
            {key: binding.action for binding in screen.BINDINGS if binding.action for key in binding.key.split(",")}
            for screen in (RunScreen, ReplayScreen)
        )
        same = {key for key in ours if theirs.get(key) == ours[key]}
        assert set("zmyi123456") | {"tab", "shift+tab", "up", "down", "pageup", "pagedown", "question_mark"} <= same
        assert {key for key in ours if key in theirs} - same == {"space", "n", "q", "ctrl+c"}


@pytest.mark.parametrize("key", ["s", "c", "e", "l", "x", "r", "p"])
async def test_a_key_that_steers_does_nothing(key: str, show_replay: ShowReplay) -> None:
    async with show_replay("finished") as shown:
        await shown.press("space")
        before = shown.text
        await shown.press(key)
        assert shown.text == before and shown.app.screen is shown.screen


async def test_every_key_does_something(show_replay: ShowReplay) -> None:
    async with show_replay("finished") as shown:
        await shown.press(*MARKED)
        for key in keys_of(shown.screen):
            if key in ("q", "escape", "ctrl+c", "ctrl+p", "1", "tab", "shift+tab", "up", "down", "pageup", "pagedown"):
                continue
            before = (shown.text, len(shown.notes), shown.app.screen)
            await shown.press(key)
            assert (shown.text, len(shown.notes), shown.app.screen) != before or key == "home", key
            if isinstance(shown.app.screen, Help | Outline):
                await shown.press("escape")


async def test_the_palette_and_the_help_hold_every_key(show_replay: ShowReplay) -> None:
    async with show_replay("finished") as shown:
        told = [binding for binding in bindings_of(shown.screen) if binding.tooltip]
        titles = {command.title for command in shown.app.get_system_commands(shown.screen)}
        assert {binding.description for binding in told if binding.action != "command_palette"} - {"Panel"} <= titles
        assert not titles & {"Stop", "Save", "Evaluate", "Rate", "End epoch", "New run", "Resume"}


@pytest.mark.parametrize("key", ["q", "escape", "ctrl+c"])
async def test_leaving_ends_the_app_that_shows_only_a_replay(key: str, show_replay: ShowReplay) -> None:
    async with show_replay("finished") as shown:
        await shown.press(key)
        assert shown.app._exit and shown.app.return_code == 0


async def test_another_screen_opens_a_replay_and_is_there_again_afterwards(
    show_run: Show, folder: Callable[..., RunFolder]
) -> None:
    async with show_run(replay.events("finished")) as shown:
        shown.screen.post_message(RunScreen.Replay(folder("stopped")))
        await shown.settle()
        assert isinstance(shown.app.screen, ReplayScreen) and "replay ▶" in shown.text
        await shown.press("q")
        assert shown.app.screen is shown.screen and not shown.app._exit
        shown.screen.post_message(RunScreen.Replay(RunFolder(Path("nowhere"))))
        await shown.settle()
        assert shown.app.screen is shown.screen and "cannot be read" in shown.notes[-1]


# --- odd journals ---


async def test_while_it_is_read_it_says_how_much_and_keys_are_dim(show_replay: ShowReplay) -> None:
    async with show_replay("finished") as shown:
        whole = shown.screen._reading

        def slowly() -> Iterator[float]:
            yield 0.43
            yield from whole

        shown.screen._reading = slowly()
        shown.screen.line.read = next(shown.screen._reading)
        await shown.settle()
        assert "reading the journal: 43 %" in shown.line
        assert shown.screen.why_not("play") == shown.screen.why_not("mark(1)") == "The journal is still being read."
        await shown.press("space", "end")
        assert shown.player.playing and not shown.player.at_end
        assert not shown.screen.why_not("zoom")


async def test_a_long_journal_is_read_in_pieces(show_replay: ShowReplay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Player, "BUNCH", 10)
    monkeypatch.setattr(ReplayScreen, "TICK", 1e-4)  # no moment to read in: a bunch at a time
    async with show_replay("finished") as shown:
        while shown.screen.line.read is not None:
            await shown.pilot.pause()
        assert len(shown.player) == 115 and shown.player.playing


async def test_an_empty_journal_says_so(show_replay: ShowReplay) -> None:
    async with show_replay([]) as shown:
        assert "nothing was recorded" in shown.text
        await shown.press("space", "n", "right", "comma", "end", "home", "plus", "space")
        assert "nothing was recorded" in shown.text and not shown.player.playing


async def test_a_lost_run_names_the_command_and_no_key(show_replay: ShowReplay) -> None:
    async with show_replay(replay.training()) as shown:
        await shown.press("end")
        assert "LOST" in shown.text and "Carry on with: tui-trainer resume made" in shown.text
        await shown.press("comma")
        assert "LOST" not in shown.text and "Carry on" not in shown.text


async def test_a_run_that_asked_asks_nobody_again(show_replay: ShowReplay) -> None:
    async with show_replay([*replay.asking("disk", "No room."), *replay.events("finished")[-1:]]) as shown:
        await shown.press("space", "end", "comma")
        assert isinstance(replay.asking("disk", "")[-1], RunPaused)
        assert shown.app.screen is shown.screen and "PAUSED" in shown.text and "paused: No room." in shown.line


async def test_foreign_text_is_shown_and_never_obeyed(show_replay: ShowReplay) -> None:
    hostile = "[red]x[/nope] \x1b]0;title\x07 [@click=app.quit]go[/]"
    async with show_replay([*replay.training(), Warned(text=hostile, at=replay.training()[-1].at)]) as shown:
        await shown.press("end")
        assert "[red]x[/nope]" in shown.line and not set(shown.text) & set("\x1b\x07")
