"""Where the user's own code is, `path/file.py:Name` or `package.module:Name`: found, checked and hashed unread.

Nothing here runs a line of it: what the file holds is known by its SHA-256 before it is trusted.
"""

import hashlib
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from tui_trainer.errors import ModelError
from tui_trainer.text import clean, did_you_mean

LARGEST = 100_000_000
"""Bytes of a file that still counts as code."""


@dataclass(frozen=True, slots=True)
class Location:
    """A place in the user's code as it was typed."""

    file: str | None
    """The path of a file, or None when it is a module."""
    module: str | None
    """The dotted name of an installed module, or None when it is a file."""
    attribute: str
    """The name in it, `Net` or `models.Net`."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file of code, before it runs."""

    location: str
    """The same place wherever it is typed: the real path, or the module, and the name."""
    module: str | None
    """The dotted name of an installed module; None when the file was named by its path."""
    attribute: str
    path: Path
    """The real path of the file."""
    sha256: str
    """Of its content, 64 hexadecimal digits."""
    source: bytes = field(repr=False)
    """The content that the digits are of."""


def parse(text: str) -> Location:
    """What `text` names.

    Raises:
        ModelError: it is not of one of the two forms.
    """
    place, colon, attribute = text.strip().rpartition(":")
    names = attribute.split(".")
    if not colon or not place or not all(name.isidentifier() for name in names):
        raise ModelError(
            f"{clean(text)}: is no place of code. Write path/file.py:Name or package.module:Name, with the name of a "
            "class or function."
        )
    if place.endswith(".py") or os.sep in place or "/" in place:
        return Location(place, None, attribute)
    if not all(name.isidentifier() for name in place.split(".")):
        raise ModelError(f"{clean(text)}: {clean(place)} is neither a module nor the path of a .py file.")
    return Location(None, place, attribute)


def find(text: str) -> Found:
    """The file that `text` names, read once: what is hashed here is what runs later.

    Raises:
        ModelError: there is no such file or module, or others than the user and root can change the file.
    """
    where = parse(text)
    if where.module is not None:
        path = _file_of(where.module, where.attribute)
        source = _read(path, text)
        return Found(f"{where.module}:{where.attribute}", where.module, where.attribute, path, _hash(source), source)
    assert where.file is not None
    path = _real(where.file, text)
    if reason := why_unsafe(path):
        raise ModelError(f"{clean(text)}: {reason}")
    source = _read(path, text)
    return Found(f"{path}:{where.attribute}", None, where.attribute, path, _hash(source), source)


def _hash(source: bytes) -> str:
    return hashlib.sha256(source).hexdigest()


def _real(file: str, text: str) -> Path:
    """The real path of a file that is there."""
    given = Path(os.path.expanduser(file))
    try:
        path = given.resolve(strict=True)
        if path.is_file():
            return path
        what = "is a folder, not a file" if path.is_dir() else "is not a plain file"
        raise ModelError(f"{clean(text)}: {clean(path)} {what}.")
    except FileNotFoundError:
        hint = did_you_mean(given.name, (near.name for near in _beside(given)))
        raise ModelError(f"{clean(text)}: there is no file {clean(given.absolute())}.{hint}") from None
    except (OSError, ValueError, RuntimeError) as error:  # a NUL in the path, links in a circle
        reason = getattr(error, "strerror", None) or "the path cannot be used"
        raise ModelError(f"{clean(text)}: {clean(given)}: {reason}.") from None


def _beside(path: Path) -> list[Path]:
    """The Python files in the folder of `path`."""
    try:
        return sorted(path.parent.glob("*.py"))[:1000]
    except OSError:
        return []


def _read(path: Path, text: str) -> bytes:
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size > LARGEST:
                raise ModelError(f"{clean(text)}: {clean(path)} is too large for code.")
            return file.read()
    except OSError as error:
        raise ModelError(f"{clean(text)}: {clean(path)} cannot be read: {error.strerror}.") from None


def why_unsafe(path: Path) -> str | None:
    """Why others could change `path`, a real path, as sshd judges a file of keys; None when they cannot.

    File and folders must belong to the user or root, and be writable by nobody else. A folder such as /tmp, in which
    everybody may write but nobody may rename the files of others, will do.
    """
    if sys.platform == "win32":
        return None
    for place in (path, *path.parents):
        facts = place.stat()
        if facts.st_uid not in (0, os.getuid()):
            return (
                f"{clean(place)} belongs to user {facts.st_uid}, who could change what runs. Copy it to a folder of "
                "your own."
            )
        writers = facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if writers == stat.S_IWGRP and _is_own_group(facts):
            continue
        if writers and not (stat.S_ISDIR(facts.st_mode) and facts.st_mode & stat.S_ISVTX):
            mode = oct(stat.S_IMODE(facts.st_mode))[2:]
            return f"{clean(place)} can be changed by others (mode {mode}). Type: chmod go-w {clean(place)}"
    return None


def _is_own_group(facts: os.stat_result) -> bool:
    """True for a group that holds its owner alone: many systems give each user one, and let it write."""
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(facts.st_uid), grp.getgrgid(facts.st_gid)
    except KeyError:
        return False
    alone = set(group.gr_mem) <= {user.pw_name}
    return group.gr_name == user.pw_name and user.pw_gid == facts.st_gid and alone


def _file_of(module: str, attribute: str) -> Path:
    """The file of an installed module; neither it nor the packages around it are imported.

    Raises:
        ModelError: there is no such module, or it is no file.
    """
    names = module.split(".")
    within: Any = None
    spec: ModuleSpec | None = None
    with without_current_folder():
        for depth in range(1, len(names) + 1):
            name = ".".join(names[:depth])
            spec = next(filter(None, (_spec(finder, name, within) for finder in sys.meta_path)), None)
            if spec is None:
                beside = Path(*names).with_suffix(".py")
                hint = (
                    f" For the file here write {clean(beside)}:{clean(attribute)}"
                    if beside.is_file()
                    else " Install it first."
                )
                raise ModelError(f"{clean(module)}: there is no installed module {clean(name)}.{hint}")
            within = spec.submodule_search_locations
            if within is None and depth < len(names):
                raise ModelError(f"{clean(module)}: {clean(name)} is a module and holds no other modules.")
    assert spec is not None
    if not spec.has_location or not spec.origin:
        raise ModelError(f"{clean(module)}: is no file that could be looked at.")
    return Path(spec.origin).resolve()


def _spec(finder: Any, name: str, within: Any) -> ModuleSpec | None:
    """What one of Python's finders knows of a module."""
    try:
        spec: ModuleSpec | None = finder.find_spec(name, within)
        return spec
    except Exception:  # other packages put finders of their own there, which may raise anything
        return None


@contextmanager
def without_current_folder() -> Iterator[None]:
    """Imports look only where packages are installed: a `random.py` in the current folder is not found.

    `python -m` puts that folder first in `sys.path`; the program `tui-trainer` does not.
    """
    before = list(sys.path)
    kept = [entry for entry in before if entry]
    if not sys.flags.safe_path and kept and before[0] == kept[0] and _is_here(kept[0]):
        del kept[0]
    sys.path[:] = kept
    try:
        yield
    finally:
        if sys.path == kept:  # what was imported may have added to it
            sys.path[:] = before


def _is_here(entry: str) -> bool:
    try:
        return os.path.samefile(entry, ".")
    except (OSError, ValueError):
        return False
