"""The app: which screen follows which, and what they ask for that is not theirs to do."""

import os
import sys
from collections.abc import Callable, Iterable
from io import StringIO
from typing import Any, Protocol

from rich.console import Console
from textual import events, on
from textual.app import App, SystemCommand
from textual.binding import Binding
from textual.geometry import Size
from textual.screen import Screen

from tui_trainer.errors import TrainerError
from tui_trainer.own.admitted import Admitted
from tui_trainer.run.commands import Command, Pause
from tui_trainer.run.feed import Feed
from tui_trainer.run.folder import RunFolder
from tui_trainer.run.local import LocalRun
from tui_trainer.run.recorded import AttachedRun, RecordedRun
from tui_trainer.run.resume import Carried, Resume, carry, own_settings
from tui_trainer.run.state import RunState
from tui_trainer.runs.listing import holds_runs
from tui_trainer.settings.schema import Settings
from tui_trainer.settings.sources import Resolved, Source, resolve
from tui_trainer.text import clean
from tui_trainer.ui.screens.compare import CompareScreen
from tui_trainer.ui.screens.confirm_code import admit
from tui_trainer.ui.screens.replay import ReplayScreen
from tui_trainer.ui.screens.run.screen import RunScreen
from tui_trainer.ui.screens.runs import RunsScreen
from tui_trainer.ui.screens.settings import SettingsScreen
from tui_trainer.ui.terminal import driver as terminal
from tui_trainer.ui.themes import THEMES
from tui_trainer.ui.widgets.keys import bindings_of


class Begin(Protocol):
    """Makes a run that trains in this process, from its beginning or carried on."""

    def __call__(
        self, settings: Settings, carried: Carried | None = None, *, code: Admitted | None = None
    ) -> LocalRun: ...


