"""The settings form: a field for every setting of the schema, and beside it what the run will be."""

import os
import shlex
from pathlib import Path
from typing import Any

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input, Label, Select, Static

from tui_trainer.errors import SettingsError
from tui_trainer.outlook import run
from tui_trainer.own import admitted
from tui_trainer.run import waiting
from tui_trainer.run.folder import RunFolder
from tui_trainer.settings.schedule import lr_factor
from tui_trainer.settings.schema import (
    CONFIG_NAME,
    FIELDS,
    GROUPS,
    OWN,
    PRESETS,
    Settings,
    as_text,
    choices_of,
    contradictions,
    flags,
    group_of,
    is_simple,
    is_switch,
    to_toml,
    why_fixed,
)
from tui_trainer.settings.sources import Resolved, Source, check, preset, read_toml, resolve
from tui_trainer.text import clean
from tui_trainer.ui.screens.after_refresh import after_refresh, call_if_there
from tui_trainer.ui.screens.confirm_code import admit
from tui_trainer.ui.screens.data import DataScreen
from tui_trainer.ui.screens.dialogs import AskPath, Help
from tui_trainer.ui.screens.model import ModelScreen
from tui_trainer.ui.screens.runs import RunsScreen
from tui_trainer.ui.widgets.charts import Curve, plot
from tui_trainer.ui.widgets.keys import KeyLine, too_small
from tui_trainer.ui.widgets.panel import MUTED

OTHER = "\0"
"""The choice of something that is not on the list."""


def command_line(settings: Settings) -> str:
    """The same run from a script."""
    return shlex.join(["tui-trainer", "--no-ui", *flags(settings)])


def _has_simple(group: str) -> bool:
    """True when some of its settings are shown from the start."""
    return any(is_simple(name) for name in FIELDS if group_of(name) == group)


def _classes(kind: str, shown: bool) -> str:
    """The classes of a box from the start: to set one afterwards styles all that is in it once more."""
    return kind if shown else f"{kind} -hidden"


class Fixed(Static, can_focus=True):
    """A value that cannot be changed; it can be gone to, to read why."""

    def __init__(self, value: str) -> None:
        super().__init__(Content.styled(clean(value, 200) or "none", MUTED), classes="fixed")
        self.value = value


class Field(Horizontal):
    """One setting: its name, a widget for its value, and whether that value can be used."""

    class Changed(Message):
        """The value was changed."""

        def __init__(self, field: "Field") -> None:
            super().__init__()
            self.field = field

    class Entered(Message):
        """The field has the focus now."""

        def __init__(self, field: "Field") -> None:
            super().__init__()
            self.field = field

    def __init__(self, setting: str, value: object, fixed: str = "") -> None:
        """`fixed` says why it cannot be changed, when it cannot."""
        super().__init__(classes=_classes("field", is_simple(setting)), id=f"field-{setting}")
        self.setting, self.fixed = setting, fixed
        self.start_text = self._before = as_text(value)
        self.problem: str | None = None
        self.on_the_way = False
        """True when a run is carried on: what is changed then is what is not as it was."""
        self.entry = self._make_entry()
        """The widget that holds the value."""

    def _make_entry(self) -> "Input | Select[str] | Fixed":
        if self.fixed:
            return Fixed(self.start_text)
        if self._words:
            return Select(self._options(self.start_text), value=self.start_text, allow_blank=False, compact=True)
        return Input(self.start_text, placeholder="drawn" if self.setting == "seed" else "", compact=True)

    @property
    def _words(self) -> tuple[str, ...]:
        return ("off", "on") if is_switch(self.setting) else choices_of(self.setting)

    def _options(self, text: str) -> list[tuple[Content, str]]:
        """What can be chosen: words, `text` when it is none of them, and a place of one's own to be typed."""
        words = [*self._words, *([text] if text not in self._words else [])]
        more = [(Content("of your own …"), OTHER)] if self.setting in OWN else []
        return [(Content(clean(word, 60)), word) for word in words] + more

    def compose(self) -> ComposeResult:
        yield Label(Content(str(FIELDS[self.setting].title)))
        yield self.entry

    @property
    def text(self) -> str:
        """The value as one would type it."""
        return str(self.entry.value)

    def set_text(self, text: str) -> None:
        """Change the value from outside: a preset, a file."""
        if isinstance(self.entry, Select) and text not in self._words:
            with self.prevent(Select.Changed):
                self.entry.set_options(self._options(text))
        if not self.fixed:
            self.entry.value = self._before = text

    def ask_for_place(self) -> None:
        """Have a place of the user's own typed in; without one the value stays what it was."""
        forms = "folder:PATH, table:FILE or FILE.py:NAME" if self.setting == "dataset" else "FILE.py:NAME"
        before = self._before if self._before not in self._words else ""

        def answer(text: str | None) -> None:
            self.set_text(text or self._before)

        self.app.push_screen(AskPath(f"{FIELDS[self.setting].title}: {forms}", before), answer)

    def judge(self) -> Any:
        """The value in its own type; `problem` says what is wrong with it."""
        value, self.problem = check(self.setting, self.text, text=True)
        self.set_class(self.problem is not None, "-wrong")
        usual = self.start_text if self.on_the_way else as_text(FIELDS[self.setting].default)
        self.set_class(self.text != usual, "-changed")
        return value

    @on(Input.Changed)
    @on(Select.Changed)
    def changed(self, event: Message) -> None:
        event.stop()
        if self.text == OTHER:
            self.ask_for_place()
            return
        self._before = self.text
        self.post_message(self.Changed(self))

    @on(Input.Submitted)
    def submitted(self, event: Message) -> None:
        event.stop()
        self.screen.focus_next()

    def on_descendant_focus(self) -> None:
        self.post_message(self.Entered(self))


