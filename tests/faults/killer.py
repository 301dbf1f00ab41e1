"""Trains in processes that can be killed. torch is imported once, and each process is a fork: a kill costs 50 ms.

Started as a program it reads a line of JSON for each process: settings, the name of the run when it is to be carried
on, and after how many seconds it is killed, if at all. The answer is a line too: how the process ended.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def train(settings: dict[str, Any], resume: str) -> int:
    """In the forked process: a run, or the rest of one, to its end. Its exit code is the run's."""
    import torch

    from tui_trainer.cli.local_run import local_run
    from tui_trainer.run.events import RunEnded
    from tui_trainer.run.folder import find
    from tui_trainer.run.resume import Resume, carry
    from tui_trainer.settings.schema import Settings

    torch.set_num_threads(1)
    if resume:
        carried = carry(find(resume, settings["output_dir"]), {}, Resume())
        if carried.nothing_to_do:
            return 0
        run = local_run(carried.settings, carried)
    else:
        run = local_run(Settings(**settings))
    code = 1
    for event in run.events():
        if isinstance(event, RunEnded):
            code = event.exit_code
    return code


def serve() -> None:
    """Answer each line until there are no more."""
    import tui_trainer.training.loop  # noqa: F401  (what every fork then has)

    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.dup2(os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
                os.dup2(1, 2)
                code = train(order["settings"], order["resume"])
            finally:
                sys.stdout.flush()
                os._exit(code)
        until = time.monotonic() + (order["kill_after"] or 300)
        ended = 0
        while not ended and time.monotonic() < until:
            ended, status = os.waitpid(child, os.WNOHANG)
            time.sleep(0.001)
        if not ended:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


class Killer:
    """The program above, spoken to."""

    def __init__(self, log: Path) -> None:
        self._log = str(log)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.killer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def run(self, settings: dict[str, Any], *, resume: str = "", kill_after: float = 0) -> int:
        """The exit code of a process that trains; minus the signal when it was killed."""
        order = {"settings": settings, "resume": resume, "kill_after": kill_after, "log": self._log}
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(10)


if __name__ == "__main__":
    serve()
