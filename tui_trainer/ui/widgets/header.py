"""The lines above the panels: who and how (identity), how far (progress), how it goes just now (now)."""

import math
import time
from collections.abc import Hashable, Sequence

from textual.content import Content

from tui_trainer.run.state import RunState
from tui_trainer.settings.places import short
from tui_trainer.text import ago, clean, clock, fixed, number, percent
from tui_trainer.ui.widgets.panel import MUTED, View

STATUS = {
    "waiting": ("… waiting", "$primary"),
    "preparing": ("… preparing", "$primary"),
    "training": ("● training", "$success"),
    "validating": ("◐ validating", "$secondary"),
    "testing": ("◐ testing", "$secondary"),
    "paused": (" ❚❚ PAUSED ", "bold $background on $warning"),
    "parked": (" ▣ PARKED ", "bold $background on $warning"),
    "stopping": (" ■ stopping ", "$background on $warning"),
    "finished": ("✔ finished", "bold $success"),
    "out_of_patience": ("✔ out of patience", "bold $success"),
    "stopped": ("■ stopped", "bold $warning"),
    "interrupted": ("■ interrupted", "bold $warning"),
    "diverged": (" ✖ DIVERGED ", "bold $background on $error"),
    "failed": (" ✖ FAILED ", "bold $background on $error"),
    "lost": (" ✖ LOST ", "bold $background on $error"),
}
"""Each state by a word, a sign and a colour, so that none of the three is needed to tell them apart."""

UNUSUAL = 15.0
"""Seconds without an event after which that is said: a run reports every 7.5 s or more often, or after each batch."""
SILENCE = 130.0
"""Seconds without an event in which something hangs; by then log.txt has the traces of all threads."""

BLOCKS = "▁▂▃▄▅▆▇█"


def spark(values: Sequence[float], columns: int) -> str:
    """The newest `columns` values as blocks, by their logarithm between the least and the greatest."""
    shown = list(values)[-columns:]
    if not shown:
        return ""
    if min(shown) > 0:
        shown = [math.log(value) for value in shown]
    low, high = min(shown), max(shown)
    scale = 7 / (high - low) if high > low else 0
    return "".join(BLOCKS[round((value - low) * scale)] for value in shown)


def bar(fraction: float, width: int, style: str) -> Content:
    """A bar of `width` cells in half-cell steps."""
    halves = round(min(1.0, max(0.0, fraction)) * width * 2)
    full, half = divmod(halves, 2)
    rest = width - full - half
    return Content.assemble(("━" * full + "╸" * half, style), ("─" * rest, "$foreground 25%"))


class Clocked(View):
    """A line that also shows time going by between two events."""

    age = 0.0
    """Seconds since the last event of a run that is under way."""


class Identity(Clocked):
    """What is trained, on what, in which state, how well so far, and whether it is safe."""

    asked = ""
    """What the run was told to do and has not done yet; it stands in place of the state."""

    def key(self, state: RunState) -> Hashable:
        saved = self._saved(state)
        return (
            self.asked,
            state.status,
            state.best,
            state.lr,
            bool(state.settings),
            saved,
            int(state.elapsed + self.age),
        )

    def _saved(self, state: RunState) -> str:
        if not state.checkpoints:
            return ""
        newest = max(row.at for row in state.checkpoints.values())
        now = time.time() if self.at is None else self.at
        return "" if state.is_over else f"saved {ago(now - newest)}"

    def draw(self, state: RunState, width: int, height: int) -> Content:
        used = state.settings
        word, style = (
            (f"… {self.asked}", "$warning") if self.asked else STATUS.get(state.status, (clean(state.status, 20), ""))
        )
        names = [short(str(used.get("model", ""))), short(str(used.get("dataset", "")))]
        names += [f"{used.get('optimizer', '')} {number(state.lr, 3)}", state.device.split(",")[0]]
        best = f"best {state.headline(state.best)} @ {state.best.epoch}" if state.best else ""
        right = [word, best, self._saved(state), clock(state.elapsed + self.age)]
        wanted = len(" · ".join(part for part in names if part.strip()))
        while len(right) > 2 and sum(map(len, right)) + 3 * len(right) + wanted + 2 > width:
            right.pop(2 if len(right) > 3 else 1)
        tail_width = sum(len(part) for part in right if part) + 3 * sum(1 for part in right if part)
        name = clean(" · ".join(part for part in names if part.strip()), 200) if used else "new run"
        room = width - tail_width - 1
        name = name if len(name) <= room else name[: max(0, room - 1)] + "…"
        parts: list[tuple[str, str]] = [(f" {name:<{room}}", "bold")]
        for i, part in enumerate(part for part in right if part):
            parts.append((part, style if i == 0 else MUTED))
            parts.append(("   " if i < len(right) - 1 else " ", ""))
        return Content.assemble(*parts)


