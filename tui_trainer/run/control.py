"""The control socket of a run: JSON lines by which its owner steers it from other processes. It waits for nobody.

The first line is the program's: `{"tui_trainer": "0.1.0", "protocol": 1, "pid": 123}`. A client may then say who it is,
`{"hello": "viewer on pts/3", "watches": true}`, and give commands, `{"id": 1, "command": "Pause"}`. Each is answered by
`{"id": 1, "taken": true}` or `{"id": 1, "error": "..."}`; what comes of it is an event in the journal, for all viewers.
"""

import contextlib
import hashlib
import json
import os
import selectors
import socket
import stat
import struct
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from platformdirs import user_state_path

from tui_trainer.run import commands
from tui_trainer.run.commands import Inbox
from tui_trainer.run.lock import keep_from_workers, stop_keeping
from tui_trainer.text import clean

PROTOCOL = 1
"""Raised when older programs could not follow a newer one's lines."""
LINE = 64 * 1024
"""Bytes of a line at most, and of answers that a client may leave unread."""
CLIENTS = 16
"""Clients at a time."""
PATIENCE = 5.0
"""Seconds that a line may take to arrive, once begun."""
FAULTS = 10
"""Lines that are no commands, after which a client is disconnected."""
BACKLOG = 200
"""Commands that may wait for the run; a batch takes a moment, and nobody types faster."""
SHARE = 0.005
"""Fraction of a core that clients can cost, whatever they send."""
LONGEST_PATH = 100
"""Bytes of a socket's path: the system's own limit is 108, or 104 on macOS."""
CHECK_EVERY = 5.0
"""Seconds between two checks whether the socket file is still there."""


def socket_path(folder: Path) -> Path:
    """Where the control socket of the run in `folder` is: in it, or by a short name elsewhere when its path is long."""
    path = folder.resolve() / "control.sock"
    if len(os.fsencode(path)) <= LONGEST_PATH:
        return path
    name = f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:20]}.sock"
    path = user_state_path("tui-trainer") / "sockets" / name
    return path if len(os.fsencode(path)) <= LONGEST_PATH else Path(f"/tmp/tui-trainer-{os.getuid()}") / name


def why_unsafe(folder: Path, *, shared: bool) -> str | None:
    """What is wrong with a folder for a control socket; others may read it only when it is `shared`."""
    try:
        facts = os.lstat(folder)
    except OSError as error:
        return error.strerror or type(error).__name__
    if stat.S_ISLNK(facts.st_mode):
        return "it is a link"
    if not stat.S_ISDIR(facts.st_mode):
        return "it is no folder"
    if facts.st_uid != os.getuid():
        return "it is another user's"
    if facts.st_mode & (0o022 if shared else 0o077):
        return "others may write to it" if shared else "others may look into it"
    return None


def peer_uid(connection: socket.socket) -> int | None:
    """The user at the other end of a Unix socket; None where the system does not tell."""
    with contextlib.suppress(OSError, struct.error):
        if sys.platform == "darwin":
            answer = connection.getsockopt(0, 1, 76)  # SOL_LOCAL, LOCAL_PEERCRED: struct xucred
            return int(struct.unpack_from("=II", answer)[1])
        if hasattr(socket, "SO_PEERCRED"):
            answer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            return int(struct.unpack("=3i", answer)[1])
    return None


