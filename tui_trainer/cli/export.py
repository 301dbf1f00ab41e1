"""`tui-trainer export`: progress as lines on stderr, and the file's path alone on stdout, for scripts."""

import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from tui_trainer.cli.gather import output_dir_of, trust_code_of_run
from tui_trainer.cli.options import RUN, OutputDir, TrustPlugin, option
from tui_trainer.text import clean

if TYPE_CHECKING:
    from tui_trainer.run.folder import RunFolder


def export_command(
    run: Annotated[str, Parameter(help=RUN)] = "last",
    /,
    *,
    format: Annotated[str, option("safetensors, onnx or torch-export.")] = "",
    output: Annotated[str | None, option("The file [default: in the run's folder, below exports].")] = None,
    checkpoint: Annotated[
        str | None, option("Whose weights: best, last, prev or epoch-N [default: best, else last].")
    ] = None,
    force: Annotated[bool, option("Overwrite a file that is there.")] = False,
    trust_plugin: TrustPlugin = None,
    output_dir: OutputDir = None,
) -> int:
    """The trained model as a file for other programs, checked against the model; prints the file's path."""
    from tui_trainer.run import folder

    found = folder.find(run, output_dir_of(output_dir))
    trust_code_of_run(found, trust_plugin)
    return export(found, format, output=output, checkpoint=checkpoint, force=force)


def export(folder: "RunFolder", format: str, *, output: str | None, checkpoint: str | None, force: bool) -> int:
    """Write a run's model to a file and say where it is; the exit code.

    Raises:
        TrainerError: there is no file; the message says why.
    """
    from tui_trainer.training.after.export import export as exporting  # torch takes seconds

    steps = exporting(folder, format, output=output, checkpoint=checkpoint, force=force)
    while True:
        try:
            line = next(steps)
        except StopIteration as done:
            print(clean(done.value, 4096))
            return 0
        print(line, file=sys.stderr, flush=True)
