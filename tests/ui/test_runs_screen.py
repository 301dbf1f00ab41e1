"""The list of runs: what it shows, what its keys ask for, and the ways from screen to screen."""

import os
import shutil
import unicodedata
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input

from tests.cli.program import hidden
from tests.cli.test_hostile_text import HOSTILE, told_by
from tests.ui.conftest import SIZES, Shown
from tests.ui.folders import LONG, NOW, copies, make, make_all
from tui_trainer.cli.local_run import local_run
from tui_trainer.run.events_json import to_json
from tui_trainer.run.folder import RunFolder
from tui_trainer.run.resume import Carried
from tui_trainer.runs import listing
from tui_trainer.settings.sources import resolve
from tui_trainer.ui.app import TrainerApp
from tui_trainer.ui.screens.compare import CompareScreen
from tui_trainer.ui.screens.dialogs import Ask, Help
from tui_trainer.ui.screens.run.screen import RunScreen
from tui_trainer.ui.screens.runs import RunsScreen
from tui_trainer.ui.screens.settings import SettingsScreen
from tui_trainer.ui.widgets.keys import bindings_of
from tui_trainer.ui.widgets.run_details import wrap
from tui_trainer.ui.widgets.run_table import RunTable

_KEYS = {":": "colon", "<": "less_than_sign", ">": "greater_than_sign", ".": "full_stop", "-": "minus", " ": "space"}


async def until(shown: Shown, true: Callable[[], object]) -> None:
    for _ in range(1000):
        if true():
            break
        await shown.pilot.pause(0.02)
    else:
        raise AssertionError("waited in vain")
    await shown.settle()


@pytest.fixture(autouse=True)
def forgetful(still: Callable[[float], None]) -> None:
    """Nothing is known from another test, and the clock stands still."""
    listing._cache.clear()
    still(NOW)


@asynccontextmanager
async def opened(size: tuple[int, int] = (120, 40), **options: Any) -> AsyncIterator[Shown]:
    """The app with its first screen."""
    app = TrainerApp(options.pop("resolved", None) or resolve([]), **{"runs": True} | options, begin=local_run)
    async with app.run_test(size=size) as pilot:
        shown = Shown(pilot)
        await until(shown, lambda: not isinstance(app.screen, RunsScreen) or app.screen.runs is not None)
        yield shown


def runs_screen(shown: Shown) -> RunsScreen:
    screen: Any = shown.app.screen
    assert isinstance(screen, RunsScreen)
    return screen


def names(shown: Shown) -> list[str]:
    return [run.name for run in runs_screen(shown).table.rows]


async def type_in(shown: Shown, text: str) -> None:
    await shown.press(*(_KEYS.get(letter, letter) for letter in text))


async def choose(shown: Shown, name: str) -> None:
    table = runs_screen(shown).table
    table.move(names(shown).index(name) - table.place)
    await shown.settle()


# --- looks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
async def test_the_runs_look_as_they_did(size: str, same_as_before: Callable[[str, str], None]) -> None:
    make_all()
    async with opened(SIZES[size]) as shown:
        await shown.press("down", "space")
        same_as_before(f"runs-{size}", shown.text)


LOOKS: dict[str, tuple[tuple[int, int], list[str]]] = {
    "filter": ((120, 40), ["slash", *"cnn", "enter"]),
    "filter-wrong-80x24": ((80, 24), ["slash", *"modl", "colon", *"cnn"]),
    "filter-none-80x24": ((80, 24), ["slash", *"xyz", "enter"]),
    "sorted": ((120, 40), ["o"]),
    "delete-80x24": ((80, 24), ["end", "d"]),
    "help": ((120, 40), ["question_mark"]),
    "help-80x24": ((80, 24), ["question_mark"]),
    "too-small": ((59, 14), []),
}


@pytest.mark.parametrize("name", LOOKS)
async def test_what_a_key_of_the_runs_shows_looks_as_it_did(
    name: str, same_as_before: Callable[[str, str], None]
) -> None:
    make_all()
    size, keys = LOOKS[name]
    async with opened(size) as shown:
        await shown.press(*keys)
        same_as_before(f"runs-{name}", shown.text)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("name", "keys"), [("compare", []), ("compare-time", ["m", "m", "t"])])
