"""Parameters that several commands share, and the flags made from the fields of the settings."""

import inspect
from typing import Annotated, Any

from cyclopts import Group, Parameter

from tui_trainer.settings.schema import FIELDS, GROUPS, choices_of, group_of, is_switch, nearest
from tui_trainer.settings.writing import as_text
from tui_trainer.text import clean, did_you_mean

HOW_TO_RUN = Group.create_ordered("How to run")

RUN = "A run's folder, its name, the beginning of its name, or `last`."


def option(help: str, **more: Any) -> Parameter:
    """A flag in the group of how to run, without a `--no-` form."""
    return Parameter(help=help, negative="", group=HOW_TO_RUN, show_default=False, **more)


TrustPlugin = Annotated[
    list[str] | None,
    option("SHA-256 of code of your own that a settings file names, 12 digits or more: it may run.", metavar="SHA"),
]
OutputDir = Annotated[str | None, option("Where runs are looked for [default: the setting output_dir].")]


def with_settings(function: Any) -> Any:
    """`function` with a keyword for each setting in place of `**settings`, grouped as on the form."""
    groups = {name: Group.create_ordered(name.capitalize()) for name in GROUPS}
    own = [p for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_KEYWORD]
    for name, info in FIELDS.items():
        default = as_text(info.default) or "none"
        flag = Parameter(
            metavar=_metavar(name) or ("TEXT" if info.annotation in (str, str | None) else "N"),
            help=f"{info.description} [default: {default}]",
            group=groups[group_of(name)],
            allow_leading_hyphen=not is_switch(name),
            show_default=False,
            negative_iterable=(),
        )
        kind = bool | None if is_switch(name) else list[str] | None if name.endswith("_arg") else str | None
        own.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, flag])
        )

    def command(*values: Any, **words: Any) -> int:
        words = {n: " ".join(v) if n in FIELDS and isinstance(v, list) else v for n, v in words.items()}
        return function(*values, **words)  # type: ignore[no-any-return]

    command.__doc__ = function.__doc__
    command.__signature__ = inspect.Signature(own, return_annotation=int)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in own}
    return command


def _metavar(name: str) -> str:
    """The words that a setting can be, or the form of its value."""
    words = choices_of(name)
    return "NAME=VALUE" if name.endswith("_arg") else "NAME" if len(words) > 12 else "|".join(words)


def no_such_option(word: str, command: Any) -> str:
    """The sentence for a word that looks like an option and is none."""
    name = word.lstrip("-").split("=")[0].replace("-", "_").removeprefix("no_")
    hint = nearest(name) or did_you_mean(name, inspect.signature(command).parameters)
    hint = hint.replace("Did you mean ", "Did you mean --").replace("_", "-") if hint else ""
    return f"{clean(word, 80)}: there is no such option.{hint}"
