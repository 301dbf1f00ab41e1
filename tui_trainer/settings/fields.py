"""What the fields of the settings are made of: words on the form, and values that need more than a type."""

import re
import shlex
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import urlsplit, urlunsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from tui_trainer.catalog import DATASETS, names_in, own_models
from tui_trainer.catalog.zoo import ZOO
from tui_trainer.settings.places import OWN, is_place
from tui_trainer.text import clean, did_you_mean


class Group(BaseModel):
    """Fields that stand together on the form and in `--help`. Frozen: a run keeps the settings it began with."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def setting(
    default: Any, group: str, label: str, help: str, *, simple: bool = False, fixed: str = "", **limits: Any
) -> Any:
    """A field with its default, its place and words on the form, and its limits.

    `fixed` says why it cannot change when a run is carried on.
    """
    extra: dict[str, Any] = {"group": group, "simple": simple, "fixed": fixed}
    return Field(default, title=label, description=help, json_schema_extra=extra, **limits)


def duration(value: object) -> object:
    """Seconds from `90`, `90s`, `15m`, `2h`, `1:30:00`; anything else is left for pydantic to refuse."""
    if not isinstance(value, str):
        return value
    if match := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh]?)\s*", value):
        return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]
    if match := re.fullmatch(r"\s*(?:(\d{1,4}):)?(\d{1,3}):(\d{2})\s*", value):
        return float(int(match[1] or 0) * 3600 + int(match[2]) * 60 + int(match[3]))
    return value


def auto(value: object) -> object:
    """0, which leaves the choice to the program, from `auto`; anything else is left for pydantic to judge."""
    return 0 if isinstance(value, str) and value.strip().lower() == "auto" else value


_UNITS = {f"{letter}{i}B": base**n for n, letter in enumerate("kMGT", 1) for i, base in (("", 1000), ("i", 1024))}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?b)\s*", re.IGNORECASE | re.ASCII)


def size(value: object) -> object:
    """A size as it is written, `10GiB`, from ` 10 gib`; anything else is left for pydantic to refuse."""
    if value == 0 and type(value) is int:
        return "0"
    if not isinstance(value, str) or not (match := _SIZE.fullmatch(value)):
        return value
    unit = next(unit for unit in _UNITS if unit.lower() == match[2].lower())
    return f"{match[1]}{unit}" if float(match[1]) else "0"


def bytes_of(size: str) -> int:
    """The bytes of a setting such as `10GiB`; 0 for `0`."""
    match = _SIZE.fullmatch(size)
    return round(float(match[1]) * _UNITS[match[2]]) if match else 0


def address(value: str | None) -> str | None:
    """A web address that can be posted to, as it was given.

    Raises:
        ValueError: it is none; the message does not repeat it, because it may hold a password.
    """
    if value is None:
        return None
    try:
        parts = urlsplit(value)
        whole = re.fullmatch(r"[!-~]{1,2000}", value) and not set('"<>\\^`{|}') & set(value)
        host = re.fullmatch(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+", parts.hostname or "")
        good = whole and host and parts.scheme in ("http", "https") and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ValueError("must be an http:// or https:// address, such as https://ntfy.sh/my-topic")
    return value


def without_password(address: str) -> str:
    """An address without user, password and query."""
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


NAMES: dict[str, Callable[[], tuple[str, ...]]] = {
    "dataset": lambda: tuple(DATASETS),
    "model": lambda: (*own_models(), *ZOO),
    "task": lambda: ("auto", *names_in("training/tasks")),
    "loss": lambda: ("cross_entropy", "mse", "bce", "l1", "kl_div", "huber"),
    "optimizer": lambda: ("sgd", "adagrad", "rmsprop", "adam", "adamw"),
    "augment": lambda: (
        *("none", "flip", "crop", "flip_crop"),
        *("rand_augment", "trivial_augment", "auto_augment"),
    ),
}
"""The words of the settings that name a part of the run, each a part that the program has."""


def part_of_run(setting: str) -> AfterValidator:
    """What judges the name of a part of the run."""

    def judge(value: str) -> str:
        if value in NAMES[setting]() or (setting in OWN and is_place(value)):
            return value
        if setting == "dataset" and value.startswith(("folder:", "table:")) and value.partition(":")[2]:
            return value
        raise ValueError(no_such_part(setting, value))

    return AfterValidator(judge)


def no_such_part(setting: str, value: object) -> str:
    """What a setting that names a part of the run can be, as the rest of a sentence that began with its name."""
    words = NAMES[setting]()
    few = len(words) < 12
    own = ", folder:PATH, table:FILE" if setting == "dataset" else ""
    own += ", or FILE.py:NAME of your own" if setting in OWN else ""
    what = f"must be one of {', '.join(words) if few else f'the {len(words)} names on the form'}{own}"
    return f"{what}; found {clean(repr(value), 60)}.{did_you_mean(value, words) if isinstance(value, str) else ''}"


def joined_words(value: object) -> object:
    """Several words as one text; a setting that may be given more than once comes as a list."""
    return (
        " ".join(value) if isinstance(value, list) and value and all(isinstance(w, str) and w for w in value) else value
    )


def name_value_words(value: str) -> str:
    """Words that each set an argument, with one blank between them.

    Raises:
        ValueError: one of them does not, or a quote is left open.
    """
    try:
        words = shlex.split(value)
    except ValueError:
        words = ["?"]
    if not all(re.match(r"[A-Za-z_]\w*=", word) for word in words):
        raise ValueError(f"must be name=value words, such as hidden=512,512; found {clean(repr(value), 60)}")
    return value


Arguments = Annotated[
    str,
    BeforeValidator(joined_words),
    StringConstraints(max_length=4000, strip_whitespace=True),
    AfterValidator(name_value_words),
]
"""Arguments of a part of the run, `name=value` words: `hidden=512,512 dropout=0.1`."""


def monitored_score(value: str) -> str:
    """What is monitored, a score of the validation; whether the task measures it is known when it is there.

    Raises:
        ValueError: it does not name a score.
    """
    if not re.fullmatch(r"valid_[a-z][a-z0-9_]{0,60}", value):
        raise ValueError(
            f"must be valid_ and what is measured, such as valid_loss, valid_accuracy or valid_mae; found "
            f"{clean(repr(value), 60)}"
        )
    return value