class TrainerApp(App[None]):
    """Shows the form, then a run; or a run straight away."""

    CSS_PATH = "app.tcss"
    TITLE = "tui-trainer"
    BINDINGS = [
        Binding("ctrl+p", "command_palette", "Palette", tooltip="Every command by name; themes too.", key_display="^p"),
    ]

    def __init__(
        self,
        resolved: Resolved,
        *,
        begin: Begin,
        start: bool = False,
        code: Admitted | None = None,
        preset: str | None = None,
        recorded: RecordedRun | None = None,
        carried: Carried | None = None,
        replay: ReplayScreen | None = None,
        compared: list[RunFolder] | None = None,
        runs: bool = False,
        local: LocalRun | None = None,
    ) -> None:
        """`start` begins a run at once, with the user's own `code` that was admitted. `local` is one made already.

        `runs` opens the list of runs where there are some, in place of the form.
        """
        super().__init__(driver_class=terminal.Driver if sys.platform != "win32" else None)
        self._begin_run, self._code = begin, code
        self._resolved, self._start, self._preset = resolved, start, preset
        self._recorded, self._carried, self._replay = recorded, carried, replay
        self._compared, self._runs_first, self._local = compared, runs, local
        known = recorded.folder if recorded else carried.folder if carried else compared[0] if compared else None
        self._output_dir = os.path.relpath(known.path.parent) if known else resolved.settings.output_dir
        self.crash = ""
        """The traceback of what ended the screen, when that was a fault."""
        self.feed: Feed | None = None
        """The run that is under way or was last, if any."""
        for theme in THEMES:
            self.register_theme(theme)
        chosen = os.environ.get("TEXTUAL_THEME", "")
        self.theme = chosen if chosen in self.available_themes else THEMES[0].name

    def on_mount(self) -> None:
        self.set_interval(0.5, self._repaint_what_is_not_right)
        if isinstance(self._driver, terminal.Driver):
            terminal.plain_streams()
        if self._replay is not None:
            self.push_screen(self._replay, lambda _: self.exit())
        elif self._recorded is not None:
            self.watch_run(RunScreen(self._recorded))
        elif self._local is not None:
            self.watch_run(RunScreen(self._local))
        elif self._carried is not None:
            self.carry_on(self._carried)
        elif self._start:
            self.start_run(self._resolved.settings, self._code)
        elif self._compared is not None:
            self.push_screen(CompareScreen(self._compared))
        elif self._runs_first and holds_runs(self._output_dir):
            self.show_runs()
        else:
            self.show_form()

    # --- from screen to screen ---

    def show_form(self, fresh: SettingsScreen | None = None) -> None:
        """The form as it was left, or a new one: it is not built before somebody wants to see it."""
        if fresh is not None and self.is_screen_installed("form"):
            self.uninstall_screen("form")
        self._bring("form", lambda: fresh or SettingsScreen(self._resolved, self._preset))

    def show_runs(self) -> None:
        """The list of runs, as it was left."""
        self._bring("runs", lambda: RunsScreen(self._output_dir))
        if isinstance(self.screen, RunsScreen):
            self.screen.output_dir = self._output_dir

    def _bring(self, name: str, make: Callable[[], Screen[Any]]) -> None:
        """Show one of the two screens that stay: what lies on top of it, or else in its place, goes."""
        if not self.is_screen_installed(name):
            self.install_screen(make(), name)
        wanted = self.get_screen(name)
        while self.screen is not wanted and (wanted in self.screen_stack or not self._stays(self.screen)):
            if len(self.screen_stack) == 1:
                break
            self.pop_screen()
        if self.screen is not wanted:
            self.push_screen(name)

    def _stays(self, screen: Screen[Any]) -> bool:
        return isinstance(screen, (SettingsScreen, RunsScreen)) and self.is_screen_installed(screen)

    @on(SettingsScreen.Runs)
    @on(RunScreen.Leave)
    @on(CompareScreen.Leave)
    def to_runs(self) -> None:
        self.show_runs()

    @on(RunsScreen.New)
    def new_run(self) -> None:
        self.show_form()

    @on(RunsScreen.Compare)
    def compare_runs(self, message: RunsScreen.Compare) -> None:
        self.push_screen(CompareScreen(message.folders))

    @on(RunsScreen.Open)
    def open_run(self, message: RunsScreen.Open) -> None:
        self.watch_run(RunScreen(AttachedRun(message.folder)))

    @on(RunsScreen.Resume)
    @on(RunScreen.Resume)
    def resume_run(self, message: RunsScreen.Resume | RunScreen.Resume) -> None:
        self._resume(message.folder, {})

    @on(SettingsScreen.CarryOn)
    def resume_with(self, message: SettingsScreen.CarryOn) -> None:
        self._resume(message.folder, message.typed)

    def _resume(self, folder: RunFolder, typed: dict[str, str]) -> None:
        """Carry a run on with the settings that were typed, or say why not."""
        try:
            carried = carry(folder, typed, Resume())
        except TrainerError as error:
            self._say(str(error), "error")
            return
        if carried.nothing_to_do:
            self._say(carried.nothing_to_do, "warning")
            return
        self.clear_notifications()
        self.carry_on(carried)

    @on(RunsScreen.Clone)
    @on(RunsScreen.Edit)
    def form_of_run(self, message: RunsScreen.Clone | RunsScreen.Edit) -> None:
        """The form with a run's settings: for a new one like it, or to carry it on."""
        try:
            own = own_settings(message.folder, RunState(settings=message.run.settings))
            if isinstance(message, RunsScreen.Edit):
                self.push_screen(SettingsScreen(resolve([own]), carries=message.folder))
                return
            kept = {n: value for n, value in own.values.items() if n not in ("seed", "name")}
            self.show_form(SettingsScreen(resolve([Source(own.label, kept)])))
        except TrainerError as error:
            self._say(str(error), "error")

    def _say(self, text: str, severity: str) -> None:
        self.notify(clean(text, 600), severity=severity, markup=False, timeout=8)  # type: ignore[arg-type]

    @on(SettingsScreen.Start)
    def start(self, message: SettingsScreen.Start) -> None:
        admit(self, message.settings, message.origins, self.start_run)

    def start_run(self, settings: Settings, code: Admitted | None = None) -> None:
        """Train here, and show it."""
        self.clear_notifications()  # what was wrong on the form is mended
        try:
            run = self._begin_run(settings, code=code)
        except TrainerError as error:  # the run that it should wait for has gone since
            self.show_form()
            self.notify(clean(error, 300), severity="error", markup=False)
            return
        self._output_dir = settings.output_dir  # the list is then of where this run is
        self.watch_run(RunScreen(run))

    def carry_on(self, carried: Carried) -> None:
        """Carry a run on. When settings are changed it waits for a yes before its first step."""
        run = self._begin_run(carried.settings, carried)
        if carried.changed:
            run.send(Pause())
        self.watch_run(RunScreen(run))

    def watch_run(self, screen: RunScreen) -> None:
        """Show a run; the form comes after it."""
        self.feed = screen.feed
        self.push_screen(screen, lambda _: self.show_form())

    @on(RunScreen.Replay)
    def replay(self, message: RunScreen.Replay) -> None:
        """Play a recorded run on top of the screen that asks for it."""
        try:
            self.push_screen(ReplayScreen(message.folder))
        except TrainerError as error:
            self.notify(clean(error, 300), severity="warning", markup=False)

    # --- what leaving.py and the driver call ---

    def _print_error_renderables(self) -> None:
        """A fault of the screen: its traceback goes to the run's log, not to the user."""
        with StringIO() as text:
            console = Console(file=text, width=120, no_color=True)
            for renderable in self._exit_renderables:
                console.print(renderable)
            self.crash = text.getvalue()
        self._exit_renderables.clear()

    def terminal_is_gone(self) -> None:
        """The terminal was closed; from any thread. The screen ends, the run does not."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.exit)

    def tell(self, command: Command) -> None:
        """Send a command to the run that trains here, if one does; from any thread and any signal handler."""
        if self.feed is not None and self.feed.ended is None and self.feed.run.trains_here:
            self.feed.run.send(command)

    def _repaint_what_is_not_right(self) -> None:
        """After frames were dropped, and after a storm of sizes, of which a stale one may be told last."""
        driver = self._driver
        if not isinstance(driver, terminal.Driver):
            return
        if driver.caught_up():
            self.screen.refresh(layout=True)
        if not driver.lost and (size := Size(*driver.window_size())) != self.size:
            self.post_message(events.Resize(size, size))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """The palette: every key of the screen as a command, and the themes."""
        for binding in bindings_of(screen):
            if binding.description and binding.tooltip and binding.action and "palette" not in binding.action:
                yield SystemCommand(
                    binding.description, binding.tooltip, lambda action=binding.action: self._run_on_screen(action)
                )
        yield SystemCommand(
            "Theme", "Choose the colours: dark, light, colour-blind safe, and more.", self.search_themes
        )
        yield SystemCommand("Screenshot", "Save this screen as an SVG file.", lambda: self.deliver_screenshot())

    def _run_on_screen(self, action: str) -> None:
        self.call_later(self.screen.run_action, action)