async def test_runs_side_by_side_look_as_they_did(
    name: str, keys: list[str], size: str, same_as_before: Callable[[str, str], None]
) -> None:
    make_all()
    folders = [RunFolder(Path("runs") / n) for n in ("2026-11-23T11-24-45-cnn-fashion-mnist", LONG, "sgd-momentum")]
    async with opened(SIZES[size], compared=folders) as shown:
        screen: Any = shown.app.screen
        await until(shown, lambda: screen.chart.lines is not None)
        await shown.press(*keys)
        same_as_before(f"{name}-{size}", shown.text)


@pytest.mark.parametrize("size", SIZES)
async def test_the_form_that_carries_a_run_on_looks_as_it_did(
    size: str, same_as_before: Callable[[str, str], None]
) -> None:
    make_all()
    async with opened(SIZES[size]) as shown:
        await choose(shown, "sgd-momentum")
        await shown.press("e")
        same_as_before(f"form-carries-{size}", shown.text)


async def test_an_empty_list_says_so_and_how_to_start(same_as_before: Callable[[str, str], None]) -> None:
    async with opened((80, 24)) as shown:
        await shown.press("f4")
        await until(shown, lambda: runs_screen(shown).runs is not None)
        assert "There are no runs in runs yet." in shown.text and "n starts the first one." in shown.text
        same_as_before("runs-empty-80x24", shown.text)
        for key in ("enter", "r", "e", "u", "d", "p", "space"):
            await shown.press(key)
            assert "There is no run here." in shown.notes[-1], key


# --- finding -------------------------------------------------------------------------------------------------------


async def test_the_newest_comes_first_and_the_arrows_choose() -> None:
    make_all()
    async with opened((80, 24)) as shown:
        began = [run.started for run in runs_screen(shown).table.rows]
        assert began == sorted(began, reverse=True) and len(began) == 7
        table = runs_screen(shown).table
        for key, place in (("down", 1), ("end", 6), ("up", 5), ("home", 0), ("up", 0), ("pagedown", 6), ("pageup", 0)):
            await shown.press(key)
            assert table.place == place, key


async def test_a_filter_shows_its_runs_while_it_is_typed_and_escape_shows_all() -> None:
    make_all()
    async with opened() as shown:
        await shown.press("slash")
        assert "state:live" in shown.text
        await type_in(shown, "model:cnn")
        assert names(shown) == ["power-cut", "2026-11-23T11-24-45-cnn-fashion-mnist"] and "2 shown" in shown.text
        await type_in(shown, " loss<0.23")
        assert names(shown) == ["2026-11-23T11-24-45-cnn-fashion-mnist"]
        await shown.press("enter")
        assert isinstance(shown.app.focused, RunTable) and len(names(shown)) == 1
        await shown.press("escape")
        assert len(names(shown)) == 7 and not shown.app.screen.query_one("#filter").display


async def test_a_word_that_means_nothing_says_so_and_the_others_count() -> None:
    make_all()
    async with opened() as shown:
        await shown.press("slash")
        await type_in(shown, "cnn modl:x")
        assert "modl:x: runs have no modl. Did you mean model?" in shown.text
        assert len(names(shown)) == 1


async def test_o_goes_through_the_orders() -> None:
    make_all()
    async with opened() as shown:
        await shown.press("o")
        assert names(shown)[0] == "2026-11-23T11-24-45-cnn-fashion-mnist" and "by score" in shown.text
        await shown.press("o")
        assert names(shown)[0] == "too-large" and "by loss" in shown.text
        for _ in range(4):
            await shown.press("o")
        assert "by age" in shown.text


async def test_a_new_run_appears_and_the_chosen_one_stays_chosen() -> None:
    make_all()
    async with opened() as shown:
        screen = runs_screen(shown)
        await choose(shown, "sgd-momentum")
        make("another", "failed")
        shutil.rmtree("runs/no-journal")
        screen.look()
        await until(shown, lambda: "another" in names(shown))
        assert screen.table.current is not None and screen.table.current.name == "sgd-momentum"
        assert "no-journal" not in names(shown)


