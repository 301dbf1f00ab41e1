"""The settings of a command: files, environment, preset and flags put together."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_config_path

from tui_trainer.errors import SettingsError
from tui_trainer.own.admitted import Admitted, admit_again
from tui_trainer.settings.schema import CONFIG_NAME
from tui_trainer.settings.sources import Resolved, Source, preset, read_environment, read_toml, resolve

if TYPE_CHECKING:
    from tui_trainer.run.folder import RunFolder


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


def output_dir_of(output_dir: str | None) -> str:
    """The folder that runs are in: the one that was typed, or that of the settings.

    Raises:
        SettingsError: the files or the environment hold settings that cannot be used.
    """
    return output_dir or gather({}).settings.output_dir


def trust_code_of_run(folder: "RunFolder", trusted: list[str] | None) -> None:
    """Remember the code of a run that the user agrees to; else it must be known already.

    Raises:
        ModelError: it is other code than was agreed to.
    """
    from tui_trainer.run.resume import own_settings
    from tui_trainer.run.state import RunState

    if trusted:
        settings = resolve([own_settings(folder, RunState())]).settings
        admit_again(Admitted.find(settings), trusted, changed=False)
