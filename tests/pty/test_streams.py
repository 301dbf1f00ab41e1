"""What is printed while the screens are up, and processes that are started from under them."""

from pathlib import Path

import pytest

from tests.pty.terminal import Program
from tui_trainer.run.events import BatchTrained, RunEnded

pytestmark = pytest.mark.xdist_group("processes")  # one after another, in one worker
WORDS = ["--start", "--dataset", "fashion-mnist-mini", "--device", "cpu"]
PRINTS = """
import ctypes, multiprocessing, os, sys

from tui_trainer.cli import main as cli
from tui_trainer.run.local import LocalRun

train = LocalRun.events

def print_a_lot():
    print("1 Python")
    os.write(1, b"2 C\\n")
    print("3 Python,", end=" ", file=sys.stderr)
    os.write(2, b"4 C\\n")
    for number, kind in enumerate(multiprocessing.get_all_start_methods(), 5):
        process = multiprocessing.get_context(kind).Process(target=print, args=(f"{number} process",))
        process.start()
        process.join()
        assert process.exitcode == 0
    for stream in (sys.stdout, sys.stderr):
        print("descriptor", stream.fileno(), "a terminal:", stream.isatty())
    ctypes.CDLL(None).printf(b"last, and held back\\n")

def events(run):
    for number, event in enumerate(train(run)):
        yield event
        if number == 0:
            print_a_lot()

if __name__ == "__main__":
    LocalRun.events = events
    cli.main()
"""
"""The program, with a training thread that prints before anything else."""
PRINTED = """1 Python
2 C
3 Python, 4 C
5 process
6 process
7 process
descriptor 1 a terminal: False
descriptor 2 a terminal: False
"""


def test_what_is_printed_is_in_the_log_once_and_in_order(tmp_path: Path) -> None:
    script = tmp_path / "prints.py"
    script.write_text(PRINTS)
    with Program(tmp_path, *WORDS, "--dry-run", script=script) as program:
        program.wait_for("✔ finished", "6 events")
        program.press("q")
        assert program.wait() == 0
        assert b"Python" not in program.raw and b"held back" not in program.raw
        assert program.put_the_terminal_back()
    log = (program.journal.run / "log.txt").read_text()
    assert log.startswith(PRINTED)
    assert log.count("held back") == 1 and log.count("1 Python") == 1


@pytest.mark.parametrize(("kind", "workers"), [("fork", 2), ("spawn", 1), ("forkserver", 1)])
def test_worker_processes_fetch_batches_under_the_screen(tmp_path: Path, kind: str, workers: int) -> None:
    """One worker where each imports torch, which takes 2 s."""
    words = ["--data-path", "loader", "--workers", str(workers), "--mp-context", kind, "--max-steps", "20"]
    words += ["--valid-fraction", "0"]  # one loader less, for the same reason
    with Program(tmp_path, *WORDS, *words) as program:
        program.wait_for("✔ finished")
        assert program.journal.of(BatchTrained)[-1].step == 20
        program.press("q")
        assert program.wait() == 0
        assert program.journal.of(RunEnded)[0].reason == "finished"
        assert program.put_the_terminal_back()
    assert "Traceback" not in (program.journal.run / "log.txt").read_text()
