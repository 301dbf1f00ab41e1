"""Events as lines of JSON, for events.jsonl and `--no-ui --json`: rounded, written, and read with their types."""

import dataclasses
import itertools
import json
import math
import types
from collections.abc import Callable
from typing import Any, Union, get_args, get_origin, get_type_hints

from tui_trainer.run.events import Event

KINDS: dict[str, type[Event]] = {kind.__name__: kind for kind in Event.__subclasses__()}

_DECIMALS = {"at": 3, "elapsed": 3, "seconds": 4, "data_wait": 3}
_DIGITS = {"lr": 7, "grad_norm": 5, "examples_per_second": 5}
_MEASURED = ("loss", "train_loss", "accuracy", "scores", "labels", "best_loss", "best_accuracy", "best_scores")
"""Fields of what was measured, in float32: nine digits tell each of its values from every other."""


def rounded(event: Event) -> Event:
    """The event without digits that its clocks and meters do not have: they are a quarter of a long journal.

    Times are kept to the millisecond or better, losses and scores as exactly as float32 has them.
    """
    shorter = {}
    for name in event.__dataclass_fields__:
        value = getattr(event, name)
        if name in _MEASURED:
            shorter[name] = _to_digits(value, 9)
        elif name in _DIGITS:
            shorter[name] = _to_digits(value, _DIGITS[name])
        elif name in _DECIMALS and isinstance(value, float):
            shorter[name] = round(value, _DECIMALS[name])
    return dataclasses.replace(event, **shorter)


def _to_digits(value: Any, digits: int) -> Any:
    """`value` with so many significant digits in every float that it holds."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, dict):
        return {key: _to_digits(item, digits) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_to_digits(item, digits) for item in value)
    return value


def to_json(event: Event) -> str:
    """One line, without its line end and without blanks. What is not finite becomes null.

    A field that may be empty and is (null, 0, "", [] or {}) is left out: half of a measurement's fields are for tasks
    that it is not of.
    """
    values: dict[str, Any] = {"event": type(event).__name__}
    empty = _EMPTY[type(event)]
    for name in event.__dataclass_fields__:
        value = getattr(event, name)
        if name not in empty or value != empty[name]:
            values[name] = value
    try:
        return json.dumps(values, allow_nan=False, separators=(",", ":"))
    except ValueError:
        return json.dumps(_finite(values), allow_nan=False, separators=(",", ":"))


def _finite(value: Any) -> Any:
    """`value` with every number that JSON cannot hold as None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def from_json(line: str | bytes) -> Event | None:
    """The event in a line, or None when a newer program wrote a kind this one does not know.

    Raises:
        ValueError: the line is not an event: torn, not JSON, or with fields missing or of the wrong type.
    """
    text = (line if isinstance(line, str) else line.decode()).strip()
    try:
        values, end = _decode(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if end != len(text) or not isinstance(values, dict):
        raise ValueError("not one JSON object")
    kind = KINDS.get(str(values.get("event")))
    if kind is None:
        return None
    event = object.__new__(kind)
    try:
        for name, plain, typed, put in _FIELDS[kind]:
            try:
                value = values[name]
            except KeyError:
                put(event, _DEFAULTS[kind][name]())
            else:
                put(event, value if type(value) is plain else typed(value))
    except KeyError as error:
        raise ValueError(f"{kind.__name__}: {error} is missing") from None
    except (TypeError, OverflowError) as error:
        raise ValueError(f"{kind.__name__}: {error}") from None
    return event


_decode = json.JSONDecoder().raw_decode
_Typed = Callable[[Any], Any]


def _typed(hint: Any) -> _Typed:
    """What turns a JSON value into a field's type: lists become tuples, and null becomes NaN where a float must be.

    Made once for each field, not for each value: a journal of 100,000 events has a million of them.
    """
    arms = get_args(hint)
    if get_origin(hint) in (Union, types.UnionType):
        inner = _typed(next(arm for arm in arms if arm is not type(None)))
        return lambda value: None if value is None else inner(value)
    if get_origin(hint) is tuple:
        return _items(arms[0]) if arms[1:] == (...,) else _each(arms)
    if get_origin(hint) is dict and arms[1] is float:
        return _numbers
    wanted = get_origin(hint) or hint

    def plain(value: Any) -> Any:
        if wanted is float:
            if value is None:
                return math.nan
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return float(value)
        elif isinstance(value, wanted) and not (wanted is int and isinstance(value, bool)):
            return value
        raise ValueError(f"expected {wanted.__name__}, found {type(value).__name__}")

    return plain


def _numbers(value: Any) -> dict[str, float]:
    """Of a dict of numbers: those that are numbers. What is null was not finite, and is left out."""
    if not isinstance(value, dict):
        raise ValueError(f"expected a dict, found {type(value).__name__}")
    return {str(k): float(v) for k, v in value.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}


def _items(hint: Any) -> _Typed:
    """For a list of any length, its items all alike."""
    typed = _typed(hint)

    def items(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise ValueError(f"expected a list, found {type(value).__name__}")
        if set(map(type, value)) == {hint}:
            return tuple(value)
        return tuple(map(typed, value))

    return items


def _each(hints: tuple[Any, ...]) -> _Typed:
    """For a list of so many items, each of a type of its own."""
    typed = [_typed(hint) for hint in hints]

    def each(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise ValueError(f"expected a list, found {type(value).__name__}")
        if len(value) != len(typed):
            raise ValueError(f"expected {len(typed)} items, found {len(value)}")
        return tuple(turn(item) for turn, item in zip(typed, value, strict=True))

    return each


def _plain(hint: Any) -> Any:
    """The type whose values need nothing done. No JSON value has that of a tuple."""
    if get_origin(hint) in (Union, types.UnionType):
        return next(_plain(arm) for arm in get_args(hint) if arm is not type(None))
    if get_origin(hint) is dict and get_args(hint)[1] is float:
        return None  # each of its values is looked at
    return get_origin(hint) or hint


def _defaults(kind: type[Event]) -> dict[str, Callable[[], Any]]:
    """Where the fields that a line may lack get their values from."""
    found: dict[str, Callable[[], Any]] = {}
    for known in dataclasses.fields(kind):
        if known.default_factory is not dataclasses.MISSING:
            found[known.name] = known.default_factory
        elif known.default is not dataclasses.MISSING:
            found[known.name] = itertools.repeat(known.default).__next__
    return found


def _empty(kind: type[Event]) -> dict[str, Any]:
    """The fields that are empty unless something is said, with what they then are."""
    found = {name: default() for name, default in _DEFAULTS[kind].items() if name != "at"}
    return {name: value for name, value in found.items() if not value}


_FIELDS: dict[type[Event], list[tuple[str, Any, _Typed, Callable[[Event, Any], None]]]] = {
    # each value goes straight into its slot: the `__init__` of a frozen class is a quarter of the reading
    kind: [
        (name, _plain(hint), _typed(hint), getattr(kind, name).__set__) for name, hint in get_type_hints(kind).items()
    ]
    for kind in KINDS.values()
}
_DEFAULTS = {kind: _defaults(kind) for kind in KINDS.values()}
"""A default is what a line says by saying nothing, and so it never changes."""
_EMPTY = {kind: _empty(kind) for kind in KINDS.values()}