async def test_a_run_that_a_process_holds_is_live_until_it_lets_go() -> None:
    path = make("it", "finished", share=0.5)
    with RunFolder(path).lock.hold():
        async with opened() as shown:
            assert "● training" in shown.text and "1 live" in shown.text
            for key, words in (("r", "under way"), ("e", "under way"), ("d", "stop it first")):
                await shown.press(key)
                assert words in shown.notes[-1]
            assert path.is_dir()
    async with opened() as shown:
        assert "✖ lost" in shown.text and "1 live" not in shown.text


async def test_only_lines_in_sight_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    copies(300)
    made: list[str] = []
    line = RunTable._line

    def counted(self: RunTable, run: listing.Summary, *more: Any) -> object:
        made.append(run.name)
        return line(self, run, *more)

    monkeypatch.setattr(RunTable, "_line", counted)
    async with opened((80, 24)) as shown:
        made.clear()
        await shown.press("end")
        assert 0 < len(set(made)) <= 24 and names(shown)[-1] in made


# --- doing ---------------------------------------------------------------------------------------------------------


async def test_enter_opens_a_run_and_escape_returns_to_it_in_the_list() -> None:
    make_all()
    async with opened() as shown:
        await choose(shown, "sgd-momentum")
        await shown.press("enter")
        screen: Any = shown.app.screen
        assert isinstance(screen, RunScreen)
        await until(shown, lambda: "■ stopped" in shown.text)
        await shown.press("escape")
        assert runs_screen(shown).table.current.name == "sgd-momentum"  # type: ignore[union-attr]
        await until(shown, lambda: not screen.feed.thread.is_alive())


async def test_leaving_a_recording_that_grows_ends_its_reading() -> None:
    path = make("it", "finished", share=0.5)
    with RunFolder(path).lock.hold():
        async with opened() as shown:
            await shown.press("enter")
            screen: Any = shown.app.screen
            await until(shown, lambda: "training" in shown.text)
            await shown.press("escape")
            assert isinstance(shown.app.screen, RunsScreen)
            await until(shown, lambda: not screen.feed.thread.is_alive())


async def test_n_on_a_run_screen_goes_to_the_form_and_f4_back_to_the_runs() -> None:
    make_all()
    async with opened() as shown:
        await shown.press("end", "enter")
        await until(shown, lambda: isinstance(shown.app.screen, RunScreen) and shown.app.screen.state.is_over)
        await shown.press("n")
        assert isinstance(shown.app.screen, SettingsScreen)
        await shown.press("f4")
        assert isinstance(shown.app.screen, RunsScreen) and len(shown.app.screen_stack) == 2


async def test_the_form_stays_as_it_was_left() -> None:
    make_all()
    async with opened() as shown:
        await shown.press("n")
        screen: Any = shown.app.screen
        screen.form.fields["epochs"].set_text("7")
        await shown.press("escape")
        assert isinstance(shown.app.screen, RunsScreen)
        await shown.press("n")
        assert shown.app.screen is screen and screen.form.settings().epochs == 7


async def test_without_runs_the_form_comes_first_and_f4_shows_the_list() -> None:
    async with opened() as shown:
        assert isinstance(shown.app.screen, SettingsScreen)
        await shown.press("escape")
        assert isinstance(shown.app.screen, SettingsScreen)  # there is nothing to go back to
        await shown.press("f4")
        assert isinstance(shown.app.screen, RunsScreen)
        await shown.press("n")
        assert isinstance(shown.app.screen, SettingsScreen)


async def test_the_form_comes_first_when_settings_were_typed() -> None:
    make_all()
    async with opened(runs=False) as shown:
        assert isinstance(shown.app.screen, SettingsScreen)


@pytest.mark.parametrize("key", ["q", "ctrl+q", "ctrl+c"])
async def test_the_same_keys_quit_the_list_and_the_comparison(key: str) -> None:
    make_all()
    async with opened() as shown:
        await shown.press(key)
        assert shown.app._exit
    async with opened(compared=[RunFolder(Path("runs/sgd-momentum")), RunFolder(Path("runs/bad-rate"))]) as shown:
        await shown.press(key)
        assert shown.app._exit


async def test_marked_runs_are_compared_or_a_marked_one_with_the_chosen_one() -> None:
    make_all()
    async with opened() as shown:
        await choose(shown, "bad-rate")
        await shown.press("c")
        assert "Mark a run with space" in shown.notes[-1]
        await shown.press("space", "c")
        screen: Any = shown.app.screen
        assert isinstance(screen, CompareScreen)
        assert [folder.path.name for folder in screen.folders] == ["bad-rate", "too-large"]
        await shown.press("escape")
        await shown.press("space", "c")
        await until(shown, lambda: "A bad-rate" in shown.text and "B too-large" in shown.text)
        await shown.press("escape", "escape")
        assert runs_screen(shown).table.marked == []


