"""Draw the pictures in screenshots/ from recorded journals and the real screens.

uv run scripts/screenshots.py [NAME ...]
"""

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).parent.parent))

from textual.pilot import Pilot

from tests import replay
from tests.ui import folders
from tui_trainer.cli.local_run import local_run
from tui_trainer.run.folder import RunFolder
from tui_trainer.settings.schema import Settings
from tui_trainer.settings.sources import resolve
from tui_trainer.ui.app import TrainerApp
from tui_trainer.ui.screens.data import DataScreen
from tui_trainer.ui.screens.model import ModelScreen
from tui_trainer.ui.screens.replay import ReplayScreen
from tui_trainer.ui.screens.run import drawing, steering
from tui_trainer.ui.screens.run import screen as run_screen
from tui_trainer.ui.screens.run.screen import RunScreen
from tui_trainer.ui.widgets import header, run_details, run_table, tables

SCREENSHOTS = Path(__file__).parent.parent / "screenshots"
SIZES = {"80x24": (80, 24), "120x40": (120, 40), "200x60": (200, 60)}
RUNS = {
    "training": replay.training,
    "paused": replay.paused,
    "parked": replay.parked,
    "attach": replay.attached,
    "finished": lambda: replay.events("finished"),
    "failed": lambda: replay.events("failed"),
    "resume": replay.carried_on,
    "regression": lambda: replay.events("regression"),
    "multilabel": lambda: replay.events("multilabel"),
    "asks": lambda: replay.asking("diverged", "The loss is not finite (nan) at epoch 4, batch 12 of 422."),
}


def stop_clocks(now: float) -> None:
    """Let the screens believe that it is `now`, so that `saved 8 s ago` is what a user would have seen."""
    for module in (header, tables, run_table, run_details):
        module.time = SimpleNamespace(time=lambda: now, strftime=time.strftime, localtime=time.localtime)
    for module in (run_screen, steering, drawing):
        module.time = SimpleNamespace(time=lambda: now, monotonic=time.monotonic, thread_time=time.thread_time)


async def settle(pilot: Pilot[None]) -> None:
    for _ in range(4):
        await pilot.pause(0.2)


async def draw(name: str, size: tuple[int, int], keys: list[str], theme: str | None = None) -> None:
    """One picture: the form when `name` begins so, the runs or some side by side, else a recorded run; then `keys`."""
    compared = [RunFolder(path) for path in sorted(Path("runs").iterdir())[:4]] if name.startswith("compare") else None
    played = ReplayScreen(RunFolder(Path("runs") / folders.LONG), 0.1) if name.startswith("replay") else None
    app = TrainerApp(resolve([]), runs=name.startswith("runs"), compared=compared, replay=played, begin=local_run)
    run = None
    async with app.run_test(size=size) as pilot:
        if theme:
            app.theme = theme
        base = name.split("-")[0]
        if base in ("runs", "compare", "replay"):
            stop_clocks(folders.NOW)
        elif base != "form":
            events = RUNS[base]()
            stop_clocks(events[-1].at + 8)
            run = replay.ReplayedRun(events)
            screen = RunScreen(run)
            app.feed = screen.feed
            await app.push_screen(screen)
        await settle(pilot)
        if run is not None:
            screen.draw_all()  # beneath a question too
            await settle(pilot)
        for key in keys:
            await pilot.press(key)
        await settle(pilot)
        app.save_screenshot(f"{name}.svg", str(SCREENSHOTS))
        if run is not None:
            run.close()
        app.exit()
    print(f"screenshots/{name}.svg")


LOOKS = {
    "data": (DataScreen, Settings(dataset="fashion-mnist", augment="flip_crop")),
    "model": (ModelScreen, Settings(dataset="fashion-mnist", model="cnn")),
}
"""What the form shows of data and model before a run, found out by a real process."""


async def draw_look(name: str, size: tuple[int, int]) -> None:
    """The data or the model of the settings, once all of it is found out."""
    kind, settings = LOOKS[name.split("-")[0]]
    app = TrainerApp(resolve([]), begin=local_run)
    async with app.run_test(size=size) as pilot:
        screen = kind(settings)
        await app.push_screen(screen)
        await settle(pilot)
        quiet = 0
        while quiet < 15:  # nothing more comes, and nothing is being found out
            await pilot.pause(0.2)
            quiet = quiet + 1 if screen.has_some and not screen._what else 0
        app.save_screenshot(f"{name}.svg", str(SCREENSHOTS))
        app.exit()
    print(f"screenshots/{name}.svg")


async def main() -> None:
    os.environ |= {"TZ": "UTC", "COLORTERM": "truecolor"}
    os.environ.pop("NO_COLOR", None)
    time.tzset()
    SCREENSHOTS.mkdir(exist_ok=True)
    here, runs = os.getcwd(), tempfile.mkdtemp()
    os.chdir(runs)
    folders.make_all()
    jobs = {f"{name}-{label}": (size, []) for name in ["form", *RUNS] for label, size in SIZES.items()}
    for label, size in SIZES.items():
        jobs |= {f"runs-{label}": (size, ["down"]), f"compare-{label}": (size, ["m"])}
        jobs[f"replay-{label}"] = (size, ["space", *["right"] * 27])
    jobs |= {"form-all-120x40": ((120, 40), ["f2"]), "training-zoom-120x40": ((120, 40), ["z"])}
    jobs |= {"training-confusion-80x24": ((80, 24), ["3"]), "training-help-120x40": ((120, 40), ["question_mark"])}
    themes = {"training-light-120x40": "cockpit-light", "training-colour-blind-120x40": "cockpit-colour-blind"}
    jobs |= {name: ((120, 40), []) for name in themes}
    for name, size in ((f"{kind}-{label}", size) for kind in LOOKS for label, size in SIZES.items()):
        if len(sys.argv) == 1 or any(wanted in name for wanted in sys.argv[1:]):
            await draw_look(name, size)
    for name, (size, keys) in jobs.items():
        os.chdir(runs if name.startswith(("runs", "compare", "replay")) else here)
        if len(sys.argv) == 1 or any(wanted in name for wanted in sys.argv[1:]):
            await draw(name, size, keys, themes.get(name))


if __name__ == "__main__":
    asyncio.run(main())
