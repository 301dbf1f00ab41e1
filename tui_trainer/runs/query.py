"""Filters and sorts runs by words: `state:finished model:cnn lr<0.01 accuracy>90%`."""

import re
import shlex
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from tui_trainer.errors import UsageError
from tui_trainer.run.events import Score
from tui_trainer.run.scores import KNOWN
from tui_trainer.runs.listing import LIVE, STATES, Summary
from tui_trainer.settings.schema import FIELDS, is_duration
from tui_trainer.settings.writing import as_text
from tui_trainer.text import clean, did_you_mean

Test = Callable[[Summary], bool]

_WORD = re.compile(r"(?P<no>[-!]?)(?P<name>[A-Za-z_][\w-]*)(?P<sign>:|<=|>=|!=|<|>|=)(?P<value>.*)", re.DOTALL)
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_TIMES = ("age", "time")
_SIGNS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}

FACTS: Mapping[str, Callable[[Summary], Any]] = {
    "state": lambda run: run.state,
    "name": lambda run: run.path.name,
    "data": lambda run: run.dataset,
    "score": lambda run: run.result,
    "loss": lambda run: run.best_loss,
    "best": lambda run: run.best_epoch,
    "test": lambda run: run.tested(run.main.name),
    "epoch": lambda run: run.epoch,
    "step": lambda run: run.step,
    "parameters": lambda run: run.parameters or None,
    "age": lambda run: max(0.0, time.time() - run.started),
    "time": lambda run: run.seconds,
}
"""What can be asked beside the settings and the scores: `loss` and `score` are those of the best validation."""

_WORDS_OF_FACTS = ("state", "name", "data")

HELP = "state:live  model:cnn  data:mini  lr<0.01  accuracy>90%  loss<0.3  age<2d  -name:test  or a part of the name"
"""Examples for whoever has not typed anything yet."""


def parse(words: str | Iterable[str], measured: Collection[str] = KNOWN) -> Test:
    """What holds for the runs that are meant: every word must. `measured` are the scores that can be asked for.

    Raises:
        UsageError: a word that means nothing, with the one that may have been meant.
    """
    tests = [_test(word, measured) for word in (_split(words) if isinstance(words, str) else words) if word.strip()]
    return lambda run: all(test(run) for test in tests)


def understood(text: str, measured: Collection[str] = KNOWN) -> tuple[Test, str]:
    """What is meant by those words that mean something, and what is wrong with the first that does not."""
    tests, problem = [], ""
    for word in _split(text):
        try:
            tests.append(parse([word], measured))
        except UsageError as error:
            problem = problem or str(error)
    return lambda run: all(test(run) for test in tests), problem


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # a quotation mark without its second one
        return text.split()


def _test(word: str, measured: Collection[str]) -> Test:
    match = _WORD.fullmatch(word.strip())
    if match is None:
        no, part = word.startswith(("-", "!")), word.lstrip("-!").casefold()
        if not part:
            raise UsageError(f"{clean(word, 40)!r} means nothing. Words are like {HELP}.")
        return lambda run: (part in run.path.name.casefold()) != no
    no, name, sign, value = bool(match["no"]), match["name"].replace("-", "_"), match["sign"], match["value"]
    given = f"{clean(name, 40)}{sign}{clean(value, 40)}"
    if not value:
        raise UsageError(f"{given}: what to compare with is missing, as in {_example(name, measured)}.")
    fact = _fact(name, given, measured)
    if name == "state":
        test = _state(sign, value, given)
    elif _is_number(name):
        wanted = _number(name, value, given)
        compare = _SIGNS["=" if sign == ":" else sign]
        test = lambda run: _holds(compare, fact(run), wanted)  # noqa: E731
    elif name in FIELDS and FIELDS[name].annotation is bool:
        test = _switch(fact, sign, value, given)
    else:
        test = _text(fact, sign, value, given)
    return (lambda run: not test(run)) if no else test


def _fact(name: str, given: str, measured: Collection[str]) -> Callable[[Summary], Any]:
    """What a name asks for."""
    if name in FACTS:
        return FACTS[name]
    if name in FIELDS:
        return lambda run: run.settings.get(name)
    if name in measured:
        return lambda run: run.best(name)
    raise UsageError(f"{given}: runs have no {clean(name, 40)}.{did_you_mean(name, [*FACTS, *FIELDS, *measured])}")


def _is_number(name: str) -> bool:
    if name in FACTS or name not in FIELDS:
        return name not in _WORDS_OF_FACTS
    annotation = str(FIELDS[name].annotation)
    return "int" in annotation or "float" in annotation


def _example(name: str, measured: Collection[str]) -> str:
    if name in ("accuracy", "score", "test"):
        return f"{name}>90%"
    if name in measured:
        return f"{clean(name, 40)}>0.5"
    if name in _TIMES:
        return f"{name}<2d"
    if name in FACTS or name in FIELDS:
        return f"{clean(name, 40)}{'<10' if _is_number(name) else ':word'}"
    return "lr<0.01"