async def test_more_than_eight_runs_are_not_told_apart() -> None:
    copies(9)
    async with opened() as shown:
        await shown.press(*["space"] * 9, "c")
        assert "9 runs are marked; 8 can be told apart." in shown.notes[-1]
        await shown.press("space", "c")
        assert isinstance(shown.app.screen, CompareScreen)


async def test_what_can_be_carried_on_is_and_what_cannot_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    make_all()
    carried: list[Carried] = []
    async with opened() as shown:
        monkeypatch.setattr(shown.app, "carry_on", carried.append)
        for name, words in (
            ("too-large", "saved no checkpoint to carry on from"),
            ("2026-11-23T11-24-45-cnn-fashion-mnist", "finished at epoch 6. To go on, give more epochs"),
            ("no-journal", "cannot be read: it has no journal"),
        ):
            await choose(shown, name)
            await shown.press("r")
            assert words in shown.notes[-1] and carried == []
        await choose(shown, "power-cut")
        await shown.press("r")
        assert [c.folder.path.name for c in carried] == ["power-cut"] and carried[0].changed == ()


async def test_a_run_is_carried_on_with_other_settings_and_those_that_are_fixed_say_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_all()
    carried: list[Carried] = []
    async with opened() as shown:
        monkeypatch.setattr(shown.app, "carry_on", carried.append)
        await choose(shown, "2026-11-23T11-24-45-cnn-fashion-mnist")
        await shown.press("e")
        screen: Any = shown.app.screen
        assert isinstance(screen, SettingsScreen) and screen.form.fields["lr"].entry.has_focus
        assert "Carry on 2026-11-23T11-24-45-cnn-fashion-mnist" in shown.text
        screen.form.fields["model"].entry.focus()
        await shown.settle()
        told = str(screen.query_one("#help-text").render())
        assert "Cannot change when a run is carried on: the weights are those of this one." in told
        await shown.press("x", "down")
        screen.form.fill({"model": "mlp", "seed": 3})
        assert screen.form.typed == {}
        await shown.press("ctrl+r")
        assert "To go on, give more epochs" in shown.notes[-1] and carried == []
        screen.form.fields["epochs"].set_text("none")
        await shown.press("ctrl+r")
        assert "must be a whole number" in shown.notes[-1] and carried == []
        screen.form.fields["epochs"].set_text("12")
        await shown.settle()
        assert screen.form.command() == "tui-trainer resume 2026-11-23T11-24-45-cnn-fashion-mnist --no-ui --epochs 12"
        await shown.press("ctrl+r")
        assert carried[0].changed == ("epochs",) and carried[0].settings.epochs == 12
        await shown.press("escape")
        assert isinstance(shown.app.screen, RunsScreen)


async def test_a_run_that_was_taken_meanwhile_is_not_carried_on() -> None:
    path = make("it", "finished", share=0.5)
    async with opened() as shown:
        await shown.press("e")
        with RunFolder(path).lock.hold():
            await shown.press("ctrl+r")
            assert "is held by" in shown.notes[-1] and isinstance(shown.app.screen, SettingsScreen)


async def test_the_settings_of_a_run_go_into_a_new_form_without_seed_and_name() -> None:
    make_all()
    async with opened() as shown:
        await shown.press("n")
        old: Any = shown.app.screen
        await shown.press("escape")
        await choose(shown, "sgd-momentum")
        await shown.press("u")
        screen: Any = shown.app.screen
        assert isinstance(screen, SettingsScreen) and screen is not old and "New run" in shown.text
        settings = screen.form.settings()
        assert (settings.optimizer, settings.momentum, settings.epochs) == ("sgd", 0.9, 10)
        assert settings.seed is None and settings.name is None
        await shown.press("f4")
        await shown.press("n")
        assert shown.app.screen is screen


