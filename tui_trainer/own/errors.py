"""An error in the user's own code as a sentence: what, and at which line of which file."""

import os
import sys
import traceback
from pathlib import Path

from tui_trainer.text import clean

_HERE = os.fspath(Path(__file__).parents[1])
"""Where the program itself lies, which calls the user's code and is not to blame."""


def told(error: BaseException, path: Path | None = None) -> str:
    """`model.py, line 7: ZeroDivisionError: division by zero.`; the line is the last one in `path` that took part.

    Without `path`, or when none of its lines took part, it is the line that raised the error.
    """
    if isinstance(error, SyntaxError) and error.filename is not None:
        shown = f": {clean(error.text.strip(), 80)}" if error.text and error.text.strip() else ""
        return f"{_place(error.filename, error.lineno)}: {clean(error.msg)}{shown}"
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    own = [place for place in frames if path is not None and place[0] == os.fspath(path)]
    others = [place for place in frames if not place[0].startswith((_HERE, "<"))]
    place = (own or others or [(os.fspath(path) if path else "", 0)])[-1]
    return f"{_place(*place)}: {_what(error, path)}"


def _place(file: str, line: int | None) -> str:
    name = clean(Path(file).name) or "code"
    return f"{name}, line {line}" if line else name


def _what(error: BaseException, path: Path | None) -> str:
    kind = clean(type(error).__name__, 80)
    try:
        lines = [line for line in str(error).split("\n") if line.strip()]
    except BaseException:  # the error's own words are the user's code, too
        lines = []
    words = clean(lines[0].strip(), 300) if lines else ""
    if isinstance(error, SystemExit):
        return f"it ends the program (SystemExit{f': {words}' if words else ''}). Take the call of exit out."
    if isinstance(error, ModuleNotFoundError) and error.name:
        return _missing(error.name, path)
    return f"{kind}: {words}" if words else kind


def _missing(module: str, path: Path | None) -> str:
    """The sentence for a module that cannot be imported."""
    first = module.split(".")[0]
    if path is not None and first.isidentifier():
        beside = path.parent / first
        if beside.with_suffix(".py").is_file() or beside.is_dir():
            return (
                f"it imports {clean(first)}, which lies beside it and is not installed. Put both into one file, or "
                "install them as a package and name it package.module:Name."
            )
    return f"it imports {clean(module)}, which is not installed for {clean(sys.executable)}."