class Client:
    """A connected client: the part of its next line that has arrived, and the replies that it has not read yet."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.name = "somebody"
        self.watches = False
        self.faults = 0
        self.read = bytearray()
        self.unread = bytearray()
        self.since = 0.0
        """When the line that is still coming began, by the monotonic clock."""


class Control:
    """Listens on the control socket of a run, in a thread of its own that takes at most `SHARE` of a core."""

    def __init__(self, folder: Path, inbox: Inbox) -> None:
        self.problem = ""
        """Why there is no socket, as a sentence; empty when there is one."""
        self.path = socket_path(folder)
        self._folder, self._inbox = folder, inbox
        self._clients: list[Client] = []
        self._selector = selectors.DefaultSelector()
        self._listener: socket.socket | None = None
        self._inode = 0
        self._ends = threading.Event()
        self._wake_reader, self._wake_writer = socket.socketpair()
        for end in (self._wake_reader, self._wake_writer):
            keep_from_workers(end.fileno(), end.close)
        self._selector.register(self._wake_reader, selectors.EVENT_READ, None)
        self._thread: threading.Thread | None = None
        if not hasattr(socket, "AF_UNIX"):
            self.problem = "This system has no Unix sockets."
        elif self._listen():
            self._thread = threading.Thread(target=self._serve, name="control", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Remove the socket and disconnect all clients."""
        if self._ends.is_set():
            return
        self._ends.set()
        self._wake_writer.send(b"x")
        if self._thread is not None:
            self._thread.join(2)
        for client in list(self._clients):
            self._disconnect(client)
        if self._listener is not None:
            self._unlisten()
            with contextlib.suppress(OSError):
                if os.lstat(self.path).st_ino == self._inode:
                    self.path.unlink()
        self._selector.close()
        for end in (self._wake_reader, self._wake_writer):
            stop_keeping(end.fileno())
            end.close()

    # --- the socket ---

    def _listen(self) -> bool:
        """Make the socket, in place of one that a killed run has left. The lock of the run is held."""
        place = self.path.parent
        inside = place == self._folder.resolve()
        try:
            if not inside:
                place.mkdir(mode=0o700, parents=True, exist_ok=True)
            if reason := why_unsafe(place, shared=inside):
                raise OSError(None, f"{place}: {reason}")
            with contextlib.suppress(FileNotFoundError):
                if not stat.S_ISSOCK(os.lstat(self.path).st_mode):
                    raise OSError(None, f"{self.path} is there and is no socket")
            new = place / f".c{os.getpid()}"
            new.unlink(missing_ok=True)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                listener.bind(os.fspath(new))
                os.chmod(new, 0o600)  # before anybody can connect: it does not listen yet
                listener.listen(CLIENTS)
                listener.setblocking(False)
                os.replace(new, self.path)
            except OSError:
                listener.close()
                raise
            self._inode = os.lstat(self.path).st_ino
        except OSError as error:
            self.problem = f"The run cannot be steered from other terminals: {clean(error.strerror or error)}."
            return False
        self._listener = listener
        keep_from_workers(listener.fileno(), listener.close)
        self._selector.register(listener, selectors.EVENT_READ, None)
        return True

    def _unlisten(self) -> None:
        if self._listener is not None:
            self._selector.unregister(self._listener)
            stop_keeping(self._listener.fileno())
            self._listener.close()
            self._listener = None

    def _listen_again(self) -> None:
        """Make the socket again when somebody has deleted it."""
        with contextlib.suppress(OSError):
            if os.lstat(self.path).st_ino == self._inode:
                return
        self._unlisten()
        self._listen()

    # --- the thread ---

    def _serve(self) -> None:
        looked = time.monotonic()
        while not self._ends.is_set():
            ready = self._selector.select(0.5 if self._clients else CHECK_EVERY)
            began = time.thread_time()
            for key, mask in ready:
                if key.fileobj is self._wake_reader:
                    return
                if key.data is None:
                    self._accept()
                elif mask & selectors.EVENT_WRITE:
                    self._write(key.data)
                else:
                    self._read(key.data)
            now = time.monotonic()
            for client in list(self._clients):
                if client.since and now - client.since > PATIENCE:
                    self._disconnect(client)
            if now - looked > CHECK_EVERY:
                looked = now
                self._listen_again()
            if ready:
                self._ends.wait(min(1.0, (time.thread_time() - began) / SHARE))

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        uid = peer_uid(connection)
        refusal = ""
        if uid is not None and uid != os.getuid():
            refusal = f"this run belongs to user {os.getuid()}, not to user {uid}"
        elif len(self._clients) >= CLIENTS:
            refusal = f"{CLIENTS} viewers are connected already"
        if refusal:
            with contextlib.suppress(OSError):
                connection.send(line_of({"error": refusal}))
            connection.close()
            return
        client = Client(connection)
        self._clients.append(client)
        keep_from_workers(connection.fileno(), connection.close)
        self._selector.register(connection, selectors.EVENT_READ, client)
        self._reply(client, {"tui_trainer": version("tui-trainer"), "protocol": PROTOCOL, "pid": os.getpid()})

    def _read(self, client: Client) -> None:
        try:
            data = client.connection.recv(LINE // 4)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._disconnect(client)
            return
        client.read += data
        *lines, rest = client.read.split(b"\n")
        client.since = (client.since if not lines and client.since else time.monotonic()) if rest else 0.0
        client.read = bytearray(rest)
        for line in lines:
            if len(line) > LINE or client.faults >= FAULTS:
                break
            if line.strip():
                self._take_line(client, bytes(line))
        if client.faults >= FAULTS or len(rest) > LINE or any(len(line) > LINE for line in lines):
            self._disconnect(client)

    def _take_line(self, client: Client, line: bytes) -> None:
        """Carry out one line, or reply why not."""
        known: Any = None
        try:
            values = json.loads(line)
            if not isinstance(values, dict):
                raise ValueError("a line must be a JSON object")
            known = values.get("id") if isinstance(values.get("id"), int) else None
            if "hello" in values:
                self._take_hello(client, values)
                return
            command = commands.from_json(values, client.name)
            if self._inbox.waiting >= BACKLOG:
                raise ValueError("too many commands wait already")
        except (ValueError, RecursionError) as error:
            client.faults += 1
            self._reply(client, {"id": known, "error": clean(error)})
            return
        self._inbox.send(command)
        self._reply(client, {"id": known, "taken": True})

    def _take_hello(self, client: Client, values: dict[str, Any]) -> None:
        client.name = clean(values["hello"], 40)
        watches = values.get("watches") is True
        self._inbox.watched_elsewhere += watches - client.watches
        client.watches = watches

    def _reply(self, client: Client, values: dict[str, Any]) -> None:
        client.unread += line_of(values)
        if len(client.unread) > LINE:
            self._disconnect(client)  # it does not read
        else:
            self._write(client)

    def _write(self, client: Client) -> None:
        if client not in self._clients:
            return
        try:
            sent = client.connection.send(client.unread)
            del client.unread[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self._disconnect(client)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.unread else 0)
        self._selector.modify(client.connection, wanted, client)

    def _disconnect(self, client: Client) -> None:
        if client not in self._clients:
            return
        self._clients.remove(client)
        self._inbox.watched_elsewhere -= client.watches
        self._selector.unregister(client.connection)
        stop_keeping(client.connection.fileno())
        client.connection.close()


def line_of(values: dict[str, Any]) -> bytes:
    """Plain values as they go over the socket."""
    return json.dumps(values).encode() + b"\n"
