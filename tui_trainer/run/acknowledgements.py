"""Which events acknowledge a command: there is no other reply, and every viewer sees it."""

from tui_trainer.run import commands
from tui_trainer.run.commands import Command
from tui_trainer.run.events import (
    CheckpointSaved,
    Evaluated,
    Event,
    LearningRateChanged,
    RunEnded,
    RunHandedOver,
    RunPaused,
    RunResumed,
    Warned,
)

ACKNOWLEDGEMENTS: dict[type[Command], tuple[str, tuple[type[Event], ...]]] = {
    commands.Pause: ("pausing", (RunPaused,)),
    commands.Park: ("parking", (RunPaused,)),
    commands.Continue: ("carrying on", (RunResumed,)),
    commands.Stop: ("stopping", (RunEnded,)),
    commands.SaveCheckpoint: ("saving", (CheckpointSaved,)),
    commands.Evaluate: ("to be measured", (Evaluated,)),
    commands.EndEpoch: ("ending the epoch", (Evaluated,)),
    commands.SetLearningRate: ("setting the rate", (LearningRateChanged,)),
    commands.HandOver: ("handing over", (RunHandedOver,)),
    commands.SkipBatch: ("leaving it out", (RunResumed,)),
    commands.RollBack: ("going back", (RunResumed,)),
}
"""For each command the words shown until it is carried out, and the events that say that it has been."""


def is_acknowledged(command: Command, event: Event) -> bool:
    """True when `event` says that `command` was carried out, or why it was not."""
    _, kinds = ACKNOWLEDGEMENTS[type(command)]
    if isinstance(event, Warned):
        return event.answers == type(command).__name__
    if isinstance(event, RunPaused) and isinstance(command, commands.Park | commands.Continue):
        return event.why == "parked"  # a run that is to go on and cannot stays parked
    return isinstance(event, (*kinds, RunEnded))
