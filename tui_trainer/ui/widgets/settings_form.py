"""All fields of the settings form by group, and the settings that they give together."""

import shlex
from collections.abc import Mapping

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll

from tui_trainer.own import admitted
from tui_trainer.run import waiting
from tui_trainer.run.folder import RunFolder
from tui_trainer.settings.schema import FIELDS, GROUPS, Settings, contradictions, group_of, is_simple, why_fixed
from tui_trainer.settings.sources import Resolved, Source, resolve
from tui_trainer.settings.writing import as_text, flags
from tui_trainer.text import clean
from tui_trainer.ui.widgets.setting_field import Field


def command_line(settings: Settings) -> str:
    """The same run from a script."""
    return shlex.join(["tui-trainer", "--no-ui", *flags(settings)])


def _has_simple(group: str) -> bool:
    """True when some of its settings are shown from the start."""
    return any(is_simple(name) for name in FIELDS if group_of(name) == group)


class SettingsForm(VerticalScroll, can_focus=False):
    """A field for every setting of the schema, in a box for each group."""

    def __init__(self, resolved: Resolved, carries: RunFolder | None = None) -> None:
        """`carries` is the run that is to go on with these settings: then some of them are fixed."""
        super().__init__(id="fields")
        self._given = resolved.settings
        self._places = {n: (as_text(getattr(resolved.settings, n)), o) for n, o in resolved.origins.items()}
        self._carries = carries
        self.fields: dict[str, Field] = {}
        """The fields by the names of their settings; none before the form is mounted."""

    def compose(self) -> ComposeResult:
        for group in GROUPS:
            # The class is given from the start: to set it afterwards styles all that is in the box once more.
            classes = "group" if _has_simple(group) else "group -hidden"
            with Vertical(classes=classes, id=f"group-{group}") as box:
                box.border_title = group
                for name in FIELDS:
                    if group_of(name) == group:
                        yield self._make_field(name)

    def _make_field(self, name: str) -> Field:
        field = Field(name, getattr(self._given, name), why_fixed(name) if self._carries else "")
        field.on_the_way = self._carries is not None
        self.fields[name] = field
        return field

    def settings(self) -> Settings:
        """The settings as the form has them; those nobody touched keep counting as not named.

        Raises:
            SettingsError: every problem on the form.
        """
        named = self._given.model_fields_set
        texts = {n: f.text for n, f in self.fields.items() if n in named or f.text != as_text(FIELDS[n].default)}
        return resolve([Source("the form", texts, text=True)]).settings

    @property
    def typed(self) -> dict[str, str]:
        """The values that are not what they were, as typed."""
        return {n: f.text for n, f in self.fields.items() if f.text != f.start_text}

    def command(self) -> str:
        """The same from a script.

        Raises:
            SettingsError: every problem on the form.
        """
        if self._carries is None:
            return command_line(self.settings())
        words = flags(self.settings(), was=self._given)
        return shlex.join(["tui-trainer", "resume", clean(self._carries.path.name), "--no-ui", *words])

    def judge(self) -> list[str]:
        """Check all fields, alone and together; return a sentence for each problem."""
        values = {name: field.judge() for name, field in self.fields.items()}
        problems = [f"{FIELDS[n].title}: {f.problem}" for n, f in self.fields.items() if f.problem]
        wrong = {n for n, f in self.fields.items() if f.problem}
        fine = {n: v for n, v in values.items() if n not in wrong}
        defaults = {n: info.default for n, info in FIELDS.items()}
        probe = Settings.model_construct(**defaults | fine)
        for names, sentence in contradictions(probe) + waiting.problems(probe):
            if not wrong & set(names):
                problems.append(sentence)
                self.fields[names[0]].problem = sentence
                self.fields[names[0]].add_class("-wrong")
        return problems

    def fill(self, values: Mapping[str, object], place: str = admitted.FORM) -> None:
        """Put values into their fields; `place` is where they come from."""
        for name, value in values.items():
            self.fields[name].set_text(as_text(value))
            self._places[name] = (as_text(value), place)

    def origins(self) -> dict[str, str]:
        """Where each value came from: what was typed here is the user's own word, what a file says is not."""
        return {
            name: place if field.text == text else admitted.FORM
            for name, field in self.fields.items()
            for text, place in [self._places.get(name, (None, ""))]
        }

    def show(self, every: bool) -> None:
        """Show all settings, or only the simple ones."""
        for name, field in self.fields.items():
            field.set_class(not every and not is_simple(name), "-hidden")
        for group in GROUPS:
            self.query_one(f"#group-{group}").set_class(not every and not _has_simple(group), "-hidden")
