"""Arguments for a model, data set, loss or optimizer: read from a setting's words, held against what it takes."""

import inspect
import re
import shlex
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from tui_trainer.errors import ModelError, SettingsError, TrainerError
from tui_trainer.own.errors import told
from tui_trainer.text import clean, did_you_mean

_WHOLE = re.compile(r"[+-]?(0|[1-9][0-9]{0,300})", re.ASCII)
_NUMBER = re.compile(r"[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]{1,4})?", re.ASCII | re.IGNORECASE)
_WORDS: dict[str, object] = {"true": True, "false": False, "none": None}
_MOST_SHOWN = 12
"""Names that a message lists."""


def arguments(text: str, flag: str = "--model-arg") -> dict[str, object]:
    """The values in words such as `hidden=512,512 dropout=0.1 name=abc flag=true`, by name.

    Whole numbers, numbers, true, false and none are those; commas make a tuple (`512,` one of a single number); all
    else is text. A text of blanks is quoted, and one that looks like a number twice: `label='"7"'`.

    Raises:
        SettingsError: every word that is not name=value, and every name that is given twice.
    """
    try:
        words = shlex.split(text)
    except ValueError:
        raise SettingsError([f"{flag}: a quotation mark is not closed in {clean(text, 80)}"]) from None
    values: dict[str, object] = {}
    problems = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.isidentifier():
            problems.append(f"{flag}: must be words such as hidden=512,512; found {clean(word, 80)}")
        elif name in values:
            problems.append(f"{flag}: {clean(name, 80)} is given twice")
        else:
            values[name] = _value(value)
    if problems:
        raise SettingsError(problems)
    return values


def _value(word: str) -> object:
    """A word as the number, truth value, tuple or text that it is."""
    if len(word) > 1 and word[0] == word[-1] and word[0] in "'\"":
        return word[1:-1]
    if "," in word:
        return tuple(_value(part) for part in word.removesuffix(",").split(","))
    if _WHOLE.fullmatch(word):
        return int(word)
    if _NUMBER.fullmatch(word):
        number = float(word)
        return number if abs(number) < float("inf") else word
    return _WORDS.get(word.lower(), word)


def call(
    made: Callable[..., Any],
    given: Mapping[str, object],
    typed: Mapping[str, object],
    *,
    shown: str,
    flag: str,
    first: Sequence[object] = (),
    path: Path | None = None,
) -> Any:
    """What `made` gives: called with `first`, with those of the `given` values that it takes, and with all `typed`.

    `shown` is its name in messages, `flag` how its arguments are typed, `path` the file that it is from.

    Raises:
        ModelError: what it needs is missing, what was typed it does not take or not so, or it failed; all problems
            of its arguments at once.
    """
    shown = clean(shown, 80)
    leading, values = bind(made, given, typed, shown=shown, flag=flag, first=len(first))
    return run(lambda: made(*first, *leading, **values), shown, path)


def bind(
    made: Callable[..., Any],
    given: Mapping[str, object],
    typed: Mapping[str, object],
    *,
    shown: str,
    flag: str,
    first: int = 0,
) -> tuple[list[object], dict[str, object]]:
    """The values that `made` takes behind its `first` positional ones: by position where it must be so, and by name.

    Raises:
        ModelError: a value is missing, unknown or of the wrong type; all problems at once.
    """
    shown, signature = clean(shown, 80), signature_of(made)
    if signature is None:  # some functions written in C do not say what they take
        return [], dict(typed)
    takes = _takes(signature, first)
    anything = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    problems, values = [], {name: value for name, value in given.items() if name in takes}
    for name, value in typed.items():
        parameter = takes.get(name)
        if parameter is None and not anything:
            hint = did_you_mean(name, takes)
            problems.append(f"{shown}(): takes no {name!r}.{hint} {_listed(takes)}")
        elif parameter is not None:
            values[name], wanted = fitted(value, parameter)
            if wanted:
                problems.append(f"{shown}(): {name!r} must be {wanted}, found {_shown(value)}.")
        else:
            values[name] = value
    for name, parameter in takes.items():
        if parameter.default is parameter.empty and name not in values and name not in typed:
            problems.append(f"{shown}(): needs {name!r}; settings give none. Type: {flag} {name}=...")
    if problems:
        raise ModelError("\n".join(problems))
    leading = [values.pop(name) for name, p in takes.items() if p.kind is p.POSITIONAL_ONLY and name in values]
    return leading, values


def run(function: Callable[[], Any], shown: str, path: Path | None) -> Any:
    """What the user's code gives.

    Raises:
        ModelError: it failed; the message has the line.
    """
    try:
        return function()
    except (KeyboardInterrupt, TrainerError):
        raise
    except BaseException as error:
        raise ModelError(f"{shown}(): {told(error, path)}") from error


