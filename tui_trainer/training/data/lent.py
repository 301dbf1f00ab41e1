"""Objects of the running script, lent to the run under the places that settings have for them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tui_trainer.own import loading
from tui_trainer.own.loading import Kind, Plugin


class _Named(tuple[Any, ...]):
    """Data sets with the names of their classes."""

    classes: Sequence[str] = ()


def lend(location: str, kind: Kind, value: Any, classes: Sequence[str] | None = None) -> None:
    """Let `own.loading.load` give `value`; `classes` are the names of those of a data set."""
    loading.lend(Plugin(kind, location, Path(), "", factory(kind, value, classes)))


def factory(kind: Kind, value: Any, classes: Sequence[str] | None) -> Callable[..., Any]:
    """What gives `value` when it is called; a class or function that makes one is that itself."""
    if kind == "dataset" and not callable(value):
        if not classes:
            return lambda: value
        named = _Named(value if isinstance(value, tuple | list) else (value,))
        named.classes = tuple(classes)
        return lambda: named
    if (kind == "model" and isinstance(value, nn.Module)) or isinstance(value, torch.optim.Optimizer):
        return lambda *_: value
    return value  # type: ignore[no-any-return]
