"""How much a test of chance does: little, or all of it with FAULTS=full in the environment. How long a test waits."""

import os

PATIENCE = float(os.environ.get("PATIENCE", "240"))
"""Seconds that anything may take: a hundred times what it does take, because the machine may be busy."""


def many(ci: int, full: int) -> int:
    """`full` when all is asked for, else `ci`."""
    return full if os.environ.get("FAULTS") == "full" else ci
