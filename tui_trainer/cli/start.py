"""`tui-trainer` and `tui-trainer resume`: a run on a screen, as lines, or in the background."""

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from tui_trainer.cli import screens
from tui_trainer.cli.gather import gather, output_dir_of
from tui_trainer.cli.options import RUN, TrustPlugin, option
from tui_trainer.errors import FolderError, UsageError
from tui_trainer.own.admitted import Admitted, admit
from tui_trainer.settings.schema import PRESETS, Settings
from tui_trainer.settings.sources import Resolved
from tui_trainer.settings.writing import to_toml
from tui_trainer.text import clean

if TYPE_CHECKING:
    from tui_trainer.run.resume import Carried


def start_command(
    *,
    start: Annotated[bool, option("Skip the form: straight to the run screen.")] = False,
    no_ui: Annotated[bool, option("The same run as plain lines.")] = False,
    json: Annotated[bool, option("With --no-ui: one JSON event a line on stdout, talk on stderr.")] = False,
    detach: Annotated[
        bool, option("The same run in the background; prints its folder and gives the shell back.")
    ] = False,
    preset: Annotated[
        str | None, option(f"Settings under a name: {', '.join(PRESETS)}. Flags that are typed beside it win.")
    ] = None,
    config: Annotated[str | None, option("Settings from a TOML file; the run.toml of a run will do.")] = None,
    print_config: Annotated[bool, option("Print the settings as a TOML file and end.")] = False,
    trust_plugin: TrustPlugin = None,
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
    code = None
    if detach or no_ui or start:
        located, code = admit(resolved.settings, resolved.origins, trust_plugin or ())
        resolved = replace(resolved, settings=located)
    if detach:
        return start_in_background(resolved.settings, code)
    if no_ui:
        from tui_trainer.cli import headless
        from tui_trainer.cli.local_run import local_run

        return headless.watch(local_run(resolved.settings, code=code), json=json)
    if start:
        from tui_trainer.run.waiting import Waiting

        Waiting(resolved.settings)  # before there is a screen: what it should wait for may not be there
    screens.need_terminal()

    untouched = not typed and preset is None and config is None
    return screens.open_screens(resolved, start=start, code=code, preset=preset, runs=untouched)


def resume_command(
    run: Annotated[str, Parameter(help=RUN)] = "last",
    /,
    *,
    no_ui: Annotated[bool, option("Plain lines instead of the run screen.")] = False,
    json: Annotated[bool, option("With --no-ui: one JSON event a line on stdout, talk on stderr.")] = False,
    detach: Annotated[bool, option("In the background; gives the shell back.")] = False,
    preview: Annotated[bool, option("Only show what would be restored, kept and changed.")] = False,
    allow_data_change: Annotated[
        bool, option("Carry on though the examples are not those that the run has learned from.")
    ] = False,
    allow_plugin_change: Annotated[bool, option("Carry on though your own code is other than it was.")] = False,
    trust_plugin: TrustPlugin = None,
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
    found = folder.find(run, output_dir_of(settings.get("output_dir")))
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
        return start_in_background(carried.settings, carried.code, carried)
    run_ = local_run(carried.settings, carried)
    if no_ui:
        from tui_trainer.cli import headless

        return headless.watch(run_, json=json)
    screens.need_terminal()

    return screens.open_screens(Resolved(carried.settings), carried=carried)


def start_in_background(settings: Settings, code: Admitted | None, carried: "Carried | None" = None) -> int:
    """Start a process that trains by itself, or carries a run on, and say where; the exit code.

    `code` is the user's own that was admitted.

    Raises:
        FolderError, LockedError: there is no folder to run in.
    """
    from tui_trainer.run import background
    from tui_trainer.run.folder import RunFolder
    from tui_trainer.run.waiting import Waiting

    if carried is None:
        settings = Waiting(settings).settings
    folder = carried.folder if carried else RunFolder.create(settings)
    with folder.lock.hold() as held:
        folder.journal.touch(mode=0o600)  # from here on it can be found
        try:
            background.start(background.Orders.of(folder, held.fd, settings, carried, code=code))
        except OSError as error:
            raise FolderError(f"No process in the background can be started: {error.strerror}.") from None
        held.handed_over = True
    print(clean(folder.path))
    print(f"Watch and steer it with: tui-trainer attach {clean(folder.path.name)}", file=sys.stderr)
    return 0
