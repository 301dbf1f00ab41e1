"""The screen that configures a run: the settings form, and beside it what the run will be."""

import os
from pathlib import Path

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Label, Select, Static

from tui_trainer.errors import SettingsError
from tui_trainer.outlook import run
from tui_trainer.run.folder import RunFolder
from tui_trainer.settings.schema import CONFIG_NAME, FIELDS, PRESETS, Settings, choices_of
from tui_trainer.settings.sources import Resolved, preset, read_toml, resolve
from tui_trainer.settings.writing import as_text, to_toml
from tui_trainer.text import clean
from tui_trainer.ui.screens.after_refresh import after_refresh, call_if_there
from tui_trainer.ui.screens.confirm_code import admit
from tui_trainer.ui.screens.data import DataScreen
from tui_trainer.ui.screens.dialogs import AskPath, Help
from tui_trainer.ui.screens.model import ModelScreen
from tui_trainer.ui.screens.runs import RunsScreen
from tui_trainer.ui.widgets.keys import KeyLine, too_small
from tui_trainer.ui.widgets.panel import MUTED
from tui_trainer.ui.widgets.rate_curve import RateCurve
from tui_trainer.ui.widgets.setting_field import Field
from tui_trainer.ui.widgets.settings_form import SettingsForm


class SettingsScreen(Screen[None]):
    """Configure a run, see what it will be, start it."""

    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (60, "-narrow"), (110, "-normal")]
    VERTICAL_BREAKPOINTS = [(0, "-flat"), (15, "-tall")]
    AUTO_FOCUS = "#field-dataset Select"

    BINDINGS = [
        Binding("ctrl+r", "start", "Run", tooltip="Start training with these settings.", id="start", priority=True),
        Binding("f2", "all_settings", "All settings", tooltip="Show every setting, or the ten that matter.", id="all"),
        Binding("f6", "look('data')", "Data", tooltip="Look at the data: counts, classes, images.", id="data"),
        Binding("f7", "look('model')", "Model", tooltip="Look at the model: layers, memory, speed.", id="model"),
        Binding("f1", "help", "Help", tooltip="All keys of this screen.", id="help"),
        Binding("f3", "copy", "Copy", tooltip="Copy the command line of this run to the clipboard.", id="copy"),
        Binding("f4", "runs", "Runs", tooltip="The runs that there are; this form stays as it is.", id="runs"),
        Binding("ctrl+s", "save", "Save", tooltip="Save these settings as a TOML file.", id="save"),
        Binding("ctrl+o", "open", "Open", tooltip="Load settings from a TOML file, a run's run.toml too.", id="open"),
        Binding("ctrl+q", "app.quit", "Quit", tooltip="Leave without training.", id="quit"),
        Binding("tab", "app.focus_next", "Next field", tooltip="Go to the next field; enter does too.", show=False),
        Binding("down", "app.focus_next", "Down", show=False),
        Binding("up", "app.focus_previous", "Up", show=False),
        Binding("escape", "back", "Back", tooltip="Back to the runs, when you came from there.", show=False),
    ]

    class Runs(Message):
        """The user wants to see the runs."""

    class CarryOn(Message):
        """The user wants a run to go on with these values as typed, by name."""

        def __init__(self, folder: RunFolder, typed: dict[str, str]) -> None:
            super().__init__()
            self.folder, self.typed = folder, typed

    class Start(Message):
        """The user wants this run."""

        def __init__(self, settings: Settings, origins: dict[str, str]) -> None:
            """`origins` say where each value came from: typed here, or from a file."""
            super().__init__()
            self.settings, self.origins = settings, origins

    def __init__(self, resolved: Resolved, preset_name: str | None = None, *, carries: RunFolder | None = None) -> None:
        """`carries` is the run that is to go on with the settings of the form; else a new one will be started."""
        super().__init__()
        self.form = SettingsForm(resolved, carries)
        self._carries = carries
        if carries:
            self.AUTO_FOCUS = "#field-lr Input"  # type: ignore[misc]  # the first that can be changed
        self._preset = preset_name
        self._all = False
        self._focused: Field | None = None
        self._group: Widget | None = None
        self._will_judge = False

    def compose(self) -> ComposeResult:
        yield too_small()
        with Horizontal(id="top"):
            title = f"Carry on {clean(self._carries.path.name, 80)}" if self._carries else "New run"
            yield Label(Content(title), id="title")
            yield Label("preset ", id="preset-label")
            yield Select(
                [(n, n) for n in PRESETS], prompt="none", value=self._preset or Select.NULL, id="preset", compact=True
            )
        with Horizontal(id="body"):
            yield self.form
            with Vertical(id="side"):
                with Vertical(classes="group") as box:
                    box.border_title = "this run"
                    yield Static(id="outlook")
                    yield Static(id="same")
                with VerticalScroll(classes="group", id="about", can_focus=False):
                    yield Static(id="help-text")
                yield RateCurve(id="curve")
        yield KeyLine()

    def on_mount(self) -> None:
        if self._carries:
            self.add_class("-carries")
        self._judge()

    def _judge(self) -> list[str]:
        """Check the form, and show what the run will be or what is in its way."""
        self._will_judge = False
        problems = self.form.judge()
        self._show_outlook(None if problems else self.form.settings(), problems)
        self._show_help()
        return problems

    @on(Field.Changed)
    def changed(self) -> None:
        """Judge once for all fields that change together: at the start every one of them says that it has a value."""
        if not self._will_judge:
            self._will_judge = True
            self.call_later(call_if_there, self, self._judge)

    @on(Select.Changed, "#preset")
    def preset_chosen(self, event: Select.Changed) -> None:
        if event.value != Select.NULL and event.value != self._preset:
            self._preset = str(event.value)
            self.form.fill(preset(self._preset).values)

    @on(Field.PlaceWanted)
    def place_wanted(self, message: Field.PlaceWanted) -> None:
        """Have a place of the user's own typed in."""
        field = message.field
        self.app.push_screen(AskPath(field.place_question, field.place), field.take_place)

    # --- showing ---

    def _show_outlook(self, settings: Settings | None, problems: list[str]) -> None:
        panel, same = self.query_one("#outlook", Static), self.query_one("#same", Static)
        if settings is None:
            lines = [Content.styled(clean(problem, 300), "$text-error") for problem in problems[:6]]
            panel.update(Content("\n").join(lines))
            same.update("")
            return
        future = run.describe_run(settings)
        self.query_one(RateCurve).draw(settings, future.steps_per_epoch)
        lines = [Content(line) for line in (future.short() if self.has_class("-narrow") else future.lines())]
        panel.update(Content("\n").join(lines))
        words = self.form.command()
        same.update(Content.assemble(("\nthe same from a script (f3 copies)\n", MUTED), (words, "$primary")))

    def _show_help(self) -> None:
        field = self._focused
        if field is None:
            return
        info = FIELDS[field.setting]
        box = self.query_one("#about")
        box.border_title = Content(str(info.title).lower())
        words = choices_of(field.setting)
        parts: list[tuple[str, str]] = [(str(info.description), "")]
        if field.problem:
            parts.insert(0, (f"{clean(field.problem, 300)}\n", "bold $text-error"))
        if field.fixed:
            why = f"\nCannot change when a run is carried on: {field.fixed}."
            self.query_one("#help-text", Static).update(Content.assemble(*parts, (why, "$text-warning")))
            return
        if words:
            parts.append((f"\n{' · '.join(words)}", MUTED))
        was = f"was {field.start_text or 'none'} · " if self._carries else ""
        parts.append((f"\n{was}default {as_text(info.default) or 'none'}", MUTED))
        self.query_one("#help-text", Static).update(Content.assemble(*parts))

    @on(Field.Entered)
    def entered(self, message: Field.Entered) -> None:
        self._focused = message.field
        self._show_help()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Light up the group of what has the focus. (`:focus-within` would style all of it at every key.)"""
        boxes = (box for box in event.widget.ancestors if isinstance(box, Vertical) and box.has_class("group"))
        group = next(boxes, None)
        if group is not self._group:
            for box, here in ((self._group, False), (group, True)):
                if box is not None:
                    box.set_class(here, "-here")
            self._group = group

    # --- keys ---

    def action_start(self) -> None:
        if problems := self._judge():
            wrong = next(field for field in self.form.fields.values() if field.problem)
            if wrong.has_class("-hidden"):
                self.action_all_settings()
            wrong.entry.focus()
            self.say(problems[0], "error")
            return
        if self._carries is None:
            self.post_message(self.Start(self.form.settings(), self.form.origins()))
        else:
            self.post_message(self.CarryOn(self._carries, self.form.typed))

    def action_all_settings(self) -> None:
        self._all = not self._all
        self.form.show(self._all)
        if self._focused and self._focused.has_class("-hidden"):
            self.form.fields["dataset"].entry.focus()
        self.query_one(KeyLine).refresh()

    def label_of(self, binding: Binding) -> str:
        if binding.action == "all_settings" and self._all:
            return "Simple settings"
        if binding.action == "start" and self._carries:
            return "Carry on"
        return binding.description

    def action_runs(self) -> None:
        self.post_message(self.Runs())

    def action_back(self) -> None:
        if any(isinstance(screen, RunsScreen) for screen in self.app.screen_stack):
            self.post_message(self.Runs())

    def action_copy(self) -> None:
        try:
            words = self.form.command()
        except SettingsError:
            self.say("There is no command line yet: mend the settings in red first.", "warning")
            return
        self.app.copy_to_clipboard(words)
        self.say("The command line is on the clipboard, if this terminal lets programs copy.")

    def action_save(self) -> None:
        if problems := self._judge():
            self.say(f"Not saved: {problems[0]}", "error")
            return

        def save(path: str | None) -> None:
            if path is None:
                return
            try:
                Path(os.path.expanduser(path)).write_text(to_toml(self.form.settings()), encoding="utf-8")
            except (OSError, ValueError) as error:
                self.say(f"{path} was not saved: {getattr(error, 'strerror', None) or error}", "error")
            else:
                self.say(f"Saved as {path}. A {CONFIG_NAME} is read from the folder tui-trainer is started in.")

        self.app.push_screen(AskPath("Save these settings as", CONFIG_NAME), save)

    def action_open(self) -> None:
        def load(path: str | None) -> None:
            if path is None:
                return
            try:
                source = read_toml(Path(os.path.expanduser(path)))
                resolve([source])
            except SettingsError as error:
                more = f" (and {len(error.problems) - 1} more)" if len(error.problems) > 1 else ""
                self.say(error.problems[0] + more, "error")
                return
            self.form.fill(source.values, path)
            kept = sum(bool(self.form.fields[str(name)].fixed) for name in source.values)
            more = f"; {kept} of them cannot change any more" if kept else ""
            self.say(f"Loaded {len(source.values)} settings from {path}{more}.")

        self.app.push_screen(AskPath("Load settings from", CONFIG_NAME), load)

    def action_look(self, at: str) -> None:
        if problems := self._judge():
            self.say(f"Mend the settings in red first. {problems[0]}", "error")
        else:
            screen = {"data": DataScreen, "model": ModelScreen}[at]
            form = self.form
            admit(self.app, form.settings(), form.origins(), lambda settings, _: self.app.push_screen(screen(settings)))

    def action_help(self) -> None:
        self.app.push_screen(Help(self))

    def say(self, text: str, severity: str = "information") -> None:
        """A passing note on the screen."""
        self.notify(clean(text, 300), severity=severity, markup=False, timeout=5)  # type: ignore[arg-type]

    @on(events.ScreenResume)
    @on(events.Resize)
    def look_again(self) -> None:
        """Back from a run what is on this machine may have changed, and on another size other words fit."""
        if self.form.fields:
            after_refresh(self, self._judge)
