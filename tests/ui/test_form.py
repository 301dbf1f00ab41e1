"""The settings form: the whole schema by keyboard, judged as one types, and the run it describes."""

import asyncio
from pathlib import Path

import pytest
from textual.widgets import Input, Select

from tests.ui.conftest import Show, Shown
from tui_trainer.own.admitted import FORM
from tui_trainer.run.folder import RunFolder
from tui_trainer.settings.schema import FIELDS, PRESETS, Settings
from tui_trainer.settings.sources import Source, read_toml, resolve
from tui_trainer.settings.writing import as_text, flags
from tui_trainer.ui.screens.run.screen import RunScreen
from tui_trainer.ui.screens.settings import SettingsScreen
from tui_trainer.ui.widgets.setting_field import OTHER, Field
from tui_trainer.ui.widgets.settings_form import SettingsForm

_KEYS = {"-": "minus", ".": "full_stop"}


def form(shown: Shown) -> SettingsForm:
    screen = shown.app.screen
    assert isinstance(screen, SettingsScreen)
    return screen.form


async def type_into(shown: Shown, name: str, text: str) -> None:
    field = form(shown).fields[name]
    field.entry.focus()
    await shown.settle()
    field.set_text("")
    await shown.press(*(_KEYS.get(letter, letter) for letter in text))


async def test_every_setting_has_a_field_and_untouched_they_mean_the_defaults_and_name_nothing(show_form: Show) -> None:
    async with show_form() as shown:
        fields = {field.setting for field in shown.app.screen.query(Field)}
        assert fields == set(FIELDS)
        settings = form(shown).settings()
        assert settings == Settings()
        assert "dataset" not in settings.model_fields_set


async def test_a_data_set_that_was_named_stays_named(show_form: Show) -> None:
    named = resolve([Source("flag", {"dataset": "fashion-mnist"}, text=True)])
    async with show_form(resolved=named) as shown:
        assert "dataset" in form(shown).settings().model_fields_set


async def test_ten_settings_are_open_and_f2_opens_the_rest_and_each_is_reached_by_keyboard(show_form: Show) -> None:
    async with show_form() as shown:
        visible = [f for f in shown.app.screen.query(Field) if not f.has_class("-hidden")]
        assert len(visible) == 10
        await shown.press("f2")
        assert not any(f.has_class("-hidden") for f in shown.app.screen.query(Field))
        reached, lit = set(), set()
        for _ in range(2 * len(FIELDS)):  # the presets and buttons are reached as well
            if reached == set(FIELDS):
                break
            field = next((a for a in shown.app.focused.ancestors if isinstance(a, Field)), None)
            if field is not None:
                reached.add(field.setting)
                assert [group.id for group in shown.app.screen.query(".group.-here")] == [field.parent.id]
                lit.add(field.parent.id)
            await shown.pilot.press("tab")
        assert reached == set(FIELDS) and len(lit) > 1


async def test_what_the_run_will_be_follows_what_is_typed(show_form: Show) -> None:
    async with show_form() as shown:
        assert "844 steps an epoch · 4,220 in all" in shown.text
        await type_into(shown, "batch_size", "100")
        await type_into(shown, "epochs", "10")
        assert "540 steps an epoch · 5,400 in all" in shown.text
        assert "tui-trainer --no-ui --batch-size 100 --epochs 10" in " ".join(shown.text.split())


async def test_a_wrong_value_says_what_is_wrong_and_is_not_run(show_form: Show) -> None:
    async with show_form() as shown:
        await type_into(shown, "lr", "-1")
        assert "must be above 0" in shown.text
        await shown.press("ctrl+r")
        assert form(shown).fields["lr"].entry.has_focus
        assert "must be above 0" in shown.notes[-1]


