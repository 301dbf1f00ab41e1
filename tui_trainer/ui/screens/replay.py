"""The replay: the run screen of a recorded run, with a line to play it by in place of the keys that steer."""

import time

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding

from tui_trainer.run.folder import RunFolder
from tui_trainer.run.recorded import RecordedRun
from tui_trainer.runs.player import Player
from tui_trainer.ui.screens.run.screen import RunScreen
from tui_trainer.ui.terminal.pace import Pace
from tui_trainer.ui.widgets.header import Trouble
from tui_trainer.ui.widgets.keys import KeyLine, bindings_of
from tui_trainer.ui.widgets.player_line import PlayerLine


def _keys_that_look(*actions: str) -> list[Binding]:
    """The run screen's keys for what steers nothing."""
    known = [binding for binding in RunScreen.BINDINGS if isinstance(binding, Binding)]
    return [binding for action in actions for binding in known if binding.action.split("(")[0] == action]


class ReplayScreen(RunScreen, inherit_bindings=False):
    """A recorded run that plays. What is there when it is opened is played; nothing is waited for."""

    TICK = 0.1
    """Seconds from one look at the clock to the next."""
    SKIP = 0.02
    """The part of the whole that an arrow key seeks."""

    BINDINGS = [
        Binding("space", "play", "Play", tooltip="Play or stand still; from the end, play again.", id="play"),
        Binding("right", "skip(1)", "Seek", tooltip="Back and on by 2 % of the run.", key_display="← →"),
        Binding("left", "skip(-1)", show=False),
        Binding(
            "n", "mark(1)", "Mark", tooltip="To the mark before, to the next one; it stops there.", key_display="b n"
        ),
        Binding("b", "mark(-1)", show=False),
        Binding(
            "plus,equals_sign,right_square_bracket", "speed(1)", "Speed", tooltip="Slower, faster.", key_display="- +"
        ),
        Binding("minus,left_square_bracket", "speed(-1)", show=False),
        *_keys_that_look("zoom", "help"),
        Binding("q,escape", "leave", "Leave", tooltip="Leave the replay.", id="leave"),
        Binding(
            "full_stop,shift+right",
            "event(1)",
            "Event",
            tooltip="One event back, one on; it stops there.",
            key_display=", .",
        ),
        Binding("comma,shift+left", "event(-1)", show=False),
        *_keys_that_look("outcome", "log_axis", "model", "next_panel", "panel", "scroll", ""),
        Binding(
            "home",
            "seek(0)",
            "Begin and end",
            tooltip="To the first event, to the last.",
            show=False,
            key_display="home end",
        ),
        Binding("end", "seek(1)", show=False),
        Binding("ctrl+c", "leave", show=False),
    ]

    def __init__(self, folder: RunFolder, speed: float | None = None) -> None:
        """`speed` is in seconds of the run in a second; without it the whole run takes about half a minute.

        Raises:
            FolderError: the journal cannot be read.
        """
        self.player = Player(folder)
        super().__init__(RecordedRun(folder), self.player.state)
        self._speed = speed
        self._reading = self.player.read()
        self._last = 0.0
        """When the clock was looked at last."""
        self._lines = Pace(share=0.2, least=self.TICK)
        self._panels = Pace(share=0.2, least=2 * self.TICK)

    def compose(self) -> ComposeResult:
        yield from super().compose()
        yield PlayerLine(self.player, id="player")

    def on_unmount(self) -> None:
        self.player.close()

    # --- playing ---

    def _begin(self) -> None:
        self.line = self.query_one(PlayerLine)
        self.query_one(Trouble).steers = False
        self._read_on()

    def _read_on(self) -> None:
        """Read for a moment; then the screen is drawn and keys are answered. When all is read it plays."""
        if not self.is_attached:
            return
        until = time.monotonic() + self.TICK
        while (part := next(self._reading, None)) is not None and time.monotonic() < until:
            pass
        self.line.read = part
        if part is not None:
            self._draw_lines()
            self.set_timer(0.005, self._read_on)
            return
        self.player.begin(self._speed)
        self._last = time.monotonic()
        self.set_interval(self.TICK, self._tick)
        self._moved()

    def _tick(self) -> None:
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        if self.is_active and self._keeps_up():  # it waits beneath a dialog, and for a terminal that stands still
            self.play(min(seconds, 5 * self.TICK))

    def play(self, seconds: float) -> None:
        """Let it play for so many seconds, and draw what is due."""
        playing = self.player.playing
        self._dirty |= self.player.advance(seconds)
        self.state = self.player.state
        ended = playing and not self.player.playing
        panels = self._dirty and (ended or self._panels.due(busy=True))
        if panels or (playing and self._lines.due(busy=True)):
            self._draw(panels=panels)
        if ended:
            self.query_one(KeyLine).refresh()

    def _moved(self) -> None:
        """The place has changed, or how it plays: the lines are drawn at once, the panels when they are due."""
        self.state = self.player.state
        self._dirty = True
        self._draw(panels=self._panels.due(busy=True))
        self.query_one(KeyLine).refresh()

    @property
    def _age(self) -> float:
        return self.player.age

    def _draw_lines(self) -> None:
        for view in self._views:
            view.at = self.player.at
        super()._draw_lines()

    # --- keys ---

    def why_not(self, action: str) -> str | None:
        if self.line.read is not None and action.split("(")[0] in ("play", "skip", "mark", "event", "seek", "speed"):
            return "The journal is still being read."
        return super().why_not(action) if action in ("model", "outcome") else None

    def shown_keys(self) -> list[Binding]:
        return [binding for binding in bindings_of(self) if binding.show]

    def label_of(self, binding: Binding) -> str:
        if binding.action == "play":
            return "Again" if self.player.at_end else "Pause" if self.player.playing else "Play"
        return super().label_of(binding)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if self.is_mounted and self.why_not(action):
            return None
        return super().check_action(action, parameters)

    def action_play(self) -> None:
        if self.player.at_end:
            self.player.seek(0.0)
            self.player.playing = not self.player.at_end
        else:
            self.player.playing = not self.player.playing
        self._last = time.monotonic()
        self._moved()

    def action_skip(self, way: int) -> None:
        self.player.seek(self.player.now + way * self.SKIP * self.player.duration)
        self._moved()

    def action_seek(self, part: float) -> None:
        self.player.seek(part * self.player.duration)
        self._moved()

    @on(PlayerLine.Sought)
    def sought(self, message: PlayerLine.Sought) -> None:
        self.player.seek(message.moment)
        self._moved()

    def action_event(self, way: int) -> None:
        self.player.step(way)
        self._moved()

    def action_mark(self, way: int) -> None:
        found = self.player.next_bookmark() if way > 0 else self.player.previous_bookmark()
        if not found:
            self.say("There is no mark after this place." if way > 0 else "There is no mark before this place.")
        self._moved()

    def action_speed(self, way: int) -> None:
        before = self.player.speed
        if way > 0:
            self.player.faster()
        else:
            self.player.slower()
        if self.player.speed == before:
            self.say("It does not play faster." if way > 0 else "It does not play slower.")
        self._moved()

    def action_leave(self) -> None:
        self.dismiss(None)
