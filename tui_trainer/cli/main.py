"""The command line: words become settings, a run and a face for it. What is heavy is imported when it is used."""

import inspect
import io
import os
import sys
import tempfile
import traceback
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import cyclopts
from cyclopts import App, Group, Parameter
from platformdirs import user_config_path

from tui_trainer.catalog import DATASETS
from tui_trainer.cli.console import PipeConsole
from tui_trainer.errors import FolderError, SettingsError, TrainerError, UsageError
from tui_trainer.own import admitted
from tui_trainer.run.commands import WORDS, from_words
from tui_trainer.settings.schema import (
    CONFIG_NAME,
    FIELDS,
    GROUPS,
    PRESETS,
    Settings,
    as_text,
    choices_of,
    group_of,
    is_switch,
    nearest,
    to_toml,
)
from tui_trainer.settings.sources import Resolved, Source, preset, read_environment, read_toml, resolve
from tui_trainer.text import clean, clean_lines, did_you_mean

if TYPE_CHECKING:
    from tui_trainer.run.folder import RunFolder
    from tui_trainer.run.resume import Carried

Mode = Literal["form", "start", "lines", "json"]

_FACES = Group.create_ordered("How to run")


_RUN = "A run's folder, its name, the beginning of its name, or `last`."


def _option(help: str, **more: Any) -> Parameter:
    return Parameter(help=help, negative="", group=_FACES, show_default=False, **more)


_Trust = Annotated[
    list[str] | None,
    _option("SHA-256 of code of your own that a settings file names, 12 digits or more: it may run.", metavar="SHA"),
]
_Where = Annotated[str | None, _option("Where runs are looked for [default: the setting output_dir].")]


def _run(
    *,
    start: Annotated[bool, _option("Skip the form: straight to the run screen.")] = False,
    no_ui: Annotated[bool, _option("The same run as plain lines.")] = False,
    json: Annotated[bool, _option("With --no-ui: one JSON event a line on stdout, talk on stderr.")] = False,
    detach: Annotated[
        bool, _option("The same run in the background; prints its folder and gives the shell back.")
    ] = False,
    preset: Annotated[
        str | None, _option(f"Settings under a name: {', '.join(PRESETS)}. Flags that are typed beside it win.")
    ] = None,
    config: Annotated[str | None, _option("Settings from a TOML file; the run.toml of a run will do.")] = None,
    print_config: Annotated[bool, _option("Print the settings as a TOML file and end.")] = False,
    trust_plugin: _Trust = None,
    **settings: Any,
) -> int:
    """The training cockpit for PyTorch: configure, run, steer and understand a training run in a terminal.

    Without options it opens the list of runs where there are some, else the settings form.
    Settings come from the user's file, tui-trainer.toml here, --config, TUI_TRAINER_* and flags; later ones win.
    """
    typed = {name: value for name, value in settings.items() if value is not None}
    resolved = gather(typed, config=config, preset_name=preset)
    if print_config:
        print(to_toml(resolved.settings, resolved.origins))
        return 0
    if json and not no_ui:
        raise UsageError("--json belongs to --no-ui. Type: tui-trainer --no-ui --json")
    if detach or no_ui or start:
        resolved = replace(resolved, settings=admitted.admit(resolved.settings, resolved.origins, trust_plugin or ()))
    if detach:
        return start_in_background(resolved.settings)
    if no_ui:
        from tui_trainer.cli import headless
        from tui_trainer.cli.local_run import local_run

        return headless.watch(local_run(resolved.settings), json=json)
    if start:
        from tui_trainer.run.waiting import Turn

        Turn(resolved.settings)  # before there is a screen: what it should wait for may not be there
    need_terminal()

    untouched = not typed and preset is None and config is None
    return open_screens(resolved, start=start, preset=preset, runs=untouched)


def _attach(
    run: Annotated[str, Parameter(help=_RUN)] = "last",
    /,
    *,
    read_only: Annotated[bool, _option("Only watch: no key steers the run.")] = False,
    output_dir: _Where = None,
) -> int:
    """The run screen of a run from its folder, live, finished or crashed; a live one can be steered."""
    from tui_trainer.run import folder
    from tui_trainer.run.recorded import AttachedRun, RecordedRun

    found = folder.find(run, where(output_dir))
    need_terminal()

    recorded = RecordedRun(found) if read_only else AttachedRun(found)
    return open_screens(Resolved(resolve([]).settings), recorded=recorded)


