"""Where settings come from: files, the environment, presets, flags and the form, judged by the one schema.

All problems in all of them are told at once, each with its setting, what was given and what is allowed.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import TypeAdapter, ValidationError

from tui_trainer.errors import SettingsError
from tui_trainer.settings.fields import NAMES, no_such_part
from tui_trainer.settings.schema import (
    ENV_PREFIX,
    FIELDS,
    PRESETS,
    PROVENANCE,
    Settings,
    choices_of,
    contradictions,
    flag,
    is_duration,
    is_switch,
    nearest,
)
from tui_trainer.text import clean, did_you_mean

_CHECKS: dict[str, TypeAdapter[Any]] = {name: TypeAdapter(Annotated[f.annotation, f]) for name, f in FIELDS.items()}  # type: ignore[arg-type]


@dataclass(frozen=True)
class Source:
    """Values from one place, such as a file or the command line."""

    label: str
    """How a message names the place; `{}` stands for the setting's own name there."""
    values: Mapping[str, object]
    text: bool = False
    """True when every value is text as typed; False when a TOML parser has already told numbers from words."""

    def place(self, name: str) -> str:
        """Where the value of `name` was given: `--lr`, `TUI_TRAINER_LR`, `lr in tui-trainer.toml`."""
        if self.label == "flag":
            return flag(name)
        if self.label == "env":
            return ENV_PREFIX + name.upper()
        return f"{name} in {self.label}"


def check(name: str, value: object, *, text: bool) -> tuple[Any, str | None]:
    """A value for the setting `name` in its own type, and what is wrong with it or None.

    Text is read generously (`"64"` is a number), typed values strictly (`true` is not a number).
    """
    if text and isinstance(value, str):
        value = value.strip()
        optional = FIELDS[name].annotation
        if type(None) in get_args(optional) and (not value or (value.lower() == "none" and optional != str | None)):
            return None, None
        if is_switch(name) and value.lower() in ("on", "off"):
            value = "true" if value.lower() == "on" else "false"
    try:
        if text and isinstance(value, str):
            result = _CHECKS[name].validate_strings(value)
        else:
            result = _CHECKS[name].validate_python(value, strict=True)
    except ValidationError as error:
        return None, _sentence(name, value, error.errors()[0])
    except (ValueError, RecursionError):
        return None, f"must not be that long, found {_shown(value)}"
    if isinstance(result, str) and "\0" in result:
        return None, "must not hold a NUL character"
    if isinstance(result, str) and result.startswith("~") and os.path.expanduser(result) == result:
        return None, f"must name a home folder that exists, found {_shown(value)}"
    return result, None


def _sentence(name: str, value: object, error: Any) -> str:
    """One pydantic error as the rest of a sentence that began with the setting's name."""
    kind, context = error["type"], error.get("ctx", {})
    found = f"found {_shown(value)}"
    annotation = str(FIELDS[name].annotation)
    if "float" in annotation and _shown(value).strip("'").lower() == "nan":
        return f"must be a finite number, {found}"
    if kind == "literal_error":
        words = choices_of(name)
        hint = did_you_mean(value, words) if isinstance(value, str) else ""
        return f"must be one of {', '.join(words)}; {found}.{hint}"
    if kind == "string_pattern_mismatch" and name == "device":
        return f"must be auto, cpu, cuda, cuda:N, mps, xpu or xpu:N; {found}"
    if kind == "string_pattern_mismatch" and name == "when_free":
        return f"must be a size such as 10GiB or 800MB, or 0; {found}"
    if kind == "string_pattern_mismatch":
        return f"must be 1 to 64 letters, digits, dots, dashes or underscores, not starting with . or -; {found}"
    if kind == "string_type" and name in NAMES:
        return no_such_part(name, value)
    if kind == "value_error":
        return str(context["error"])
    limits = {
        "greater_than": "must be above {gt:g}",
        "greater_than_equal": "must be at least {ge:g}",
        "less_than": "must be below {lt:g}",
        "less_than_equal": "must be at most {le:g}",
        "string_too_short": "must not be empty",
        "string_too_long": "must have at most {max_length} characters",
        "finite_number": "must be a finite number",
    }
    if kind in limits:
        return f"{limits[kind].format(**context)}, {found}"
    wanted = "true or false" if is_switch(name) else "a text"
    if name == "when_free":
        wanted = 'a text such as "10GiB"'
    if "float" in annotation:
        wanted = "a time such as 90s, 15m or 2h" if is_duration(name) else "a number"
    elif "int" in annotation:
        wanted = "a whole number"
    return f"must be {wanted}, {found}"


