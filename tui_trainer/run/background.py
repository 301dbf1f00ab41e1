"""A run in the background: a process of its own, in a session of its own, that no closed terminal reaches."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tui_trainer.own.admitted import Admitted
from tui_trainer.run.folder import RunFolder
from tui_trainer.run.resume import Carried, Resume
from tui_trainer.settings.schema import Settings


@dataclass(frozen=True)
class Orders:
    """What the process in the background is told on its standard input."""

    folder: str
    lock: int
    """The descriptor of the folder's lock, which it inherits: the run is never let go of."""
    settings: dict[str, Any]
    """Those that somebody has named; the others are as the schema has them."""
    allow_data_change: bool = False
    allow_code_change: bool = False
    paused: bool = False
    """It waits to be told to go on."""
    parked: bool = False
    """It waits, and holds no memory of the device meanwhile."""
    code: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The user's own code that was admitted, with its source: `Admitted.to_plain`."""

    @classmethod
    def of(
        cls,
        folder: RunFolder,
        lock: int,
        settings: Settings,
        carried: Carried | None = None,
        *,
        code: Admitted | None = None,
        paused: bool = False,
        parked: bool = False,
    ) -> "Orders":
        named = settings.model_dump(mode="json", include=settings.model_fields_set)
        named["notify_url"] = settings.notify_url  # whole: what is dumped otherwise may be seen by others
        how = carried.how if carried else Resume()
        return cls(
            folder=os.fspath(folder.path.absolute()),
            lock=lock,
            settings=named,
            allow_data_change=how.allow_data_change,
            allow_code_change=how.allow_code_change,
            paused=paused,
            parked=parked,
            code=code.to_plain() if code else {},
        )

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, text: bytes) -> "Orders":
        return cls(**json.loads(text))


def start(orders: Orders) -> int:
    """Start the process that trains by these orders, with its streams in log.txt; its process id.

    Raises:
        OSError: it cannot be started.
    """
    folder = RunFolder(Path(orders.folder))
    log = os.open(folder.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "tui_trainer.cli.background",
            ],  # -P: nothing is imported from the folder it is in
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=[orders.lock],
            start_new_session=True,
        )
    finally:
        os.close(log)
    assert process.stdin is not None
    with process.stdin as orders_in:
        orders_in.write(orders.to_json())
    process.returncode = 0  # it outlives this process on purpose: nobody waits for it
    return process.pid