class Progress(Clocked):
    """How far the epoch and the run are, how fast, and how long it will take; in the end, what came out."""

    def key(self, state: RunState) -> Hashable:
        return (state.status, state.activity, state.step, state.epoch, len(state.epochs), state.test, int(self.age * 2))

    def draw(self, state: RunState, width: int, height: int) -> Content:
        if state.ended is not None and state.status in ("finished", "out_of_patience", "stopped", "interrupted"):
            return self._summary(state, width)
        if state.status in ("diverged", "failed", "lost"):
            return self._failure(state, width)
        if not state.batches:
            what = "first step: the processor warms up" if state.activity == "first step" else state.activity
            what = what if state.phase == "waiting" else f"preparing {what or 'the run'}"
            return Content.styled(f" {clean(what)} …", MUTED)
        if hold_up := self._hold_up(state):
            place = f" epoch {state.epoch}/{state.total_epochs}  batch {state.batch:,}/{state.batches:,}  "
            return Content.assemble((place, MUTED), (hold_up, "bold $warning"))
        epoch_left, run_left = state.seconds_left()
        quick = self.age if state.status in ("training", "validating", "testing") else 0.0
        epoch_left = None if epoch_left is None else max(0.0, epoch_left - quick)
        run_left = None if run_left is None else max(0.0, run_left - quick)
        style = "$warning" if state.status in ("paused", "parked", "stopping") else "$primary"
        if state.status in ("validating", "testing"):
            style = "$secondary"
        total = max(1, state.total_epochs)
        done = (max(0, state.epoch - 1) + state.batch / state.batches) / total
        places = len(f"{state.batches:,}")
        speed = f"{number(state.examples_per_second)} {state.things}/s"
        head = f" epoch {state.epoch:>{len(str(total))}}/{total} "
        batch = f" {state.batch:>{places},}/{state.batches:,} "
        left = f" {clock(epoch_left)} "
        run_tail = f" {percent(done):>7}  {clock(run_left)} left "
        bars = width - len(head) - len(batch) - len(left) - len(run_tail) - len("  run ")
        shows_speed = bars - len(speed) - 3 >= 20
        if shows_speed:
            bars -= max(len(speed), 18) + 2
        first = max(4, bars * 3 // 5)
        second = max(4, bars - first)
        parts = [
            Content(head),
            bar(state.batch / state.batches, first, style),
            Content(batch),
            Content.styled(left, MUTED),
            Content.styled(" run ", MUTED),
            bar(done, second, f"{style} 60%"),
            Content(run_tail),
        ]
        if shows_speed:
            parts.append(Content.styled(f" {speed:>18}", MUTED))
        return Content("").join(parts)

    def _hold_up(self, state: RunState) -> str:
        """What keeps a run from its next step, when it takes long."""
        if state.status == "training" and state.activity.startswith("waiting for data"):
            return clean(state.activity)
        if state.status == "training" and self.age >= SILENCE:
            return f"no step for {self.age:.0f} s; log.txt says where it stands"
        if state.status == "training" and self.age >= UNUSUAL:
            return f"silent for {self.age:.0f} s"
        return ""

    def _summary(self, state: RunState, width: int) -> Content:
        assert state.ended is not None
        parts = []
        if state.best:
            parts.append(f"best epoch {state.best.epoch}: {state.headline(state.best)}, loss {fixed(state.best.loss)}")
        if state.test:
            parts.append(f"test {state.headline(state.test)}")
        parts.append(f"in {clock(state.ended.seconds)}")
        if best := state.checkpoints.get("checkpoints/best.pt"):
            parts.append(best.path)
        elif last := state.checkpoints.get("checkpoints/last.pt"):
            parts.append(last.path)
        while len(parts) > 1 and len(" · ".join(parts)) > width - 2:
            parts.pop()
        return Content.styled(
            f" {' · '.join(parts) or 'nothing was trained'}", "bold $success" if state.best else "bold"
        )

    def _failure(self, state: RunState, width: int) -> Content:
        word = {"lost": "lost", "diverged": "diverged"}.get(state.status, "failed")
        where = "before the first step"
        if state.batches:
            where = f"in epoch {state.epoch} of {state.total_epochs}"
        best = f" · best epoch {state.best.epoch}: {state.headline(state.best)}" if state.best else ""
        text = f"{word} {where}, after {clock(state.elapsed)}{best}"
        return Content.styled(f" {text}"[:width], "bold $error")


class Now(View):
    """The training loss of the last reports as a sparkline, and the figures of the newest one."""

    link = 0.0
    """Seconds that a picture takes to a terminal which is slow, else 0."""

    def key(self, state: RunState) -> Hashable:
        return (state.step, state.lr, state.loss, state.status, f"{self.link:.1f}")

    def draw(self, state: RunState, width: int, height: int) -> Content:
        if state.loss is None:
            return Content("")
        figures = [("lr ", number(state.lr, 3)), ("grad norm ", number(state.grad_norm, 3))]
        figures.append(("data wait ", "-" if state.data_wait is None else f"{100 * state.data_wait:.0f} %"))
        figures = [(label, f"{value:<{max(len(value), 7)}}") for label, value in figures]
        if width < 70:
            figures = figures[:2]
        if self.link:
            figures = [*(figures if width >= 100 else figures[:1]), ("slow link ", f"{self.link:.1f} s")]
        taken = sum(len(label) + len(value) + 3 for label, value in figures) + 16
        columns = max(8, min(width - taken, 120))
        parts: list[tuple[str, str]] = [
            (" loss ", MUTED),
            (f"{spark(state.recent, columns):>{columns}}", "$primary"),
            (f" {fixed(state.loss):<7}", "bold"),
        ]
        for label, value in figures:
            parts += [("  " + label, MUTED), (value, "")]
        return Content.assemble(*parts)


class Trouble(View):
    """What went wrong, where, what is kept and what to do, in the words of the error."""

    DEFAULT_CSS = """
    Trouble {
        display: none;
        height: auto;
        max-height: 8;
        border-left: outer $error;
        padding: 0 1;
        background: $error 12%;
        &.-shown { display: block; }
    }
    """

    steers = True
    """False where no key carries the run on."""

    def __init__(self, name: str, id: str) -> None:
        super().__init__(id=id)
        self._run_name = name

    def _text(self, state: RunState) -> str:
        return text_of_trouble(state, self._run_name, steers=self.steers)

    def key(self, state: RunState) -> Hashable:
        return (state.status, state.ended)

    def show(self, state: RunState) -> bool:
        self.set_class(bool(self._text(state)), "-shown")
        self.state = state
        if (key := self.key(state)) == self._drawn:
            return False
        self._drawn = key
        self._picture = Content(self._text(state))
        self.refresh(layout=True)
        return True

    def on_resize(self) -> None:
        """Its height follows its text."""

    def draw(self, state: RunState, width: int, height: int) -> Content:
        return Content(self._text(state))


def text_of_trouble(state: RunState, name: str, *, steers: bool = True) -> str:
    """The sentences for a run that went wrong, nothing for one that did not; `name` is what it is carried on by."""
    if state.status == "lost":
        return (
            "The process that trained here ended without a goodbye: it was killed, or the machine went down.\n"
            f"What it had saved is whole. Carry on {'with r, or ' if steers else ''}"
            f"with: tui-trainer resume {clean(name, 80) or 'last'}"
        )
    if state.ended is None or not state.ended.error:
        return ""
    return "\n".join(clean(line, 300) for line in state.ended.error.split("\n"))
