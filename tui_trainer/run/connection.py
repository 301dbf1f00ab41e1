"""The viewer's end of a run's control socket."""

import contextlib
import json
import os
import select
import socket
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tui_trainer.run import commands
from tui_trainer.run.control import LINE, PATIENCE, PROTOCOL, line_of, socket_path
from tui_trainer.text import clean


class Refused(Exception):
    """The run does not listen to this process; the message says why."""


class Connection:
    """A line to the process that trains, for one who steers it."""

    def __init__(self, folder: Path, name: str, *, watches: bool) -> None:
        """Connect as `name`; one who `watches` can answer when the run asks what to do.

        Raises:
            Refused: nobody listens there, or not to this user or this version.
        """
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._read = bytearray()
        self._number = 0
        self._socket.settimeout(PATIENCE)
        try:
            self._socket.connect(os.fspath(socket_path(folder)))
            greeting = self.answer()
            if "error" in greeting:
                raise Refused(f"The run refuses: {clean(greeting['error'])}.")
            if greeting.get("protocol") != PROTOCOL:
                theirs, own = clean(greeting.get("tui_trainer"), 20), version("tui-trainer")
                raise Refused(f"The run trains with tui-trainer {theirs}, which {own} cannot steer.")
            self._socket.sendall(line_of({"hello": name, "watches": watches, "protocol": PROTOCOL}))
        except OSError as error:
            self.close()
            raise Refused(f"The run's process cannot be reached: {error.strerror or error}.") from None
        except Refused:
            self.close()
            raise

    def send(self, command: commands.Command) -> int:
        """Give a command; the number by which it is answered.

        Raises:
            OSError: the process is gone.
        """
        self._number += 1
        self._socket.sendall(line_of({"id": self._number} | commands.to_json(command)))
        return self._number

    def answer(self) -> dict[str, Any]:
        """The next line from the other end, waited for a few seconds at most.

        Raises:
            OSError: the process is gone, or says nothing.
        """
        while b"\n" not in self._read:
            if len(self._read) > LINE or not (data := self._socket.recv(4096)):
                raise OSError(None, "the connection was closed")
            self._read += data
        line, _, rest = self._read.partition(b"\n")
        self._read = rest
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            raise OSError(None, "what answers there is not tui-trainer")
        return values

    def answers(self) -> list[dict[str, Any]]:
        """The lines that have come by now.

        Raises:
            OSError: the process is gone.
        """
        found = []
        while b"\n" in self._read or select.select([self._socket], [], [], 0)[0]:
            found.append(self.answer())
        return found

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def own_name(kind: str) -> str:
    """How this process is called by the viewers of a run, such as `viewer on pts/3`."""
    for fd in (0, 1, 2):
        with contextlib.suppress(OSError, AttributeError):
            return f"{kind} on {os.ttyname(fd).removeprefix('/dev/')}"
    return kind
