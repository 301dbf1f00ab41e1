"""What the screen tests share: clocks that stand still, screens as text, and apps that show recorded runs."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from textual import _wait, constants
from textual.pilot import Pilot

from tests.replay import ReplayedRun
from tui_trainer.cli.local_run import local_run
from tui_trainer.run.events import Event
from tui_trainer.settings.sources import resolve
from tui_trainer.ui.app import TrainerApp
from tui_trainer.ui.screens.run import drawing, steering
from tui_trainer.ui.screens.run import screen as run_screen
from tui_trainer.ui.screens.run.screen import RunScreen
from tui_trainer.ui.widgets import header, run_details, run_table, tables

_wait.SLEEP_GRANULARITY, _wait.SLEEP_IDLE = 1 / 200, 1 / 400
"""A pilot waits until the program is idle. It looks for 5 ms at a time instead of 20: it does so after every key."""
constants.TEXTUAL_ANIMATIONS = "none"
"""What scrolls is there at once. On the way it would be drawn, and a pilot waits for it."""
SNAPSHOTS = Path(__file__).parent / "snapshots"
SIZES = {"80x24": (80, 24), "120x40": (120, 40), "200x60": (200, 60)}


class Shown:
    """An app under test: its pilot, its run screen if it has one, and what is on the screen."""

    def __init__(self, pilot: Pilot[None], screen: RunScreen | None = None, run: ReplayedRun | None = None) -> None:
        self.pilot, self.app = pilot, pilot.app
        self.screen, self.run = screen, run

    @property
    def text(self) -> str:
        """The screen as a terminal would show it, without colours."""
        strips = self.app.screen._compositor.render_strips(self.app.size)
        return "\n".join(strip.text.rstrip() for strip in strips) + "\n"

    @property
    def notes(self) -> list[str]:
        """The passing notes, oldest first."""
        return [note.message for note in self.app._notifications]

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self.pilot.press(key)
        await self.settle()

    async def settle(self) -> None:
        """Wait until everything that was asked for is drawn."""
        for _ in range(4):
            await self.pilot.pause()
        screen = self.screen or self.app.screen  # beneath a question it is seen too
        if isinstance(screen, RunScreen):
            screen.draw_all()
        for _ in range(2):
            await self.pilot.pause()


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Stops the clocks of the screens at a moment, in UTC: `saved 8 s ago` stays what it is."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()

    def stop(now: float) -> None:
        clock = SimpleNamespace(time=lambda: now, strftime=time.strftime, localtime=time.localtime)
        monkeypatch.setattr(header, "time", clock)
        for module in (tables, run_table, run_details):
            monkeypatch.setattr(module, "time", clock)
        clocks = SimpleNamespace(monotonic=lambda: 0.0, thread_time=lambda: 0.0, time=lambda: now)
        for module in (run_screen, steering, drawing):
            monkeypatch.setattr(module, "time", clocks)

    return stop


Show = Callable[..., AbstractAsyncContextManager[Shown]]


@pytest.fixture
def show_run(still: Callable[[float], None]) -> Show:
    """Shows recorded events on the run screen at a size."""

    @asynccontextmanager
    async def shown(events: list[Event], size: tuple[int, int] = (120, 40)) -> AsyncIterator[Shown]:
        still(events[-1].at + 8)
        run = ReplayedRun(events)
        app = TrainerApp(
            resolve([]), recorded=run, begin=local_run
        )  # straight away: to build the form first takes most of the time
        async with app.run_test(size=size) as pilot:
            screen = next(screen for screen in app.screen_stack if isinstance(screen, RunScreen))
            view = Shown(pilot, screen, run)
            await pilot.pause()
            while screen.feed.given < len(events):
                await pilot.pause(0.01)
            await view.settle()
            try:
                yield view
            finally:
                run.close()

    return shown


@pytest.fixture
def show_form() -> Show:
    """Shows the settings form at a size."""

    @asynccontextmanager
    async def shown(size: tuple[int, int] = (120, 40), **app_options: object) -> AsyncIterator[Shown]:
        app = TrainerApp(app_options.pop("resolved", None) or resolve([]), **app_options, begin=local_run)  # type: ignore[arg-type]
        async with app.run_test(size=size) as pilot:
            view = Shown(pilot)
            await view.settle()
            yield view

    return shown


@pytest.fixture
def same_as_before(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compares a screen with the one that was looked at and kept; `--update-screens` keeps the new one."""

    def compare(name: str, text: str) -> None:
        path = SNAPSHOTS / f"{name}.txt"
        if request.config.getoption("--update-screens"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"{path.name} is missing; look at the screen, then keep it with --update-screens"
        assert text == path.read_text(encoding="utf-8")

    return compare
