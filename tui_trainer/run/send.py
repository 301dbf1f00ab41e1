"""One command from a script to a run that is under way, and what comes of it."""

import sys
import time

from tui_trainer.errors import TrainerError, UsageError
from tui_trainer.run import commands
from tui_trainer.run.acknowledgements import is_acknowledged
from tui_trainer.run.commands import Command
from tui_trainer.run.connection import Connection, Refused, own_name
from tui_trainer.run.events import Event, Warned
from tui_trainer.run.events_json import to_json
from tui_trainer.run.folder import RunFolder
from tui_trainer.run.journal import follow
from tui_trainer.run.state import RunState
from tui_trainer.text import clean, clean_lines

PATIENCE = 30.0
"""Seconds that a run has to carry a command out, before it is left at that. A stop takes as long as it takes."""
POLL = 0.05


def send(folder: RunFolder, command: Command, *, json: bool = False) -> int:
    """Give the run in `folder` a command and print the event that answers it; the exit code.

    Raises:
        UsageError: nobody trains there, or the run cannot be reached.
        TrainerError: the run refuses the command.
    """
    name = clean(folder.path.name)
    if not folder.is_held():
        raise UsageError(f"Nobody trains {name}: it takes no commands. Carry it on with: tui-trainer resume {name}")
    state = RunState()
    with folder.journal.open("rb") as journal:
        for event in follow(journal):
            state.apply(event)
        if isinstance(command, commands.Pause | commands.Continue):
            paused = state.status in ("paused", "parked")
            if paused == isinstance(command, commands.Pause):
                print(f"{name} is {'paused' if paused else 'not paused'} already.", file=sys.stderr)
                return 0
        try:
            connection = Connection(folder.path, own_name("send"), watches=False)
        except Refused as refused:
            raise UsageError(str(refused)) from None
        try:
            number = connection.send(command)
            answer = next(a for a in iter(connection.answer, None) if a.get("id") == number)
        except OSError as error:
            raise UsageError(f"The run's process cannot be reached any more: {error.strerror or error}.") from None
        finally:
            connection.close()
        if "error" in answer:
            raise TrainerError(f"The run refuses: {clean(answer['error'])}.")
        until = time.monotonic() + PATIENCE
        while isinstance(command, commands.Stop) or time.monotonic() < until:
            held = folder.is_held()
            for event in follow(journal):
                if is_acknowledged(command, event):
                    _print_answer(event, state, name, json)
                    return 0
                state.apply(event)
            if not held:
                raise TrainerError(f"The process that trained {name} is gone without an answer.")
            time.sleep(POLL)
    print(f"{name} has taken the command and not carried it out yet.", file=sys.stderr)
    return 0


def _print_answer(event: Event, state: RunState, name: str, json: bool) -> None:
    state.apply(event)
    if json:
        print(to_json(event))
    elif isinstance(event, Warned):
        print(f"{name}: {clean_lines(event.text)}")
    else:
        print(f"{name}: {clean_lines(state.log[-1].text)} at step {state.step:,}")