async def test_a_run_to_wait_for_that_is_not_there_is_a_problem_of_its_field(
    show_form: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder.create(Settings(name="ahead"))
    folder.journal.touch()
    async with show_form() as shown:
        await shown.press("f2")
        form(shown).fields["after"].set_text("haed")
        await shown.settle()
        problem = form(shown).fields["after"].problem
        assert problem == "after: there is no run 'haed' in runs. Did you mean ahead?"
        assert "there is no run 'haed'" in shown.text
        await shown.press("ctrl+r")
        assert form(shown).fields["after"].entry.has_focus
        form(shown).fields["after"].set_text("ahead")
        await shown.settle()
        assert form(shown).fields["after"].problem is None
        monkeypatch.setattr(SettingsScreen, "_judge", lambda _: folder.journal.unlink(missing_ok=True) or [])
        await shown.press("ctrl+r")  # it has gone just then
        assert "there is no run 'ahead'" in shown.notes[-1] and isinstance(shown.app.screen, SettingsScreen)


async def test_settings_that_contradict_each_other_are_named(show_form: Show) -> None:
    async with show_form() as shown:
        await shown.press("f2")
        await type_into(shown, "momentum", "0.9")
        assert "momentum" in shown.text and "sgd or rmsprop" in " ".join(shown.text.split())


@pytest.mark.parametrize("name", PRESETS)
async def test_a_preset_fills_the_form(name: str, show_form: Show) -> None:
    async with show_form() as shown:
        shown.app.screen.query_one("#preset", Select).value = name
        await shown.settle()
        wanted = Settings.model_validate(PRESETS[name])
        assert form(shown).settings().model_dump() == wanted.model_dump()


async def test_settings_are_copied_as_a_command_line_and_saved_and_opened(show_form: Show, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    async with show_form() as shown:
        await type_into(shown, "epochs", "7")
        await shown.press("f3")
        assert shown.app.clipboard == "tui-trainer --no-ui --epochs 7"
        await shown.press("ctrl+s")
        shown.app.screen.query_one(Input).value = str(path)
        await shown.press("enter")
        assert resolve([read_toml(path)]).settings.epochs == 7
    async with show_form() as shown:
        await shown.press("ctrl+o")
        shown.app.screen.query_one(Input).value = str(path)
        await shown.press("enter")
        assert form(shown).settings().epochs == 7


async def test_a_file_that_cannot_be_opened_says_why(show_form: Show, tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("epochs = 'many'\nlerning_rate = 1\n")
    async with show_form() as shown:
        for path, words in ((bad, "must be a whole number"), (tmp_path / "none.toml", "no such file")):
            await shown.press("ctrl+o")
            shown.app.screen.query_one(Input).value = str(path)
            await shown.press("enter")
            assert words in shown.notes[-1]


async def test_the_help_of_the_focused_field_is_beside_it(show_form: Show) -> None:
    async with show_form() as shown:
        for name in ("optimizer", "lr", "patience"):
            form(shown).fields[name].entry.focus()
            await shown.settle()
            assert str(FIELDS[name].description)[:40] in " ".join(shown.text.replace("│", " ").split())


async def test_run_starts_the_run_of_the_form(show_form: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Settings] = []
    async with show_form() as shown:
        monkeypatch.setattr(shown.app, "start_run", lambda settings, _: started.append(settings))
        await type_into(shown, "epochs", "3")
        await shown.press("ctrl+r")
        assert [s.epochs for s in started] == [3]
        assert not isinstance(shown.app.screen, RunScreen)


async def test_odd_input_is_shown_harmless(show_form: Show) -> None:
    async with show_form() as shown:
        await shown.press("f2")
        for name, text in (("epochs", "x" * 300), ("lr", "[red]1"), ("name", "../x"), ("seed", "1e400")):
            field = form(shown).fields[name]
            before = field.text
            field.set_text(text)
            await shown.settle()
            assert field.problem is not None, name
            field.set_text(before)
            await shown.settle()
            assert field.problem is None, name


def test_as_text_and_flags_agree() -> None:
    settings = Settings(lr=0.003, epochs=10, deterministic=True, optimizer="sgd", momentum=0.9)
    words = flags(settings)
    assert words == ["--optimizer", "sgd", "--lr", "0.003", "--momentum", "0.9", "--epochs", "10", "--deterministic"]
    assert as_text(1e-5) == "1e-05" and as_text(0.1 + 0.2) == "0.30000000000000004"


async def test_code_of_ones_own_is_chosen_by_typing_where_it_is(show_form: Show) -> None:
    async with show_form() as shown:
        field = form(shown).fields["model"]
        field.entry.value = OTHER
        await shown.settle()
        assert "Model: FILE.py:NAME" in shown.text
        await shown.pilot.press(*"net.py:Net", "enter")
        await shown.settle()
        assert (field.text, field.problem) == ("net.py:Net", None)
        assert "--model net.py:Net" in shown.text and form(shown).origins()["model"] == FORM
        field.entry.value = OTHER
        await shown.settle()
        await shown.press("escape")
        assert field.text == "net.py:Net"  # called off, it is what it was


async def test_code_that_a_file_names_is_asked_for_before_the_run(
    show_form: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Settings] = []
    monkeypatch.setattr("tui_trainer.ui.app.TrainerApp.start_run", lambda _, settings, _code: started.append(settings))
    Path("net.py").write_text("def Net(): ...\n")
    async with show_form() as shown:
        form(shown).fill({"model": "net.py:Net"}, "my.toml")
        await shown.settle()
        await shown.press("ctrl+r")
        assert "my.toml names code that has not been run here before" in shown.text and not started
        await shown.press("b")
        assert not started
        await shown.press("ctrl+r")
        await shown.press("r")
        assert [settings.model for settings in started] == [f"{Path('net.py').resolve()}:Net"]


async def test_a_form_that_is_left_while_it_is_looked_at_again_is_no_fault(show_form: Show) -> None:
    async with show_form() as shown:
        for _ in range(5):
            second = SettingsScreen(resolve([]))
            await shown.app.push_screen(second)
            await shown.settle()
            second.look_again()
            second.changed()
            leaving = shown.app.pop_screen()
            for _ in range(20):  # the calls come at some moment of its way out
                second.look_again()
                await asyncio.sleep(0)
            await leaving
            await shown.settle()
        assert shown.app.screen is not second
