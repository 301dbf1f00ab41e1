"""Downloads a data set through torchvision, as a program of its own: it can be ended at any moment, and watched.

Started by `readers/torchvision.py`, which passes the class, the folder and the arguments of each split as JSON. The
answer is a line of JSON on stdout. It ends with the process that started it, whose end of stdin then closes.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import warnings
from collections.abc import Mapping, Sequence

PATIENCE = 60.0
"""Seconds without a byte after which a server is given up."""


def fetch(kind: str, root: str, splits: Sequence[Mapping[str, object]]) -> str:
    """Download all splits of a class of torchvision.datasets to `root`; why it failed, as a phrase, or nothing."""
    from torchvision import datasets

    try:
        for arguments in splits:
            getattr(datasets, kind)(root=root, download=True, **arguments)
    except Exception as error:  # servers, archives and torchvision itself fail in many ways
        reason = getattr(error, "reason", None) or error
        return str(getattr(reason, "strerror", None) or reason).strip().split("\n")[0] or type(error).__name__
    return ""


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def main() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    socket.setdefaulttimeout(PATIENCE)
    warnings.simplefilter("ignore")
    answer = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        reason = fetch(**json.loads(sys.argv[1]))
    print(json.dumps({"reason": reason}), file=answer, flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
