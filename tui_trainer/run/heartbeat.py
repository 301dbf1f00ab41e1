"""Whether a run is alive: told to others, and noted in its log when it is not."""

import contextlib
import faulthandler
import time

from tui_trainer.run.folder import RunFolder


class Heartbeat:
    """Tells others that a run is alive; and when it is not, notes in log.txt where each of its threads stands."""

    SILENCE = 120.0
    """Seconds without an event after which something hangs, or takes very long."""
    EVERY = 1.0
    """Seconds between two beats at most: each starts a thread."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder, self._log = folder, None
        self._beaten = 0.0
        with contextlib.suppress(OSError):
            self._log = folder.log.open("a")
        self.beat(resting=False)

    def beat(self, *, resting: bool) -> None:
        """Something happened; `resting` when nothing will for a while, on purpose."""
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
