"""What is known of a run beside the table: why it failed, what is not as by default, what can be carried on from."""

import os
import time
from collections.abc import Sequence

from textual.content import Content
from textual.widget import Widget

from tui_trainer.run.folder import RunFolder
from tui_trainer.run.scores import figure, title
from tui_trainer.runs.listing import SAMPLES, Summary
from tui_trainer.settings.schema import FIELDS
from tui_trainer.settings.writing import as_text
from tui_trainer.text import clean, fixed, size
from tui_trainer.ui.widgets.charts import Curve, plot
from tui_trainer.ui.widgets.header import spark
from tui_trainer.ui.widgets.panel import MUTED
from tui_trainer.ui.widgets.run_table import cut, of_epochs, word_of


class RunDetails(Widget):
    """What the table has no room for: why a run failed, its settings that are not the default, its checkpoints."""

    DEFAULT_CSS = """
    RunDetails {
        border: round $foreground 25%;
        border-title-color: $text-muted;
        padding: 0 1;
    }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines: list[tuple[str, str, str]] = []
        self._losses: tuple[float, ...] = ()

    def show(self, run: Summary | None) -> None:
        """Describe a run; None leaves the frame out."""
        self.display = run is not None
        if run is None:
            return
        word, style = word_of(run)
        self.border_title = Content(run.name)
        best = best_in_words(run)
        began = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.started))
        parameters = f" · {run.parameters:,} parameters" if run.parameters else ""
        curve = f"{spark(run.losses, SAMPLES)} {fixed(run.losses[0])} → {fixed(run.losses[-1])}" if run.losses else "-"
        self._lines = [
            ("state", f"{word}  {run.why}" if run.why else word, style),
            ("best", best if run.best_epoch else "-", ""),
            ("settings", changed_settings(run), ""),
            ("saved", checkpoints_in(run.folder), ""),
            ("began", f"{began} · epoch {of_epochs(run)} · step {run.step:,} · {run.device or '-'}{parameters}", ""),
            ("loss", curve, "$primary"),
            ("folder", clean(run.path, 300), ""),
        ]
        self._losses = run.losses
        self.refresh()

    def render(self) -> Content:
        width, height = self.content_size
        room = max(10, width - 10)
        wanted = [(label, wrap(text, room), style) for label, text, style in self._lines]
        most = max(1, height - (len(wanted) - 1))  # of one, though the others have a line each
        lines: list[Content] = []
        for label, texts, style in wanted:
            shown = texts[: max(1, min(most, 4))]
            if len(shown) < len(texts):
                shown[-1] = cut(shown[-1] + " …", room)
            for i, text in enumerate(shown):
                lines.append(Content.assemble((f"{'' if i else label:<9} ", MUTED), (text, style)))
            most -= len(shown) - 1
        if height - len(lines) >= 8 and len(self._losses) > 1:
            lines += self._chart(width, min(20, height - len(lines) - 2))
        return Content("\n").join(lines[:height])

    def _chart(self, width: int, height: int) -> list[Content]:
        """The sampled losses, where there is room: from the run's beginning to its newest report."""
        places = [float(i) for i in range(len(self._losses))]
        chart = plot([Curve(places, self._losses, 1)], width, height, ticks={}, right=places[-1], log=True)
        return [Content(""), Content.styled("training loss · log y", MUTED), chart]


def best_in_words(run: Summary) -> str:
    """What was measured at the best epoch, the result first, and the result of the test."""
    first, *others = run.scores
    parts = [] if first.name == "loss" else [f"{title(first.name)} {figure(run.result, first)}"]
    parts.append(f"loss {fixed(run.best_loss)}")
    parts += [f"{title(s.name)} {figure(run.best(s.name), s)}" for s in others if run.best(s.name) is not None]
    tested = run.tested(first.name)
    test = f"; test {title(first.name)} {figure(tested, first)}" if tested is not None else ""
    return f"{', '.join(parts)} at epoch {run.best_epoch}{test}"


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most `width` cells, broken between words where that is possible."""
    lines = [""]
    for word in text.split(" "):
        if len(lines[-1]) + 1 + len(word) <= width and lines[-1]:
            lines[-1] += f" {word}"
            continue
        if lines[-1]:
            lines.append("")
        while len(word) > width:
            lines[-1] = word[:width]
            word = word[width:]
            lines.append("")
        lines[-1] = word
    return lines


def changed_settings(run: Summary) -> str:
    """The settings that are not the default, in words; the seed and where the run is left out."""
    left_out = ("seed", "name", "output_dir", "data_dir")
    words = [
        f"{name} {clean(as_text(value), 40)}"
        for name, value in run.settings.items()
        if name in FIELDS and name not in left_out and value is not None and value != FIELDS[name].default
    ]
    return " · ".join(words) or ("all as by default" if run.settings else "not known")


def checkpoints_in(folder: RunFolder) -> str:
    """The checkpoints on the disk and their sizes, best and last first."""
    try:
        with os.scandir(folder.checkpoints) as entries:
            found = {entry.name: entry.stat().st_size for entry in entries if entry.name.endswith(".pt")}
    except OSError:
        found = {}
    if not found:
        return "none"
    first = [name for name in ("best.pt", "last.pt", "prev.pt") if name in found]
    return _listed([*first, *sorted(set(found) - set(first))], found)


def _listed(names: Sequence[str], sizes: dict[str, int]) -> str:
    """Six of them, and how many more."""
    words = [f"{clean(name, 40)} {size(sizes[name])}" for name in names[:6]]
    if len(names) > 6:
        words.append(f"and {len(names) - 6} more, {size(sum(sizes.values()))} in all")
    return " · ".join(words)
