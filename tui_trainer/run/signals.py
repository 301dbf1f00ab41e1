"""What the run screen and headless runs answer to signals alike."""

import os
import signal
import threading

GRACE = 25.0
"""Seconds that a save has after SIGTERM: Docker and SLURM kill after 30."""


def end_within_grace(number: int) -> None:
    """End the process by force when it has not ended by itself in time; the checkpoint before is whole then."""
    if number == signal.SIGTERM:
        timer = threading.Timer(GRACE, os._exit, [128 + number])
        timer.daemon = True
        timer.start()
