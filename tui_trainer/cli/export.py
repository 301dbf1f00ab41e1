"""`tui-trainer export`: progress as lines on stderr, and the file's path alone on stdout, for scripts."""

import sys

from tui_trainer.run.folder import RunFolder
from tui_trainer.text import clean


def export(folder: RunFolder, format: str, *, output: str | None, checkpoint: str | None, force: bool) -> int:
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
