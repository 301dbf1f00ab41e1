"""Files that may not be read, whoever runs the tests."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def without_rights(path: Path) -> Iterator[None]:
    """Nobody but root may read `path`, and this process is not root."""
    path.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        path.chmod(0o600)
