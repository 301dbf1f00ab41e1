"""Rich's console, without its way to end the process when a reader has gone."""

from rich.console import Console


class PipeConsole(Console):
    """A console whose broken pipe is a `BrokenPipeError`, as everywhere else."""

    def on_broken_pipe(self) -> None:
        raise