def _send(
    run: Annotated[str, Parameter(help=_RUN)],
    command: Annotated[str, Parameter(help=" | ".join(WORDS))],
    value: Annotated[str | None, Parameter(help="The value of `lr`.")] = None,
    /,
    *,
    output_dir: _Where = None,
    json: Annotated[bool, _option("The event that answers, as JSON.")] = False,
) -> int:
    """Tell a run that is under way something, from a script: it is answered when the run has done it."""
    from tui_trainer.run import folder
    from tui_trainer.run.send import send

    return send(folder.find(run, where(output_dir)), from_words(command, value), json=json)


def _replay(
    run: Annotated[str, Parameter(help=_RUN)] = "last",
    /,
    *,
    speed: Annotated[
        float | None,
        Parameter(help="How many times as fast as it was. Without it the whole takes half a minute.", metavar="N"),
    ] = None,
    output_dir: _Where = None,
) -> int:
    """A recorded run, played again on the run screen: faster, slower, step by step, from mark to mark."""
    from tui_trainer.run import folder

    if speed is not None and not 0 < speed <= 1e6:
        raise UsageError(f"--speed: must be above 0 and at most 1,000,000, found {speed:g}")
    found = folder.find(run, where(output_dir))
    need_terminal(f"What the run says is in {clean(found.journal)}, one JSON object a line.")
    from tui_trainer.ui.screens.replay import ReplayScreen

    return open_screens(Resolved(resolve([]).settings), replay=ReplayScreen(found, speed))


def _resume(
    run: Annotated[str, Parameter(help=_RUN)] = "last",
    /,
    *,
    no_ui: Annotated[bool, _option("Plain lines instead of the run screen.")] = False,
    json: Annotated[bool, _option("With --no-ui: one JSON event a line on stdout, talk on stderr.")] = False,
    detach: Annotated[bool, _option("In the background; gives the shell back.")] = False,
    preview: Annotated[bool, _option("Only show what would be restored, kept and changed.")] = False,
    allow_data_change: Annotated[
        bool, _option("Carry on though the examples are not those that the run has learned from.")
    ] = False,
    allow_plugin_change: Annotated[bool, _option("Carry on though your own code is other than it was.")] = False,
    trust_plugin: _Trust = None,
    **settings: Any,
) -> int:
    """Carry a run on from its newest checkpoint, exactly, in the middle of an epoch too.

    Settings that are typed are changed from there on; what is changed is shown before the first step.
    """
    from tui_trainer.cli.local_run import local_run
    from tui_trainer.run import folder
    from tui_trainer.run.resume import Resume, carry

    if json and not no_ui:
        raise UsageError("--json belongs to --no-ui. Type: tui-trainer resume --no-ui --json")
    typed = {name: value for name, value in settings.items() if value is not None}
    found = folder.find(run, where(settings.get("output_dir")))
    typed.pop("output_dir", None)  # where runs are looked for; the run itself stays in its folder
    how = Resume(
        allow_data_change=allow_data_change,
        allow_code_change=allow_plugin_change,
        trusted=tuple(trust_plugin or ()),
    )
    carried = carry(found, typed, how)
    if carried.nothing_to_do:
        print(carried.nothing_to_do)
        return 0
    if preview:
        from tui_trainer.cli import headless

        return headless.show_preview(carried)
    if detach:
        return start_in_background(carried.settings, carried)
    run_ = local_run(carried.settings, carried)
    if no_ui:
        from tui_trainer.cli import headless

        return headless.watch(run_, json=json)
    need_terminal()

    return open_screens(Resolved(carried.settings), carried=carried)


def where(output_dir: str | None) -> str:
    """The folder that runs are in: the one that was typed, or that of the settings.

    Raises:
        SettingsError: the files or the environment hold settings that cannot be used.
    """
    return output_dir or gather({}).settings.output_dir