def signature_of(made: Callable[..., Any]) -> inspect.Signature | None:
    """What `made` takes, with types instead of their names where these can be found; None when it does not say."""
    for by_value in (True, False):
        try:
            return inspect.signature(made, eval_str=by_value)
        except KeyboardInterrupt:
            raise
        except BaseException:  # an annotation is code of the user, too
            continue
    return None


def needed(made: Callable[..., Any], offered: Mapping[str, object]) -> int:
    """How many arguments `made` must get by position beside those that are `offered` by name."""
    signature = signature_of(made)
    if signature is None:
        return 0
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [p for p in signature.parameters.values() if p.kind in kinds and p.default is p.empty]
    return len([p for p in required if p.name not in offered])


def _takes(signature: inspect.Signature, first: int) -> dict[str, inspect.Parameter]:
    """The parameters that can be given by name, less the `first` ones, which get their values by position."""
    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = list(signature.parameters.values())
    taken = [p.name for p in parameters if p.kind in by_position][:first]
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {p.name: p for p in parameters if p.kind not in several and p.name not in taken}


def _listed(takes: Mapping[str, object]) -> str:
    names = ", ".join(clean(name, 60) for name in list(takes)[:_MOST_SHOWN])
    more = f" and {len(takes) - _MOST_SHOWN} more" if len(takes) > _MOST_SHOWN else ""
    return f"It takes: {names}{more}." if takes else "It takes nothing."


def _as_typed(value: object) -> str:
    """A value as one types it."""
    if isinstance(value, tuple):
        return ",".join(_as_typed(part) for part in value)
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


def _shown(value: object) -> str:
    """A value in a message."""
    return clean(repr(value) if isinstance(value, str) else _as_typed(value), 80)


def fitted(value: object, parameter: inspect.Parameter) -> tuple[object, str]:
    """`value` in the type that the parameter is annotated with or has as its default, and what it must be if not so.

    A single number will do for a tuple, and a number for a text.
    """
    kind, default = parameter.annotation, parameter.default
    if kind not in (parameter.empty, Any, object):
        return _fitted(value, kind)
    if default is parameter.empty or default is None or value is None:
        return value, "" if value is not None or default is None or default is parameter.empty else "a value"
    if isinstance(default, bool):
        return _fitted(value, bool)
    if isinstance(default, (int, float)):
        return _fitted(value, int if isinstance(default, int) and isinstance(value, int) else float)
    if isinstance(default, (tuple, list)):
        return _fitted(value, type(default))
    return _fitted(value, str) if isinstance(default, str) else (value, "")


_PLAIN: dict[object, tuple[str, Callable[[object], bool]]] = {
    bool: ("true or false", lambda value: isinstance(value, bool)),
    int: ("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool)),
    float: ("a number", lambda value: isinstance(value, (int, float)) and not isinstance(value, bool)),
    type(None): ("none", lambda value: value is None),
    None: ("none", lambda value: value is None),
}
"""A type: what it is called, and whether a value is of it."""


def _fitted(value: object, kind: Any) -> tuple[object, str]:
    """`value` as `kind`, and what it must be when it cannot. What is annotated otherwise is left to the code itself."""
    if kind in (float, int) and _PLAIN[kind][1](value):
        return kind(value), ""
    if isinstance(kind, type) or kind is None:
        if kind in _PLAIN:
            return value, "" if _PLAIN[kind][1](value) else _PLAIN[kind][0]
        if kind is str:
            return (value, "") if isinstance(value, str) else (_as_typed(value), "")
    origin, members = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, types.UnionType):
        return _of_any(value, members)
    if origin is Literal:
        words = ", ".join(_shown(member) for member in members)
        return value, "" if value in members else f"one of {words}"
    if origin in (tuple, list, Sequence):
        return _several(value, list if origin is list else tuple, members)
    return value, ""


def _of_any(value: object, members: tuple[Any, ...]) -> tuple[object, str]:
    """`value` as the first of the types that takes it as it is, text last: text takes everything."""
    wanted = []
    for member in sorted(members, key=lambda member: member is str):
        result, problem = _fitted(value, member)
        if not problem:
            return result, ""
        wanted.append(problem)
    return value, " or ".join(wanted)


def _several(value: object, kind: type, members: tuple[Any, ...]) -> tuple[object, str]:
    """`value` as a tuple or list of `members`, a single one as one of length 1."""
    parts = value if isinstance(value, tuple) else (value,)
    each = members[0] if members else None
    if len(members) > 1 and members[1] is not ...:
        if len(parts) != len(members):
            return value, f"{len(members)} values with commas between"
        done = [_fitted(part, member) for part, member in zip(parts, members, strict=True)]
    elif each is not None:
        done = [_fitted(part, each) for part in parts]
    else:
        done = [(part, "numbers with commas between" if isinstance(part, str) else "") for part in parts]
    if wrong := next((problem for _, problem in done if problem), ""):
        return value, wrong if members == () else f"values with commas between, each {wrong}"
    return kind(part for part, _ in done), ""