def _shown(value: object) -> str:
    """A wrong value as its file would write it, short whatever it is."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "a table"
    try:
        return clean(repr(value), 60)
    except ValueError:  # an integer of more digits than Python writes out
        return "a number that is too long"


@dataclass(frozen=True)
class Resolved:
    """Settings made from several sources, and where each value came from."""

    settings: Settings
    origins: dict[str, str] = field(default_factory=dict)


def resolve(sources: list[Source]) -> Resolved:
    """The settings from all sources, later ones winning.

    Raises:
        SettingsError: every unknown name, wrong value and contradiction in all the sources together.
    """
    problems: list[str] = []
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    wrong: set[str] = set()
    for source in sources:
        for key, given in source.values.items():
            name = str(key)
            if name not in FIELDS:
                problems.append(f"{clean(source.place(name), 80)}: there is no such setting.{nearest(name)}")
                continue
            value, problem = check(name, given, text=source.text)
            if problem:
                problems.append(f"{name}: {problem} ({clean(source.place(name))})")
                wrong.add(name)
            else:
                values[name] = value
                origins[name] = source.place(name)
    probe = Settings.model_construct(**{name: f.default for name, f in FIELDS.items()} | values)
    for names, sentence in contradictions(probe):
        if not wrong & set(names):
            given_at = ", ".join(origins[n] for n in names if n in origins)
            problems.append(f"{sentence} ({clean(given_at)})" if given_at else sentence)
    if problems:
        raise SettingsError(problems)
    return Resolved(Settings.model_validate(values), origins)


def read_toml(path: Path) -> Source:
    """The settings in a TOML file; the table `provenance` of a run.toml is passed over.

    Raises:
        SettingsError: the file is missing, unreadable, or not TOML; the message names line and column.
    """
    name = clean(path)
    try:
        if not path.is_file():
            what = "is a folder, not a file" if path.is_dir() else "there is no such file"
            raise SettingsError([f"settings file {name}: {what}"])
        if path.stat().st_size > 1_000_000:
            raise SettingsError([f"settings file {name}: is too long (over 1 MB)"])
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "the path cannot be used"
        raise SettingsError([f"settings file {name}: {reason}"]) from None
    try:
        text = data.decode("utf-8-sig")
        table = tomllib.loads(text)
    except UnicodeDecodeError as error:
        read = error.object  # without the byte order mark
        line = read.count(b"\n", 0, error.start) + 1
        column = error.start - read.rfind(b"\n", 0, error.start)
        raise SettingsError([f"settings file {name}: not UTF-8 text at line {line}, column {column}"]) from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError([f"settings file {name}: not valid TOML: {clean(error)}"]) from None
    except RecursionError:
        raise SettingsError([f"settings file {name}: is nested too deep"]) from None
    except ValueError:
        raise SettingsError([f"settings file {name}: holds a number that is too long"]) from None
    table.pop(PROVENANCE, None)
    return Source(name, table)


def read_environment(environ: Mapping[str, str] = os.environ) -> Source:
    """The settings among the environment's `TUI_TRAINER_*` variables."""
    found = {k[len(ENV_PREFIX) :].lower(): v for k, v in environ.items() if k.startswith(ENV_PREFIX)}
    return Source("env", found, text=True)


def preset(name: str) -> Source:
    """The settings of a preset.

    Raises:
        SettingsError: there is no preset of that name.
    """
    if name not in PRESETS:
        hint = did_you_mean(name, PRESETS)
        raise SettingsError([f"--preset: must be one of {', '.join(PRESETS)}; found {clean(repr(name), 60)}.{hint}"])
    return Source(f"--preset {name}", PRESETS[name])