def start_in_background(settings: Settings, carried: "Carried | None" = None) -> int:
    """Start a process that trains by itself, or carries a run on, and say where; the exit code.

    Raises:
        FolderError, LockedError: there is no folder to run in.
    """
    from tui_trainer.run import background
    from tui_trainer.run.folder import RunFolder
    from tui_trainer.run.waiting import Turn

    if carried is None:
        settings = Turn(settings).settings
    folder = carried.folder if carried else RunFolder.create(settings)
    with folder.lock.hold() as held:
        folder.journal.touch(mode=0o600)  # from here on it can be found
        try:
            background.start(background.Orders.of(folder, held.fd, settings, carried))
        except OSError as error:
            raise FolderError(f"No process in the background can be started: {error.strerror}.") from None
        held.given = True
    print(clean(folder.path))
    print(f"Watch and steer it with: tui-trainer attach {clean(folder.path.name)}", file=sys.stderr)
    return 0


def _runs(
    *query: Annotated[
        str,
        Parameter(
            help="Which runs: state:live, model:cnn, 'lr<0.01', 'accuracy>90%', 'mae<0.4', 'age<2d', any setting, or "
            "a part of the name. All must hold; -model:cnn is the opposite. Quote < and >, which mean something to the "
            "shell.",
            allow_leading_hyphen=True,
        ),
    ],
    sort: Annotated[
        str, _option("age (the newest first), score, loss, name, state, lr, or a score such as mae.")
    ] = "age",
    output_dir: _Where = None,
    json: Annotated[bool, _option("One JSON object a line on stdout.")] = False,
) -> int:
    """The runs in a folder: their state, settings and best score."""
    from tui_trainer.cli import runs
    from tui_trainer.runs.listing import list_runs
    from tui_trainer.runs.query import measured_in, ordered, parse

    if mistyped := [word for word in query if word.startswith("--")]:
        raise UsageError(_no_option(mistyped[0], _runs))
    place = where(output_dir)
    if output_dir and not os.path.isdir(os.path.expanduser(output_dir)):
        raise UsageError(f"There is no folder {clean(output_dir)}.")
    found = list_runs(place)
    measured = measured_in(found)
    shown = ordered(filter(parse(query, measured), found), sort, measured)
    if json:
        runs.show_runs_as_json(shown)
    elif shown:
        runs.show_runs(shown)
    else:
        print(runs.nothing(len(found), query, place), file=sys.stderr)
    return 0


def _compare(
    *runs: Annotated[str, Parameter(help="From 2 to 8 runs: folders, names, beginnings of names, or `last`.")],
    no_ui: Annotated[bool, _option("A table instead of the screen.")] = False,
    output_dir: _Where = None,
    json: Annotated[bool, _option("One JSON object on stdout: the runs, and the settings that differ.")] = False,
) -> int:
    """Runs side by side: their curves, what came out, and the settings that differ."""
    from tui_trainer.cli import runs as tables
    from tui_trainer.run import folder
    from tui_trainer.runs.comparison import to_compare

    place = where(output_dir)
    found = [folder.find(run, place) for run in runs]
    compared = to_compare(found)
    if json:
        tables.show_comparison_as_json(compared)
        return 0
    if no_ui or not _has_terminal():
        tables.show_comparison(compared)
        return 0

    return open_screens(resolve([]), compared=[run.folder for run in compared])


def _let_code_of_run_in(folder: "RunFolder", trusted: list[str] | None) -> None:
    """Remember the code of a run that the user agrees to; else it must be known already.

    Raises:
        ModelError: it is other code than was agreed to.
    """
    from tui_trainer.run.resume import own_settings
    from tui_trainer.run.state import RunState

    if trusted:
        admitted.admit_again(resolve([own_settings(folder, RunState())]).settings, trusted, changed=False)


def _export(
    run: Annotated[str, Parameter(help=_RUN)] = "last",
    /,
    *,
    format: Annotated[str, _option("safetensors, onnx or torch-export.")] = "",
    output: Annotated[str | None, _option("The file [default: in the run's folder, below exports].")] = None,
    checkpoint: Annotated[
        str | None, _option("Whose weights: best, last, prev or epoch-N [default: best, else last].")
    ] = None,
    force: Annotated[bool, _option("Overwrite a file that is there.")] = False,
    trust_plugin: _Trust = None,
    output_dir: _Where = None,
) -> int:
    """The trained model as a file for other programs, checked against the model; prints the file's path."""
    from tui_trainer.cli import export
    from tui_trainer.run import folder

    found = folder.find(run, where(output_dir))
    _let_code_of_run_in(found, trust_plugin)
    return export.export(found, format, output=output, checkpoint=checkpoint, force=force)


