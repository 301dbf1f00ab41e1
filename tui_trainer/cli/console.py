"""What is printed on stdout: lines for a terminal or a pipe, and JSON."""

import json
import sys

from rich.console import Console
from rich.text import Text


class PipeConsole(Console):
    """A console whose broken pipe is a `BrokenPipeError`, as everywhere else."""

    def on_broken_pipe(self) -> None:
        raise


def on_stdout() -> PipeConsole:
    """Lines on stdout, without an escape code when that is no terminal."""
    file = sys.stdout
    return PipeConsole(file=file, force_terminal=bool(file and file.isatty()), highlight=False, soft_wrap=True)


def print_line(out: PipeConsole, text: Text) -> None:
    """One line; in a terminal cut at its edge."""
    if out.is_terminal:
        text.truncate(out.width, overflow="ellipsis")
    out.print(text)


def json_line(values: object) -> str:
    """One line of JSON, with null for what is not finite."""
    finite = json.loads(json.dumps(values), parse_constant=lambda _: None)
    return json.dumps(finite, separators=(",", ":"))
