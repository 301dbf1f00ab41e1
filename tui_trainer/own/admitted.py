"""The user's own code that settings name: found once, judged once, and handed on with the source it was judged by.

Whoever starts a run finds the code (`Admitted.find`), asks about what the user does not know, and hands the `Admitted`
to the run. Waiting for a turn, parking and going on in the background keep it: the source that was agreed to is what
runs, whatever has become of the file since.
"""

import base64
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tui_trainer.errors import ModelError
from tui_trainer.own import location, trust
from tui_trainer.own.location import Found
from tui_trainer.settings.places import OWN, is_lent, is_place
from tui_trainer.settings.schema import ENV_PREFIX, Settings

FORM = "the form"
"""The origin of a value that was typed on the form."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """Code by the setting that names it, with its source. Objects of a running script are not in it."""

    code: Mapping[str, Found] = field(default_factory=dict)

    @classmethod
    def find(cls, settings: Settings) -> "Admitted":
        """The code that the settings name, read and hashed; none of it runs.

        Raises:
            ModelError: there is no such file or module, or others can change it.
        """
        named = {name: getattr(settings, name) for name in OWN}
        return cls({n: location.find(value) for n, value in named.items() if is_place(value) and not is_lent(value)})

    def digests(self) -> dict[str, str]:
        """The SHA-256 of each file or module, by its path or name."""
        return {found.location.rpartition(":")[0]: found.sha256 for found in self.code.values()}

    def unknown(self, origins: Mapping[str, str]) -> list[tuple[str, Found]]:
        """What the user neither named nor knows, each file once, with what names it. `origins` are those of values."""
        asked: dict[str, tuple[str, Found]] = {}
        for name, found in self.code.items():
            if not by_user(origins.get(name, "")) and not trust.is_trusted(found.sha256):
                asked.setdefault(found.sha256, (origins.get(name, "a settings file"), found))
        return list(asked.values())

    def remember(self) -> None:
        """The user knows this code from now on."""
        for found in self.code.values():
            trust.remember(found.sha256, found.path)

    def located(self, settings: Settings) -> Settings:
        """The settings with the real paths of the code that they name."""
        return settings.model_copy(update={name: found.location for name, found in self.code.items()})

    def to_plain(self) -> dict[str, dict[str, Any]]:
        """Plain values that JSON can hold, for another process."""
        return {
            name: asdict(replace(found, source=b""))
            | {"path": os.fspath(found.path), "source": base64.b64encode(found.source).decode()}
            for name, found in self.code.items()
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Mapping[str, Any]]) -> "Admitted":
        """What `to_plain` gave."""
        return cls(
            {
                name: Found(**{**found, "path": Path(found["path"]), "source": base64.b64decode(found["source"])})
                for name, found in plain.items()
            }
        )


def by_user(origin: str) -> bool:
    """True when a value was typed: on the command line, in the environment, or on the form."""
    return origin.startswith(("--", ENV_PREFIX)) or origin == FORM


def admit(settings: Settings, origins: Mapping[str, str], trusted: Iterable[str] = ()) -> tuple[Settings, Admitted]:
    """The settings with the real paths of the code that they name, and that code, all of which may run.

    `origins` say where each value came from, `trusted` are beginnings of SHA-256 that the user has agreed to.

    Raises:
        ModelError: a settings file names code that the user does not know; the message says what to type.
    """
    code, words = Admitted.find(settings), trust.check(trusted)
    unknown = [
        (place, found)
        for place, found in code.unknown(origins)
        if not any(found.sha256.startswith(word) for word in words)
    ]
    if unknown:
        raise ModelError(trust.refusal(unknown))
    code.remember()
    return code.located(settings), code


def admit_again(code: Admitted, trusted: Iterable[str], *, changed: bool) -> Admitted:
    """`code` of a run that is carried on, all of which may run; `changed` when it may be other than it was.

    Raises:
        ModelError: it has been changed since it was agreed to, or never was.
    """
    known = {str(entry.get("path")): sha for sha, entry in trust.known().items()}
    for found in code.code.values():
        before = known.get(os.fspath(found.path))
        if not changed and before is not None and not trust.is_trusted(found.sha256):
            raise ModelError(trust.changed({found.location: before}, {found.location: found.sha256}) or "")
        trust.need(found, changed, tuple(trusted), place="run.toml")
    return code