def _predict(
    run: Annotated[str, Parameter(help=_RUN)],
    /,
    *images: Annotated[str, Parameter(help="Image files, and folders that are gone through.")],
    split: Annotated[str | None, _option("valid or test: the run's own examples in place of files.")] = None,
    top: Annotated[int, _option("How many classes are shown [default: 3].")] = 3,
    checkpoint: Annotated[
        str | None, _option("Whose weights: best, last, prev or epoch-N [default: best, else last].")
    ] = None,
    device: Annotated[
        str | None, _option("Where to compute [default: as the run, or the CPU where that is not here].")
    ] = None,
    trust_plugin: _Trust = None,
    output_dir: _Where = None,
    json: Annotated[bool, _option("One JSON object a line on stdout.")] = False,
) -> int:
    """What a trained model says of image files, or how right it is on the run's own examples."""
    from tui_trainer.cli import predict
    from tui_trainer.run import folder

    found = folder.find(run, where(output_dir))
    _let_code_of_run_in(found, trust_plugin)
    return predict.predict(found, images, split=split, top=top, checkpoint=checkpoint, device=device, as_json=json)


def _models(
    pattern: Annotated[
        str, Parameter(help="A part of the name, or a pattern such as 'resnet*', quoted for the shell.")
    ] = "",
    /,
    *,
    images: Annotated[
        str | None, _option("Channels, height and width such as 1x28x28: the models that do not take them say why.")
    ] = None,
    json: Annotated[bool, _option("One JSON object a line on stdout.")] = False,
) -> int:
    """The models that can be trained: their size, the images they take, and the weights that can be had."""
    from tui_trainer.cli import models, runs

    found = models.rows(pattern, images or "")
    if json:
        runs.show_models_as_json(found)
    elif found:
        runs.show_models(found, images or "")
    else:
        known = [row["name"] for row in models.rows()]
        print(
            f"None of the {len(known)} models match: {clean(pattern)}.{did_you_mean(pattern, known)}", file=sys.stderr
        )
    return 0


def _datasets(
    pattern: Annotated[
        str, Parameter(help="A part of the name, or a pattern such as 'emnist*', quoted for the shell.")
    ] = "",
    /,
    *,
    data_dir: Annotated[str | None, _option("Where data sets are looked for [default: the setting data_dir].")] = None,
    json: Annotated[bool, _option("One JSON object a line on stdout.")] = False,
) -> int:
    """The data sets that can be trained on by their names: their size, and whether they are here."""
    from tui_trainer.cli import datasets

    found = datasets.rows(pattern, data_dir or gather({}).settings.data_dir)
    if json:
        datasets.show_as_json(found)
    elif found:
        datasets.show(found)
    else:
        known = list(DATASETS)
        hint = did_you_mean(pattern, known)
        print(f"None of the {len(known)} data sets match: {clean(pattern)}.{hint}", file=sys.stderr)
    return 0


def _doctor(*, json: Annotated[bool, _option("One JSON array of what was found.")] = False) -> int:
    """What this machine has: torch, torchvision, devices, data, terminal, disk; and what to do where it lacks."""
    from tui_trainer.cli import doctor

    return doctor.report(gather({}).settings, as_json=json)


def _new(
    folder: Annotated[str, Parameter(help="Where to put it; made when it is not there.")] = ".",
    /,
) -> int:
    """A small project to begin with: a model, a data set and a loss of your own, settings that use them, a README."""
    from tui_trainer.cli import starter

    for path in starter.write(Path(folder)):
        print(f"wrote {clean(path)}")
    print(starter.next_command(folder), file=sys.stderr)
    return 0


def _has_terminal() -> bool:
    """True when a screen could be shown, and nobody reads the output in its place."""
    try:
        need_terminal()
    except UsageError:
        return False
    return bool(sys.stdout and sys.stdout.isatty())


def gather(typed: dict[str, Any], *, config: str | None = None, preset_name: str | None = None) -> Resolved:
    """The settings from files, environment, preset and flags, in the order in which they win.

    Raises:
        SettingsError: every problem in all of them.
    """
    sources, problems = [], []
    files = [user_config_path("tui-trainer") / "settings.toml", Path(CONFIG_NAME)]
    for path in [*(p for p in files if os.path.isfile(p)), *([Path(config)] if config is not None else [])]:
        try:
            sources.append(read_toml(path))
        except SettingsError as error:
            problems += error.problems
    sources.append(read_environment())
    if preset_name is not None:
        try:
            sources.append(preset(preset_name))
        except SettingsError as error:
            problems += error.problems
    sources.append(Source("flag", typed, text=True))
    try:
        resolved = resolve(sources)
    except SettingsError as error:
        raise SettingsError(problems + error.problems) from None
    if problems:
        raise SettingsError(problems)
    return resolved


