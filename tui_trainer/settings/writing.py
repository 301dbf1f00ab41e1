"""Settings as text: values as one types them, a TOML file, command-line flags."""

from typing import Any

import tomli_w

from tui_trainer.settings.fields import without_password
from tui_trainer.settings.schema import FIELDS, GROUPS, Settings, flag, group_of, is_switch
from tui_trainer.text import clean


def to_plain(settings: Settings) -> dict[str, Any]:
    """Settings as run.toml holds them: those that are unset are left out, and so is the password of an address."""
    kept = settings.model_dump() | {"notify_url": settings.notify_url and without_password(settings.notify_url)}
    return {name: value for name, value in kept.items() if value is not None}


def to_toml(settings: Settings, origins: dict[str, str] | None = None) -> str:
    """Settings as a TOML file to keep, each with its help above it, and where it came from when `origins` are given."""
    lines = []
    for group in GROUPS:
        lines.append(f"# --- {group} ---")
        for name, info in FIELDS.items():
            if group_of(name) == group:
                value = getattr(settings, name)
                lines.append(f"# {info.description}")
                line = f"# {name} =" if value is None else tomli_w.dumps({name: value}).rstrip("\n")
                origin = (origins or {}).get(name)
                lines.append(f"{line}  # {clean(origin, 200)}" if origin else line)
        lines.append("")
    return "\n".join(lines)


def as_text(value: object) -> str:
    """A value as one would type it: `0.001`, `64`, `on`, nothing for unset."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value)


def flags(settings: Settings, was: Settings | None = None) -> list[str]:
    """The command-line words that give `settings` when nothing else is set, or from those that `was`."""
    words = []
    for name, info in FIELDS.items():
        value = getattr(settings, name)
        if value == (getattr(was, name) if was else info.default) or value is None:
            continue
        if is_switch(name):
            words.append(flag(name) if value else f"--no-{name.replace('_', '-')}")
        else:
            text = as_text(value)
            words += [f"{flag(name)}={text}"] if text.startswith("-") else [flag(name), text]
    return words
