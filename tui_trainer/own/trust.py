"""Which code may run: what the user has named, and what he has named or confirmed before, known by its SHA-256.

A settings file is data, and may come from somebody else; the code that it names runs only when the user knows it.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from platformdirs import user_config_path

from tui_trainer.disk import write_whole
from tui_trainer.errors import ModelError, UsageError
from tui_trainer.own.location import Found, why_unsafe
from tui_trainer.text import clean

SHORTEST = 12
"""Hexadecimal digits that are enough to name a SHA-256."""


def file() -> Path:
    """Where the known SHA-256 are kept, in the user's own folder."""
    return user_config_path("tui-trainer") / "trusted.json"


def known() -> dict[str, dict[str, object]]:
    """What is kept of each known SHA-256; nothing when the file is damaged or others can change it."""
    path = file()
    try:
        if why_unsafe(path.resolve()):
            return {}
        table = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    entries = table.get("trusted") if isinstance(table, dict) else None
    if not isinstance(entries, dict):
        return {}
    return {sha: entry for sha, entry in entries.items() if isinstance(entry, dict)}


def is_trusted(sha256: str) -> bool:
    """True when code of this SHA-256 has been named or confirmed by the user before."""
    return sha256 in known()


def remember(sha256: str, path: Path) -> None:
    """Know this SHA-256 from now on. Where nothing can be written the user will be asked again, and no more."""
    entries = known()
    if sha256 in entries:
        return
    entries[sha256] = {"path": os.fspath(path), "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    with contextlib.suppress(OSError):
        file().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(json.dumps({"trusted": entries}, indent=1).encode(), file())


def check(trusted: Iterable[str]) -> tuple[str, ...]:
    """The beginnings of SHA-256 that were typed, in small letters.

    Raises:
        UsageError: one is no number, or too short to name one file.
    """
    words = tuple(word.strip().lower() for word in trusted)
    for word in words:
        if not SHORTEST <= len(word) <= 64 or set(word) - set("0123456789abcdef"):
            raise UsageError(
                f"--trust-plugin: must be the first {SHORTEST} to 64 digits of a SHA-256, found {clean(word, 80)}"
            )
    return words


def question(found: Found, place: str = "a settings file") -> str:
    """What the user should know before code that `place` names runs here for the first time."""
    changed = " It has been changed since you last agreed to it." if _was_known(found) else ""
    return (
        f"{clean(place)} names code that has not been run here before: {clean(found.path)}\n"
        f"SHA-256 {found.sha256}.{changed}"
    )


def _was_known(found: Found) -> bool:
    return any(entry.get("path") == os.fspath(found.path) for entry in known().values())


def need(found: Found, named_by_user: bool, trusted: tuple[str, ...] = (), *, place: str = "a settings file") -> None:
    """Let `found` run when the user has named it for this run, knows it, or names its SHA-256; he knows it then.

    `trusted` are beginnings of SHA-256, `place` is what names the code when the user does not.

    Raises:
        ModelError: the user does not know this code; the message shows its path, its SHA-256 and what to type.
    """
    if named_by_user or any(found.sha256.startswith(word) for word in check(trusted)):
        remember(found.sha256, found.path)
    elif not is_trusted(found.sha256):
        raise ModelError(refusal([(place, found)]))


def refusal(unknown: Sequence[tuple[str, Found]]) -> str:
    """What to say of code that the user does not know, each with what names it; what to type lets all of it run."""
    words = " ".join(f"--trust-plugin {code.sha256[:SHORTEST]}" for _, code in unknown)
    questions = "\n".join(question(code, place) for place, code in unknown)
    them = "file. If it may" if len(unknown) == 1 else "files. If they may"
    return f"{questions}\nLook at the {them} run, type: {words}"


def changes(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """What is not as it was, by location and SHA-256, a sentence each."""
    return [
        f"{clean(location)} has changed: it had SHA-256 {before[location]}, and has {sha} now."
        for location, sha in now.items()
        if before.get(location, sha) != sha
    ]


def changed(before: dict[str, str], now: dict[str, str]) -> str | None:
    """What to say when a run would go on with code that is not what it was; None when all of `now` is as it was."""
    lines = changes(before, now)
    if not lines:
        return None
    return "\n".join([*lines, "The run would go on with other code. If that is meant, type: --allow-plugin-change"])