async def test_a_run_is_deleted_after_a_yes_and_only_then() -> None:
    make_all()
    async with opened() as shown:
        await choose(shown, "bad-rate")
        for keys in (["d", "escape"], ["d", "k"], ["d", "enter"], ["d", "d", "escape"]):
            await shown.press(*keys)
            assert Path("runs/bad-rate").is_dir(), keys
        await shown.press("d")
        question: Any = shown.app.screen
        assert isinstance(question, Ask) and "best.pt 5.1 MB" in shown.text
        await shown.press("y")
        await until(shown, lambda: "bad-rate" not in names(shown))
        assert not Path("runs/bad-rate").exists() and len(os.listdir("runs")) == 6


async def test_a_link_is_not_deleted_nor_what_it_leads_to() -> None:
    kept = make("it", "finished")
    elsewhere = Path("elsewhere")
    kept.rename(elsewhere)
    Path("runs/link").symlink_to(elsewhere.absolute())
    async with opened() as shown:
        await shown.press("d", "y")
        assert "link is not deleted: it is a link, not a folder." in shown.notes[-1]
    assert (elsewhere / "events.jsonl").is_file() and Path("runs/link").is_symlink()


async def test_the_path_is_shown_and_copied() -> None:
    path = make("it", "finished")
    async with opened() as shown:
        await shown.press("p")
        assert shown.app.clipboard == str(path.absolute()) and str(path.absolute()) in shown.notes[-1]


async def test_help_and_palette_hold_every_key_of_the_list() -> None:
    make_all()
    async with opened() as shown:
        keys = [b for b in bindings_of(shown.app.screen) if b.tooltip]
        titles = {command.title for command in shown.app.get_system_commands(shown.app.screen)}
        assert {b.description for b in keys if b.action and "palette" not in b.action} <= titles
        await shown.press("question_mark")
        help_screen: Any = shown.app.screen
        assert isinstance(help_screen, Help) and len(help_screen._rows) == len(keys)


@pytest.mark.parametrize("compared", [None, ["sgd-momentum", "bad-rate"]], ids=["list", "comparison"])
async def test_every_key_that_is_shown_does_something(compared: list[str] | None) -> None:
    make_all()
    folders = [RunFolder(Path("runs") / name) for name in compared] if compared else None
    async with opened(compared=folders) as shown:
        first: Any = shown.app.screen
        if compared:
            await until(shown, lambda: first.chart.lines is not None)
        for binding in bindings_of(first):
            if not binding.show or binding.action in ("command_palette", "app.quit", "leave", "path"):
                continue
            shown.app.clear_notifications()
            before = (shown.text, shown.app.screen)
            await shown.press(binding.key.split(",")[0])
            assert shown.notes or (shown.text, shown.app.screen) != before, binding.key
            if binding.action == "filter":
                await shown.press("escape")
            while shown.app.screen is not first:
                await shown.press("escape")


# --- foreign text --------------------------------------------------------------------------------------------------


async def test_no_text_of_a_run_acts_on_the_list_or_the_comparison() -> None:
    for i, text in enumerate([*HOSTILE, "[@click=app.quit]go[/]", "\x1b]0;t\x07"]):
        printable = "".join(ch for ch in text if ch not in "/\0" and unicodedata.category(ch) != "Cs")[:40]
        path = Path("runs") / f"{printable}{i}"
        path.mkdir(parents=True)
        lines = [to_json(event) for event in told_by(text)]
        (path / "events.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    async with opened((200, 60)) as shown:
        for _ in range(len(names(shown))):
            await shown.press("down")
            assert hidden(shown.text, allowed="\n") == set()
        await shown.press(*["home", *["space"] * 8, "c"])
        screen: Any = shown.app.screen
        await until(shown, lambda: screen.chart.lines is not None)
        assert hidden(shown.text, allowed="\n") == set()
        await shown.press("escape", "escape", "slash")
        shown.app.screen.query_one("#words", Input).value = "lr<[red]x[/]\u202e"
        await shown.settle()
        note = str(shown.app.screen.query_one("#note").render())
        assert "[red]x" in note and hidden(note) == set()


@pytest.mark.parametrize("width", [10, 17, 60])
def test_wrapped_lines_keep_every_word_and_never_are_too_long(width: int) -> None:
    text = "a line of words and oneverylongwordthatfitsnowhereatall " * 3
    lines = wrap(text.strip(), width)
    assert max(map(len, lines)) <= width
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
