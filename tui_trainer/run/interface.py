"""A run as its viewers see it: events to iterate and commands to send, wherever it trains."""

from collections.abc import Iterator
from typing import Protocol

from tui_trainer.run.commands import Command
from tui_trainer.run.disconnect import AfterDisconnect
from tui_trainer.run.events import Event
from tui_trainer.run.folder import RunFolder
from tui_trainer.run.state import RunState


class Run(Protocol):
    """All that a viewer (a screen, a printer) knows of a run."""

    trains_here: bool
    """True when whoever iterates `events` is the training thread."""

    @property
    def read_only(self) -> bool:
        """True when commands would reach nobody."""

    @property
    def folder(self) -> RunFolder | None:
        """Where the run is on disk, once it is."""

    @property
    def earlier(self) -> RunState:
        """What a viewer knows before the first of `events`: the run's earlier life, when it is carried on."""

    @property
    def after_disconnect(self) -> AfterDisconnect:
        """What becomes of it when its user disconnects."""

    def events(self) -> Iterator[Event]:
        """What happens, until the run ends. Whoever iterates it waits with it."""

    def send(self, command: Command) -> None:
        """Tell the run something; its events are the answer."""

    def watched(self, yes: bool) -> None:
        """Whether somebody watches, and can answer when the run asks what to do."""
