"""The user's own code, imported by its location: under a name of its own, with nothing left beside it on the disk.

A pickle names a class by its module, and a worker process that did not begin as a copy of this one knows no module of
the user's. So what is sent to workers brings the files along (`UserCode`), as they were when the run began.
"""

import hashlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TextIO

from tui_trainer.errors import ModelError
from tui_trainer.own.admitted import Admitted
from tui_trainer.own.errors import told
from tui_trainer.own.location import Found, find, without_current_folder
from tui_trainer.settings.places import is_lent
from tui_trainer.text import clean, did_you_mean

Kind = Literal["model", "dataset", "loss", "optimizer", "augment"]
"""The settings that can name code."""
_PREFIX = "tui_trainer_user_"


@dataclass(frozen=True, slots=True)
class Plugin:
    """A class or function of the user's."""

    kind: Kind
    """The setting that names it."""
    location: str
    """The same place wherever it is typed: the real path, or the module, and the name."""
    path: Path
    """The real path of the file."""
    sha256: str
    """Of the file, 64 hexadecimal digits."""
    made: Callable[..., Any]

    @property
    def name(self) -> str:
        """What messages call it, `Net`."""
        return self.location.rpartition(":")[2]

    @property
    def flag(self) -> str:
        """How its arguments are typed."""
        return f"--{self.kind}-arg"


_lent: dict[str, Plugin] = {}
"""Objects of the running script, by the places that settings have for them."""


def lend(plugin: Plugin) -> None:
    """Let `load` give an object of the running script, by its place."""
    _lent[plugin.location] = plugin


def take_back(location: str) -> None:
    """Forget an object that was lent."""
    _lent.pop(location, None)


_admitted: dict[str, Found] = {}
"""The code of the newest run of this process, by its places: `load` takes it as it was judged."""


def let_in(code: Admitted) -> None:
    """Let `load` give this code, and none that was let in before, from the source it was judged by."""
    _admitted.clear()
    _admitted.update({found.location: found for found in code.code.values()})


def load(location: str | Found, kind: Kind) -> Plugin:
    """The class or function at `location`, `path/file.py:Name` or `package.module:Name`.

    What was found before is taken as it was hashed then, whatever has become of the file since.

    Raises:
        ModelError: there is no such place, its code fails, or gives nothing that can be called; the message has the
            file and the line.
    """
    if isinstance(location, str) and is_lent(location):
        if location not in _lent:
            raise ModelError(
                f"--{kind} {clean(location)} is an object of the script that began this run. Carry the run on from "
                "there, with train(..., resume=...)."
            )
        return _lent[location]
    found = (_admitted.get(location) or find(location)) if isinstance(location, str) else location
    found = _admitted.get(found.location, found)
    shown = f"--{kind} {clean(found.location)}"
    try:
        with quiet(), without_current_folder():
            module = import_module(found.module) if found.module else _imported(found)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise ModelError(f"{shown}: {told(error, found.path)}") from error
    made = _attribute(module, found, shown)
    if not callable(made):
        raise ModelError(
            f"{shown}: {clean(found.attribute)} is of type {clean(type(made).__name__)}, not a class or function."
        )
    return Plugin(kind, found.location, found.path, found.sha256, made)


def _attribute(module: ModuleType, found: Found, shown: str) -> Any:
    """What the names `a.b` lead to in `module`."""
    made: Any = module
    for name in found.attribute.split("."):
        try:
            made = getattr(made, name)
        except KeyboardInterrupt:
            raise
        except AttributeError:
            own, others = _public(made)
            listed = f" It has: {', '.join(clean(known, 60) for known in own[:12])}." if own else ""
            place = clean(found.module or found.path.name)
            hint = did_you_mean(name, [*own, *others])
            raise ModelError(f"{shown}: there is no {clean(name)} in {place}.{hint}{listed}") from None
        except BaseException as error:
            raise ModelError(f"{shown}: {told(error, found.path)}") from error
    return made


def _public(made: Any) -> tuple[list[str], list[str]]:
    """What can be called in a module or class: what is written there, and what it has from elsewhere."""
    known = {n: v for n, v in getattr(made, "__dict__", {}).items() if not n.startswith("_") and callable(v)}
    home = made.__name__ if isinstance(made, ModuleType) else getattr(made, "__module__", "")
    own = [n for n, v in known.items() if f"{getattr(v, '__module__', '')}.".startswith(f"{home}.")]
    return own, [name for name in known if name not in own]


@dataclass(frozen=True, slots=True)
class _File:
    """A file that runs here as a module."""

    name: str
    path: str
    source: bytes


_files: dict[str, _File] = {}
"""The files of the user's that run in this process, by the names of their modules."""


def _imported(found: Found) -> ModuleType:
    """The module of a file, run once in this process as long as its content stays the same."""
    stem = re.sub(r"\W", "_", found.path.stem, flags=re.ASCII)
    digits = hashlib.sha256(os.fsencode(found.path) + b"\0" + found.source).hexdigest()
    return _run(_File(f"{_PREFIX}{stem}_{digits[:16]}", os.fspath(found.path), found.source))


def _run(file: _File) -> ModuleType:
    """`file` as a module; nothing is written beside it."""
    if file.name in _files and file.name in sys.modules:
        return sys.modules[file.name]
    module = ModuleType(file.name)
    module.__file__ = file.path
    module.__package__ = ""  # it is in none, which is what an import of `.other` then says
    sys.modules[file.name] = module  # its classes look themselves up there while it runs
    try:
        exec(compile(file.source, file.path, "exec", dont_inherit=True), module.__dict__)
    except BaseException:
        sys.modules.pop(file.name, None)
        raise
    _files[file.name] = file
    return module


class UserCode:
    """The user's files, as a pickle takes them to another process: they run there before what comes behind them."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrive, (tuple(_files.values()),)


def _arrive(files: tuple[_File, ...]) -> UserCode:
    with without_current_folder():
        for file in files:
            _run(file)
    return UserCode()


class _Cleaned(io.TextIOBase):
    """A stream on which control characters are written out, on its way to another."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream, self._rest = stream, ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        if self._stream is not None:
            for line in lines:
                self._stream.write(clean(line) + "\n")
        return len(text)

    def close(self) -> None:
        if self._rest and not self.closed:
            self.write("\n")
        super().close()


@contextmanager
def quiet() -> Iterator[None]:
    """What the user's code prints goes to stderr, made harmless: stdout is for results."""
    talk = _Cleaned(sys.stderr)
    try:
        with redirect_stdout(talk), redirect_stderr(talk):
            yield
    finally:
        talk.close()
