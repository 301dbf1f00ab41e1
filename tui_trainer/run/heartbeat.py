"""A run's sign of life: for other processes, and stack traces in its log when nothing has happened for long."""

import contextlib
import faulthandler
import time

from tui_trainer.run.folder import RunFolder


class Heartbeat:
    """Touches the lock file now and then; after `SILENCE` without one, every thread's stack goes to log.txt."""

    SILENCE = 120.0
    """Seconds without an event after which something hangs, or takes very long."""
    EVERY = 1.0
    """Seconds from one beat to the next at least: each starts the watchdog thread of faulthandler anew."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder, self._log = folder, None
        self._beaten = 0.0
        with contextlib.suppress(OSError):
            self._log = folder.log.open("a")
        self.beat(resting=False)

    def beat(self, *, resting: bool) -> None:
        """Something happened; `resting` switches the watchdog off, while a run is paused or waits."""
        now = time.monotonic()
        if now - self._beaten < self.EVERY and not resting:
            return
        self._beaten = now
        self._folder.lock.say_alive()
        if self._log is None:
            return
        if resting:
            faulthandler.cancel_dump_traceback_later()
        else:
            faulthandler.dump_traceback_later(self.SILENCE, file=self._log)

    def stop(self) -> None:
        faulthandler.cancel_dump_traceback_later()
        if self._log is not None:
            self._log.close()
