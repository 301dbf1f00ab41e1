"""How much a test of chance does: little by default, all of it with FAULTS=full in the environment."""

import os


def many(ci: int, full: int) -> int:
    """`full` when all is asked for, else `ci`."""
    return full if os.environ.get("FAULTS") == "full" else ci
