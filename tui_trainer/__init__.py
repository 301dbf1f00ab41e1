"""The training cockpit for PyTorch in a terminal."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tui_trainer.script import Outcome, train

__all__ = ["Outcome", "train"]


def __getattr__(name: str) -> Any:
    """`train` and `Outcome`, imported when they are asked for: the program itself needs neither."""
    if name in __all__:
        from tui_trainer import script

        return getattr(script, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
