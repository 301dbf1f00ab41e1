"""The command line: words become a command and its arguments, and its end an exit code.

Each family of commands is a file beside this one. What is heavy is imported when a command runs: `--help` needs none.
"""

import inspect
import io
import os
import sys
from importlib.metadata import version
from typing import Any, NoReturn

import cyclopts
from cyclopts import App

from tui_trainer.cli import datasets, doctor, export, models, new_project, predict, runs, start, watch
from tui_trainer.cli.console import PipeConsole
from tui_trainer.cli.gather import gather
from tui_trainer.cli.options import no_such_option, with_settings
from tui_trainer.errors import SettingsError, TrainerError
from tui_trainer.settings.schema import FIELDS
from tui_trainer.text import clean, clean_lines, did_you_mean


def make_app() -> App:
    """The command line, a flag for every field of the settings."""
    app = App(
        name="tui-trainer",
        version=version("tui-trainer"),
        default_command=with_settings(start.start_command),
        help_format="plaintext",
        result_action="return_value",
        console=PipeConsole(),
    )
    app.command(watch.attach_command, name="attach")
    app.command(watch.send_command, name="send")
    app.command(with_settings(start.resume_command), name="resume")
    app.command(watch.replay_command, name="replay")
    app.command(runs.runs_command, name="runs")
    app.command(runs.compare_command, name="compare")
    app.command(export.export_command, name="export")
    app.command(predict.predict_command, name="predict")
    app.command(models.models_command, name="models")
    app.command(datasets.datasets_command, name="datasets")
    app.command(doctor.doctor_command, name="doctor")
    app.command(new_project.new_command, name="new")
    return app


def parse(app: App, words: list[str]) -> tuple[Any, inspect.BoundArguments]:
    """The command and its arguments, every word that fits nowhere reported together with every wrong setting.

    Raises:
        SettingsError: words that are no options, and the problems of the settings beside them.
    """
    try:
        command, bound, unused, _ = app.parse_known_args(words)
    except cyclopts.CycloptsError as error:
        error.verbose = False
        raise SettingsError([clean(error, 300)]) from None
    problems = []
    for word in unused:
        if word.startswith("-") and not word.lstrip("-").replace(".", "").isdigit():
            problems.append(no_such_option(word, command))
        elif command is not app.default_command:
            problems.append(f"{clean(word, 80)}: one word too many.")
        elif not problems:
            known = [str(name) for name in app if not str(name).startswith("-")]
            hint = "" if word in known else did_you_mean(word, known)
            problems.append(f"{clean(word, 80)}: there is no such command.{hint}")
    if problems:
        if command is app.default_command:
            typed = {name: value for name, value in bound.kwargs.items() if name in FIELDS and value is not None}
            try:
                gather(typed, config=bound.kwargs.get("config"), preset_name=bound.kwargs.get("preset"))
            except SettingsError as error:
                problems += error.problems
        raise SettingsError(problems)
    return command, bound


def main(words: list[str] | None = None) -> NoReturn:
    """The program: its exit code tells how it ended, and no traceback reaches the user."""
    words = sys.argv[1:] if words is None else words
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app = make_app()
        command, bound = parse(app, words)
        code = command(*bound.args, **bound.kwargs)
        if sys.stdout:
            sys.stdout.flush()
    except SettingsError as error:
        shown = error.problems[:10]
        for problem in shown:
            print(clean(problem, 600), file=sys.stderr)
        if len(error.problems) > len(shown):
            print(f"... and {len(error.problems) - len(shown)} more", file=sys.stderr)
        code = error.exit_code
    except TrainerError as error:
        print(clean_lines(error), file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 0
    except Exception as error:
        import tempfile
        import traceback

        code = 1
        with tempfile.NamedTemporaryFile("w", prefix="tui-trainer-", suffix=".log", delete=False) as log:
            log.write(traceback.format_exc())
        what = f"{type(error).__name__}: {clean(error, 300)}"
        print(f"{what}\nThis is a bug in tui-trainer. The details are in {log.name}.", file=sys.stderr)
    sys.exit(code if isinstance(code, int) else 0)
