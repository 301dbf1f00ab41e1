"""How settings name code of the user's own, `path/file.py:Name`, and objects of a running script."""

import re
from pathlib import PurePath

OWN = ("dataset", "model", "loss", "optimizer", "augment")
"""The settings that can also name code of the user's own."""

_PLACE = re.compile(r"(?!folder:|table:)([^\0]+\.py|[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def is_place(value: str) -> bool:
    """True for code of the user's own: `path/file.py:Name` or `package.module:Name`."""
    return _PLACE.fullmatch(value) is not None


SCRIPT = "script"
"""What stands for the module in the place of an object that a running script has passed in: `script:Net`."""


def is_lent(value: str) -> bool:
    """True for an object of a running script, which exists in its process only."""
    return value.startswith(f"{SCRIPT}:")


def short(value: str) -> str:
    """The name of a part for people, without the way to it: `Net`, `pets`, `houses`."""
    if value.startswith(("folder:", "table:")):
        return PurePath(value.partition(":")[2]).stem or value
    return value.rpartition(":")[2] if is_place(value) else value
