"""`tui-trainer attach`, `send` and `replay`: a run that is in its folder, watched, steered, played again."""

from typing import Annotated

from cyclopts import Parameter

from tui_trainer.cli import screens
from tui_trainer.cli.gather import output_dir_of
from tui_trainer.cli.options import RUN, OutputDir, option
from tui_trainer.errors import UsageError
from tui_trainer.run.commands import WORDS, from_words
from tui_trainer.settings.sources import Resolved, resolve
from tui_trainer.text import clean


def attach_command(
    run: Annotated[str, Parameter(help=RUN)] = "last",
    /,
    *,
    read_only: Annotated[bool, option("Only watch: no key steers the run.")] = False,
    output_dir: OutputDir = None,
) -> int:
    """The run screen of a run from its folder, live, finished or crashed; a live one can be steered."""
    from tui_trainer.run import folder
    from tui_trainer.run.recorded import AttachedRun, RecordedRun

    found = folder.find(run, output_dir_of(output_dir))
    screens.need_terminal()

    recorded = RecordedRun(found) if read_only else AttachedRun(found)
    return screens.open_screens(Resolved(resolve([]).settings), recorded=recorded)


def send_command(
    run: Annotated[str, Parameter(help=RUN)],
    command: Annotated[str, Parameter(help=" | ".join(WORDS))],
    value: Annotated[str | None, Parameter(help="The value of `lr`.")] = None,
    /,
    *,
    output_dir: OutputDir = None,
    json: Annotated[bool, option("The event that answers, as JSON.")] = False,
) -> int:
    """Tell a run that is under way something, from a script: it is answered when the run has done it."""
    from tui_trainer.run import folder
    from tui_trainer.run.send import send

    return send(folder.find(run, output_dir_of(output_dir)), from_words(command, value), json=json)


def replay_command(
    run: Annotated[str, Parameter(help=RUN)] = "last",
    /,
    *,
    speed: Annotated[
        float | None,
        Parameter(help="How many times as fast as it was. Without it the whole takes half a minute.", metavar="N"),
    ] = None,
    output_dir: OutputDir = None,
) -> int:
    """A recorded run, played again on the run screen: faster, slower, step by step, from mark to mark."""
    from tui_trainer.run import folder

    if speed is not None and not 0 < speed <= 1e6:
        raise UsageError(f"--speed: must be above 0 and at most 1,000,000, found {speed:g}")
    found = folder.find(run, output_dir_of(output_dir))
    screens.need_terminal(f"What the run says is in {clean(found.journal)}, one JSON object a line.")
    from tui_trainer.ui.screens.replay import ReplayScreen

    return screens.open_screens(Resolved(resolve([]).settings), replay=ReplayScreen(found, speed))