def need_terminal(instead: str = "Train in plain lines with: tui-trainer --no-ui") -> None:
    """Refuse to open a screen where there is none; Textual would wait for ever. `instead` is what can be done.

    Raises:
        UsageError: standard input or error is not a terminal.
    """
    if not (sys.__stdin__ and sys.__stdin__.isatty() and sys.__stderr__ and sys.__stderr__.isatty()):
        raise UsageError(f"There is no terminal for the screens here. {instead}")
    if os.environ.get("TERM") in ("dumb", "unknown"):
        raise UsageError(f"A terminal of type {clean(os.environ['TERM'])} cannot show the screens. {instead}")


def open_screens(resolved: Resolved, **shown: Any) -> int:
    """The screens, beginning with what `TrainerApp` is told to show; the exit code."""
    from tui_trainer.cli.local_run import local_run
    from tui_trainer.ui.app import TrainerApp
    from tui_trainer.ui.leaving import show

    return show(TrainerApp(resolved, begin=local_run, **shown))


def make_app() -> App:
    """The command line, a flag for every field of the settings."""
    app = App(
        name="tui-trainer",
        version=version("tui-trainer"),
        default_command=_with_settings(_run),
        help_format="plaintext",
        result_action="return_value",
        console=PipeConsole(),
    )
    app.command(_attach, name="attach")
    app.command(_send, name="send")
    app.command(_with_settings(_resume), name="resume")
    app.command(_replay, name="replay")
    app.command(_runs, name="runs")
    app.command(_compare, name="compare")
    app.command(_export, name="export")
    app.command(_predict, name="predict")
    app.command(_models, name="models")
    app.command(_datasets, name="datasets")
    app.command(_doctor, name="doctor")
    app.command(_new, name="new")
    return app


def _metavar(name: str) -> str:
    """The words that a setting can be, or the form of its value."""
    words = choices_of(name)
    return "NAME=VALUE" if name.endswith("_arg") else "NAME" if len(words) > 12 else "|".join(words)


def _with_settings(function: Any) -> Any:
    """`function` with a keyword for each setting in place of `**settings`, grouped as on the form."""
    groups = {name: Group.create_ordered(name.capitalize()) for name in GROUPS}
    own = [p for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_KEYWORD]
    for name, info in FIELDS.items():
        default = as_text(info.default) or "none"
        look = Parameter(
            metavar=_metavar(name) or ("TEXT" if info.annotation in (str, str | None) else "N"),
            help=f"{info.description} [default: {default}]",
            group=groups[group_of(name)],
            allow_leading_hyphen=not is_switch(name),
            show_default=False,
            negative_iterable=(),
        )
        kind = bool | None if is_switch(name) else list[str] | None if name.endswith("_arg") else str | None
        own.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, look])
        )

    def command(*values: Any, **words: Any) -> int:
        words = {n: " ".join(v) if n in FIELDS and isinstance(v, list) else v for n, v in words.items()}
        return function(*values, **words)  # type: ignore[no-any-return]

    command.__doc__ = function.__doc__
    command.__signature__ = inspect.Signature(own, return_annotation=int)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in own}
    return command


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
            problems.append(_no_option(word, command))
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


def _no_option(word: str, command: Any) -> str:
    """The sentence for a word that looks like an option and is none."""
    name = word.lstrip("-").split("=")[0].replace("-", "_").removeprefix("no_")
    hint = nearest(name) or did_you_mean(name, inspect.signature(command).parameters)
    hint = hint.replace("Did you mean ", "Did you mean --").replace("_", "-") if hint else ""
    return f"{clean(word, 80)}: there is no such option.{hint}"


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
        code = 1
        with tempfile.NamedTemporaryFile("w", prefix="tui-trainer-", suffix=".log", delete=False) as log:
            log.write(traceback.format_exc())
        what = f"{type(error).__name__}: {clean(error, 300)}"
        print(f"{what}\nThis is a bug in tui-trainer. The details are in {log.name}.", file=sys.stderr)
    sys.exit(code if isinstance(code, int) else 0)
