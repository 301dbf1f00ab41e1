"""The process in the background: it takes its orders from standard input, and trains as `--no-ui` does."""

import signal
import sys
from pathlib import Path

from tui_trainer.cli import headless
from tui_trainer.cli.local_run import local_run
from tui_trainer.own.admitted import Admitted
from tui_trainer.run.background import Orders
from tui_trainer.run.commands import Park, Pause
from tui_trainer.run.folder import RunFolder
from tui_trainer.run.local import LocalRun
from tui_trainer.run.resume import Carried, Resume, state_of
from tui_trainer.settings.schema import Settings


def run_by(orders: Orders) -> LocalRun:
    """The run of the orders: carried on when it has a checkpoint, else from its beginning."""
    folder, settings = RunFolder(Path(orders.folder)), Settings(**orders.settings)
    carried, code = None, Admitted.from_plain(orders.code)
    if folder.has_checkpoint:
        how = Resume(allow_data_change=orders.allow_data_change, allow_code_change=orders.allow_code_change)
        carried = Carried(folder, settings, (), state_of(folder), how, code)
    run = local_run(settings, carried, folder=folder, lock=orders.lock, code=code)
    if orders.paused:
        run.send(Park() if orders.parked else Pause())
    return run


def main() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    sys.exit(headless.watch(run_by(Orders.from_json(sys.stdin.buffer.read()))))


if __name__ == "__main__":
    main()
