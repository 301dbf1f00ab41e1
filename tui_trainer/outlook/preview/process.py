"""The preview process that loads data or model for a screen: started, read from, asked for pages of images, ended."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import IO

from tui_trainer.outlook.preview.facts import Answer, Order
from tui_trainer.settings.schema import Settings
from tui_trainer.text import clean

LONGEST = 16 << 20
"""Bytes of a line at most."""
RUBBISH = 20
"""Lines that are no answer before the process is given up."""


class PreviewProcess:
    """A process in a session of its own that previews what the settings name. It ends with this process at the latest.

    `answers` starts it and belongs to one thread; `ask` and `end` may be called by any.
    """

    def __init__(self, kind: str, settings: Settings) -> None:
        """`kind` is data or model."""
        self._kind = kind
        named = settings.model_dump(mode="json", include=settings.model_fields_set - {"notify_url"})
        self._orders = json.dumps(named).encode() + b"\n"
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = False

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    def answers(self) -> Iterator[Answer]:
        """What it says until it ends or is ended. The last answer has an `error` when it has failed."""
        with tempfile.TemporaryFile() as stderr:
            with self._lock:
                reason = "" if self._ended else self._start(stderr)
                process = self._process
            if process is None:
                if reason:
                    yield Answer(error=f"No process could be started: {reason}.", exit_code=1)
                return
            assert process.stdin is not None and process.stdout is not None
            os.set_blocking(process.stdin.fileno(), False)  # a process that does not listen must not stop a screen
            self._send(self._orders)
            found, told, rubbish = False, False, 0
            try:
                while line := process.stdout.readline(LONGEST):
                    try:
                        answer = Answer.model_validate_json(line)
                    except ValueError:
                        rubbish += 1
                        if rubbish > RUBBISH:
                            self._kill()
                            break
                        continue
                    found, told = found or answer.is_result, told or answer.error is not None
                    yield answer
            finally:
                code = self._over()
            if told or self._ended:
                return
            if rubbish > RUBBISH:
                yield Answer(error="What came back cannot be read; it was given up.", exit_code=1)
            elif code or not found:
                stderr.seek(max(0, stderr.seek(0, os.SEEK_END) - 4000))
                yield Answer(error=why_ended(code, stderr.read()), exit_code=1)

    def _start(self, stderr: IO[bytes]) -> str:
        """Start the process; why it could not be started, or nothing."""
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tui_trainer.cli.preview", self._kind],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
            )
        except OSError as error:
            return error.strerror or str(error)
        return ""

    def ask(self, order: Order) -> None:
        """Ask for a page of images."""
        self._send(order.model_dump_json().encode() + b"\n")

    def _send(self, line: bytes) -> None:
        process = self._process
        if process is not None and process.stdin is not None:
            with suppress(OSError, ValueError):  # it has ended, or does not listen
                os.write(process.stdin.fileno(), line)

    def end(self) -> None:
        """End the process and all that it has started, at once."""
        with self._lock:
            self._ended = True
            self._kill()

    def _kill(self) -> None:
        process = self._process
        if process is not None and process.returncode is None:  # not waited for yet, so the number is still its own
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)

    def _over(self) -> int:
        """Wait for the process, which has nothing more to say; its exit code, negative for a signal."""
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        process.stdout.close()
        with suppress(OSError):
            process.stdin.close()
        try:
            return process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            with self._lock:
                self._kill()
            return process.wait()


def why_ended(code: int, stderr: bytes) -> str:
    """What to say of a process that ended with this exit code and these last words."""
    lines = [line for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    last = f" It said last: {clean(lines[-1], 200)}" if lines else ""
    if code == -signal.SIGKILL:
        return f"The process that looked was killed, often for want of memory.{last}"
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"The process that looked was ended by {name}.{last}"
    return f"The process that looked ended with exit code {code} and without a result.{last}"
