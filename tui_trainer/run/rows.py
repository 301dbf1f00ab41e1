"""Rows of the tables that a `RunState` keeps: epochs, checkpoints, the log."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EpochRow:
    """One line of the epoch table."""

    epoch: int
    train_loss: float
    valid_loss: float | None
    """None when the epoch was not validated."""
    score: float | None
    """The result of the run at its end."""
    lr: float | None
    seconds: float


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    """One line of the checkpoint log: the newest file of its path."""

    kind: str
    epoch: int
    step: int
    score: float | None
    """The validation loss that went with it, where one was measured."""
    path: str
    bytes: int
    at: float


@dataclass(frozen=True, slots=True)
class LogRow:
    """One line of the event log."""

    at: float
    level: str
    """info, good, warning or error."""
    text: str
