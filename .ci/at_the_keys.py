"""Runs a command that opens the cockpit in a terminal of 120 x 40: starts a run with ctrl+r, waits for its end, leaves.

    python3 .ci/at_the_keys.py COMMAND

Needs nothing but Python: the command is what installs all else.
"""

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time

STEPS = [(r"\^r *Run", b"\x12"), (r"finished", b"q")]
"""What is on the screen, and the key that is pressed then."""
LIMIT = 1200.0
"""Seconds for all of it: the first command downloads some 5 GB."""
CODES = re.compile(rb"\x1b(?:\[[0-9;:<=>?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][A-Z0-9]|[=>78])")


def main(command: str) -> int:
    pid, screen = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm-256color"
        os.execvp("bash", ["bash", "-c", command])
    fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    written, steps, began = b"", list(STEPS), time.monotonic()
    while time.monotonic() - began < LIMIT:
        if not select.select([screen], [], [], 1.0)[0]:
            continue
        try:
            data = os.read(screen, 65536)
        except OSError:  # Linux's way to say that the program has closed its end
            break
        if not data:
            break
        written += data
        shown = CODES.sub(b"", written).decode(errors="replace")
        if steps and re.search(steps[0][0], shown):
            print(f"{time.monotonic() - began:.0f} s: {steps[0][0]!r} is on the screen", flush=True)
            os.write(screen, steps.pop(0)[1])
            written = b""
    else:
        print(f"nothing but this after {LIMIT:.0f} s:", CODES.sub(b"", written)[-3000:].decode(errors="replace"))
        return 1
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code or steps:
        print(f"ended with {code}, {len(steps)} keys were not pressed:")
        print(CODES.sub(b"", written)[-3000:].decode(errors="replace"))
        return code or 1
    print(f"{time.monotonic() - began:.0f} s: it has ended with 0")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