def _number(name: str, value: str, given: str) -> float:
    """A number, a percentage, or a time in seconds."""
    takes_time = name in _TIMES or (name in FIELDS and is_duration(name))
    text = value.strip().replace(",", "")
    match = re.fullmatch(r"([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*([smhdw%]?)", text)
    try:
        number = float(match[1]) if match else float(text)
    except ValueError:
        number = float("nan")
    unit = match[2] if match else ""
    if number != number or (unit == "%" and takes_time) or (unit not in ("", "%") and not takes_time):
        wanted = "a time such as 90s, 15m, 2h or 3d" if takes_time else "a number"
        raise UsageError(f"{given}: must be compared with {wanted}.")
    return number / 100 if unit == "%" else number * _UNITS[unit]


def _holds(compare: Callable[[Any, Any], bool], found: object, wanted: float) -> bool:
    """A run without the number is neither below nor above it."""
    return isinstance(found, (int, float)) and not isinstance(found, bool) and compare(found, wanted)


def _state(sign: str, value: str, given: str) -> Test:
    if sign not in (":", "=", "!="):
        raise UsageError(f"{given}: a state is neither less nor more; type state:{clean(value, 40)}.")
    word = value.casefold().replace(" ", "_").replace("-", "_")
    groups = {"live": LIVE, "over": tuple(state for state in STATES if state not in LIVE)}
    wanted = groups.get(word, (word,))
    if not set(wanted) & set(STATES):
        known = [*groups, *STATES]
        raise UsageError(f"{given}: must be one of {', '.join(known)}.{did_you_mean(word, known)}")
    return lambda run: (run.state in wanted) != (sign == "!=")


def _switch(fact: Callable[[Summary], Any], sign: str, value: str, given: str) -> Test:
    known = {"on": True, "true": True, "off": False, "false": False}
    if sign not in (":", "=", "!=") or value.casefold() not in known:
        name = given.partition(sign)[0]
        raise UsageError(f"{given}: is on or off; type {name}:on or {name}:off.")
    wanted = known[value.casefold()] != (sign == "!=")
    return lambda run: fact(run) is wanted


def _text(fact: Callable[[Summary], Any], sign: str, value: str, given: str) -> Test:
    """`:` looks for a part, `=` for the whole."""
    part = value.casefold()
    if sign in ("<", "<=", ">", ">="):
        name = given.partition(sign)[0]
        raise UsageError(
            f"{given}: {name} is a word, neither less nor more; type {name}:{clean(value.strip('='), 40)}."
        )
    if sign == ":":
        return lambda run: part in as_text(fact(run)).casefold()
    return lambda run: (as_text(fact(run)).casefold() == part) != (sign == "!=")


SORTS: Mapping[str, Callable[[Summary], Any]] = {
    "age": lambda run: -run.started,
    "score": lambda run: _of_score(run, run.main),
    "loss": lambda run: run.best_loss,
    "name": lambda run: run.name.casefold(),
    "state": lambda run: STATES.index(run.state) if run.state in STATES else len(STATES),
    "lr": lambda run: run.lr,
}
"""Orders by name: the newest, the best, the first in the alphabet, those under way, the smallest rate come first."""


def measured_in(runs: Iterable[Summary]) -> tuple[str, ...]:
    """The names of scores that can be asked for: the well-known ones, and those that these runs have measured."""
    return tuple(dict.fromkeys([*KNOWN, *(clean(score.name, 40) for run in runs for score in run.scores)]))


def _of_score(run: Summary, score: Score) -> tuple[str, float] | None:
    """The place of a run by a score: the best first. Different scores are not compared: one comes after the other."""
    value = run.best(score.name)
    return None if value is None else (score.name, value if score.better == "lower" else -value)


def _order(sort: str, measured: Collection[str]) -> Callable[[Summary], Any]:
    """What runs are put in order by.

    Raises:
        UsageError: there is no such order.
    """
    if sort in SORTS:
        return SORTS[sort]
    name = sort.replace("-", "_")
    if name not in measured:
        known = ", ".join(SORTS)
        hint = did_you_mean(sort, [*SORTS, *measured])
        raise UsageError(f"--sort: must be one of {known}, or a score; found {clean(repr(sort), 40)}.{hint}")

    def place(run: Summary) -> tuple[str, float] | None:
        return next((_of_score(run, score) for score in run.scores if score.name == name), None)

    return place


def ordered(runs: Iterable[Summary], sort: str = "age", measured: Collection[str] = KNOWN) -> list[Summary]:
    """Runs in an order; those that lack what it goes by come last, and newer ones first where nothing else decides.

    Raises:
        UsageError: there is no such order.
    """
    key = _order(sort, measured)

    def place(run: Summary) -> tuple[bool, Any, float]:
        value = key(run)
        return value is None, 0 if value is None else value, -run.started

    return sorted(runs, key=place)