class RateCurve(Static):
    """The learning rate over the run to come."""

    def draw(self, settings: Settings, steps_per_epoch: int) -> None:
        """Show the curve of these settings; one is drawn only where there is room for it."""
        self._shown = (settings, steps_per_epoch)
        width, height = self.content_size
        self.border_title = Content("learning rate over the run")
        note = "falls when the monitored value stops improving" if settings.scheduler == "plateau" else ""
        self.border_subtitle = Content(note)
        if width < 20 or height < 5:
            return
        updates = max(1, steps_per_epoch // settings.grad_accum_steps)
        places = [i * settings.epochs / width for i in range(width + 1)]
        last = settings.epochs * updates - 1
        rates = [settings.lr * lr_factor(settings, min(round(x * updates), last), updates) for x in places]
        each = max(1, round(settings.epochs * 5 / width))
        ticks = {float(n): str(n) for n in range(0, settings.epochs + 1, each)}
        curve = plot([Curve(places, rates, 1)], width, height, ticks=ticks, right=settings.epochs, bottom=0.0)
        self.update(curve, layout=False)

    def on_resize(self) -> None:
        if hasattr(self, "_shown"):
            self.draw(*self._shown)


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
        self._given = resolved.settings
        self._places = {n: (as_text(getattr(resolved.settings, n)), o) for n, o in resolved.origins.items()}
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
            with VerticalScroll(id="fields", can_focus=False):
                for group in GROUPS:
                    with Vertical(classes=_classes("group", _has_simple(group)), id=f"group-{group}") as box:
                        box.border_title = group
                        for name in FIELDS:
                            if group_of(name) == group:
                                fixed = why_fixed(name) if self._carries else ""
                                yield Field(name, getattr(self._given, name), fixed)
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
        self._fields = {field.setting: field for field in self.query(Field)}
        if self._carries:
            self.add_class("-carries")
            for field in self._fields.values():
                field.on_the_way = True
        self._judge()

    # --- values ---

    def settings(self) -> Settings:
        """The settings as the form has them; those nobody touched keep counting as not named.

        Raises:
            SettingsError: every problem on the form.
        """
        named = self._given.model_fields_set
        texts = {n: f.text for n, f in self._fields.items() if n in named or f.text != as_text(FIELDS[n].default)}
        return resolve([Source("the form", texts, text=True)]).settings

    @property
    def typed(self) -> dict[str, str]:
        """The values that are not what they were, as typed."""
        return {n: f.text for n, f in self._fields.items() if f.text != f.start_text}

    def command(self) -> str:
        """The same from a script.

        Raises:
            SettingsError: every problem on the form.
        """
        if self._carries is None:
            return command_line(self.settings())
        words = flags(self.settings(), was=self._given)
        return shlex.join(["tui-trainer", "resume", clean(self._carries.path.name), "--no-ui", *words])

    def _judge(self) -> list[str]:
        """Check all fields, alone and together, and show what the run will be or what is in its way."""
        self._will_judge = False
        values = {name: field.judge() for name, field in self._fields.items()}
        problems = [f"{FIELDS[n].title}: {f.problem}" for n, f in self._fields.items() if f.problem]
        wrong = {n for n, f in self._fields.items() if f.problem}
        fine = {n: v for n, v in values.items() if n not in wrong}
        defaults = {n: info.default for n, info in FIELDS.items()}
        probe = Settings.model_construct(**defaults | fine)
        for names, sentence in contradictions(probe) + waiting.problems(probe):
            if not wrong & set(names):
                problems.append(sentence)
                self._fields[names[0]].problem = sentence
                self._fields[names[0]].add_class("-wrong")
        self._show_outlook(None if problems else self.settings(), problems)
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
            self.fill(preset(self._preset).values)

    def fill(self, values: Any, place: str = admitted.FORM) -> None:
        """Put values into their fields; `place` is where they come from."""
        for name, value in values.items():
            self._fields[name].set_text(as_text(value))
            self._places[name] = (as_text(value), place)

    def origins(self) -> dict[str, str]:
        """Where each value came from: what was typed here is the user's own word, what a file says is not."""
        return {
            name: place if field.text == text else admitted.FORM
            for name, field in self._fields.items()
            for text, place in [self._places.get(name, (None, ""))]
        }

    # --- showing ---

    def _show_fields(self) -> None:
        for name, field in self._fields.items():
            field.set_class(not self._all and not is_simple(name), "-hidden")
        for group in GROUPS:
            self.query_one(f"#group-{group}").set_class(not self._all and not _has_simple(group), "-hidden")

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
        words = self.command()
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
            wrong = next(field for field in self._fields.values() if field.problem)
            if wrong.has_class("-hidden"):
                self.action_all_settings()
            wrong.entry.focus()
            self.say(problems[0], "error")
            return
        if self._carries is None:
            self.post_message(self.Start(self.settings(), self.origins()))
        else:
            self.post_message(self.CarryOn(self._carries, self.typed))

    def action_all_settings(self) -> None:
        self._all = not self._all
        self._show_fields()
        if self._focused and self._focused.has_class("-hidden"):
            self._fields["dataset"].entry.focus()
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
            words = self.command()
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
                Path(os.path.expanduser(path)).write_text(to_toml(self.settings()), encoding="utf-8")
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
            self.fill(source.values, path)
            kept = sum(bool(self._fields[str(name)].fixed) for name in source.values)
            more = f"; {kept} of them cannot change any more" if kept else ""
            self.say(f"Loaded {len(source.values)} settings from {path}{more}.")

        self.app.push_screen(AskPath("Load settings from", CONFIG_NAME), load)

    def action_look(self, at: str) -> None:
        if problems := self._judge():
            self.say(f"Mend the settings in red first. {problems[0]}", "error")
        else:
            screen = {"data": DataScreen, "model": ModelScreen}[at]
            admit(self.app, self.settings(), self.origins(), lambda settings, _: self.app.push_screen(screen(settings)))

    def action_help(self) -> None:
        self.app.push_screen(Help(self))

    def say(self, text: str, severity: str = "information") -> None:
        """A passing note on the screen."""
        self.notify(clean(text, 300), severity=severity, markup=False, timeout=5)  # type: ignore[arg-type]

    @on(events.ScreenResume)
    @on(events.Resize)
    def look_again(self) -> None:
        """Back from a run what is on this machine may have changed, and on another size other words fit."""
        if hasattr(self, "_fields"):
            after_refresh(self, self._judge)
