"""The user's own code among the settings: found, and let in when he has named it or agreed to it before it runs."""

import os
from collections.abc import Iterable, Mapping

from tui_trainer.errors import ModelError
from tui_trainer.own import location, trust
from tui_trainer.own.location import Found
from tui_trainer.settings.schema import ENV_PREFIX, OWN, Settings, is_lent, is_place

FORM = "the form"
"""The origin of a value that was typed on the form."""


def places(settings: Settings) -> dict[str, Found]:
    """The code that the settings name, by the setting; none of it runs. Objects of a running script are left out.

    Raises:
        ModelError: there is no such file or module, or others can change it.
    """
    named = {name: getattr(settings, name) for name in OWN}
    return {name: location.find(value) for name, value in named.items() if is_place(value) and not is_lent(value)}


def digests(found: Mapping[str, Found]) -> dict[str, str]:
    """The SHA-256 of each file or module, by its path or name."""
    return {code.location.rpartition(":")[0]: code.sha256 for code in found.values()}


def by_user(origin: str) -> bool:
    """True when a value was typed: on the command line, in the environment, or on the form."""
    return origin.startswith(("--", ENV_PREFIX)) or origin == FORM


def admit(settings: Settings, origins: Mapping[str, str], trusted: Iterable[str] = ()) -> Settings:
    """The settings with the real paths of the code that they name, all of which may run.

    `origins` say where each value came from, `trusted` are beginnings of SHA-256 that the user has agreed to.

    Raises:
        ModelError: a settings file names code that the user does not know; the message says what to type.
    """
    found, words = places(settings), trust.check(trusted)
    unknown = [
        (place, code)
        for place, code in _unknown(found, origins)
        if not any(code.sha256.startswith(word) for word in words)
    ]
    if unknown:
        raise ModelError(trust.refusal(unknown))
    for code in found.values():
        trust.remember(code.sha256, code.path)
    return settings.model_copy(update={name: code.location for name, code in found.items()})


def to_ask(settings: Settings, origins: Mapping[str, str]) -> list[tuple[str, Found]]:
    """The code that the user should agree to before it runs, with what names it."""
    return _unknown(places(settings), origins)


def _unknown(found: Mapping[str, Found], origins: Mapping[str, str]) -> list[tuple[str, Found]]:
    """Of the code that was found what the user neither names nor knows, each file once, with what names it."""
    asked: dict[str, tuple[str, Found]] = {}
    for name, code in found.items():
        if not by_user(origins.get(name, "")) and not trust.is_trusted(code.sha256):
            asked.setdefault(code.sha256, (origins.get(name, "a settings file"), code))
    return list(asked.values())


def admit_again(settings: Settings, trusted: Iterable[str], *, changed: bool) -> None:
    """Let the code of a run that is carried on in; `changed` when it may be other than it was.

    Raises:
        ModelError: it has been changed since it was agreed to, or never was.
    """
    known = {str(entry.get("path")): sha for sha, entry in trust.known().items()}
    for code in places(settings).values():
        before = known.get(os.fspath(code.path))
        if not changed and before is not None and not trust.is_trusted(code.sha256):
            raise ModelError(trust.changed({code.location: before}, {code.location: code.sha256}) or "")
        trust.need(code, changed, tuple(trusted), place="run.toml")
