"""The runs in a folder, the newest first: found by words, compared, opened, carried on, deleted."""

import os
from pathlib import Path

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Container, Horizontal
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Input, Label, Static

from tui_trainer.errors import TrainerError
from tui_trainer.run.folder import RunFolder
from tui_trainer.runs.comparison import MOST
from tui_trainer.runs.delete import delete
from tui_trainer.runs.listing import Summary, list_runs
from tui_trainer.runs.query import HELP, SORTS, Test, measured_in, ordered, understood
from tui_trainer.text import clean
from tui_trainer.ui.screens.after_refresh import after_refresh
from tui_trainer.ui.screens.dialogs import Ask
from tui_trainer.ui.screens.dialogs import Help as HelpDialog
from tui_trainer.ui.widgets.keys import KeyLine, too_small
from tui_trainer.ui.widgets.panel import MUTED
from tui_trainer.ui.widgets.run_details import RunDetails, checkpoints_in
from tui_trainer.ui.widgets.run_table import RunTable

EVERY = 2.0
"""Seconds from one look at the folder to the next."""


class RunsScreen(Screen[None]):
    """A line a run. What is to be done with one goes to the app as a message."""

    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (60, "-narrow"), (110, "-normal"), (190, "-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-flat"), (15, "-low"), (24, "-middle"), (32, "-tall")]
    AUTO_FOCUS = "RunTable"

    BINDINGS = [
        Binding("enter", "open", "Open", tooltip="Show this run, live or recorded.", id="open"),
        Binding("n", "new", "New", tooltip="Configure a new run.", id="new"),
        Binding("r", "resume", "Resume", tooltip="Carry it on from its newest checkpoint.", id="resume"),
        Binding(
            "slash",
            "filter",
            "Filter",
            tooltip="Only some runs: state:live, lr<0.01 ...",
            id="filter",
            key_display="/",
        ),
        Binding("space", "mark", "Mark", tooltip="Mark it for comparing, or not any more.", id="mark"),
        Binding("c", "compare", "Compare", tooltip="Compare what is marked, or it with this.", id="compare"),
        Binding("question_mark", "help", "Help", tooltip="All keys of this screen.", id="help"),
        Binding("q", "app.quit", "Quit", tooltip="Leave; runs of other processes go on.", id="quit"),
        Binding("o", "sort", "Sort", tooltip="By age, score, loss, name, state, lr.", id="sort"),
        Binding("e", "edit", "Edit", tooltip="Carry it on with other settings.", id="edit"),
        Binding("u", "clone", "Use settings", tooltip="Begin a new run with its settings.", id="clone"),
        Binding("d", "delete", "Delete", tooltip="Delete it with its checkpoints (asks).", id="delete"),
        Binding("p", "path", "Path", tooltip="Show its folder and copy the path.", id="path"),
        Binding("escape", "clear", "Show all", tooltip="Take filter and marks away.", show=False),
        Binding("up", "move(-1)", "Move", tooltip="Choose another run.", show=False, key_display="↑ ↓"),
        Binding("down", "move(1)", show=False),
        Binding("pageup", "page(-1)", "Page", tooltip="A page up or down.", show=False, key_display="⇞ ⇟"),
        Binding("pagedown", "page(1)", show=False),
        Binding("home", "move(-1000000)", "First", tooltip="To the first run, or the last.", show=False),
        Binding("end", "move(1000000)", show=False),
        Binding("ctrl+c,ctrl+q", "app.quit", show=False),
    ]

    class Listed(Message):
        """The folder was read."""

        def __init__(self, runs: list[Summary]) -> None:
            super().__init__()
            self.runs = runs

    class _OfRun(Message):
        """Something is to be done with a run."""

        def __init__(self, run: Summary) -> None:
            super().__init__()
            self.run, self.folder = run, run.folder

    class Open(_OfRun):
        """Show it."""

    class Resume(_OfRun):
        """Carry it on as it is."""

    class Edit(_OfRun):
        """Carry it on with other settings."""

    class Clone(_OfRun):
        """Begin another run with its settings."""

    class New(Message):
        """Configure a new run."""

    class Compare(Message):
        """Show runs side by side."""

        def __init__(self, folders: list[RunFolder]) -> None:
            super().__init__()
            self.folders = folders

    def __init__(self, output_dir: str) -> None:
        super().__init__()
        self.output_dir = output_dir
        self.runs: list[Summary] | None = None
        """All that there are; None before the first look."""
        self.sort = next(iter(SORTS))
        self._matches: Test = understood("")[0]
        self._problem = ""
        self._reading = False

    def compose(self) -> ComposeResult:
        yield too_small()
        yield Static(id="title")
        with Horizontal(id="filter"):
            yield Label("/ ", id="slash")
            yield Input(compact=True, id="words")
        yield Static(id="note")
        with Container(id="body"):
            yield RunTable(id="runs")
            yield RunDetails(id="details")
        yield KeyLine()

    def on_mount(self) -> None:
        self.table = self.query_one(RunTable)
        self.details = self.query_one(RunDetails)
        self.details.display = False
        self.words = self.query_one("#words", Input)
        self.set_interval(EVERY, self._look_again)
        self._draw()

    def on_screen_resume(self) -> None:
        self.look()

    # --- reading ---

    def _look_again(self) -> None:
        if self.is_current:
            self.look()

    def look(self) -> None:
        """Read the folder, beside the screen: a thousand runs take a moment."""
        if not self._reading:
            self._reading = True
            self._read()

    @work(thread=True)
    def _read(self) -> None:
        try:
            self.post_message(self.Listed(list_runs(self.output_dir)))
        finally:
            self._reading = False

    @on(Listed)
    def listed(self, message: Listed) -> None:
        self.runs = message.runs
        there = {run.path for run in message.runs}
        self.table.marked = [path for path in self.table.marked if path in there]
        self._draw()

    # --- drawing ---

    def _draw(self) -> None:
        runs = self.runs or []
        shown = ordered(filter(self._matches, runs), self.sort)
        self.table.show(shown, self._empty())
        self._draw_title(len(runs), len(shown))

    def _empty(self) -> str:
        """What an empty table says."""
        if self.runs is None:
            return f"\n   reading {clean(self.output_dir, 60)} …"
        if self.runs:
            return "\n   No run matches. Escape shows all of them."
        return f"\n   There are no runs in {clean(self.output_dir, 60)} yet.\n   n starts the first one."

    def _draw_title(self, count: int, shown: int) -> None:
        live = sum(run.is_live for run in self.runs or ())
        facts = [f"{count:,} runs" if count != 1 else "1 run"]
        facts += [f"{shown:,} shown"] if shown != count else []
        facts += [f"{live} live"] if live else []
        facts += [f"{len(self.table.marked)} marked"] if self.table.marked else []
        facts.append(f"by {self.sort}")
        right = " · ".join(facts) + " "
        where = clean(os.path.join(self.output_dir, ""), 200)
        room = max(0, self.size.width - len(right) - len(" Runs  ") - 1)
        where = where if len(where) <= room else "…" + where[len(where) - room + 1 :] if room > 1 else ""
        title = Content.assemble((" Runs  ", "bold"), (f"{where:<{room}} ", MUTED), (right, MUTED))
        self.query_one("#title", Static).update(title)

    @on(RunTable.Moved)
    def describe(self) -> None:
        """Show the chosen run's details; the keys that have nothing to do are dimmed."""
        self.details.show(self.table.current)
        self._draw_title(len(self.runs or ()), len(self.table.rows))
        self.query_one(KeyLine).refresh()

    def on_resize(self) -> None:
        after_refresh(self, self._draw)

    # --- moving and choosing ---

    def action_move(self, lines: int) -> None:
        self.table.move(lines)

    def action_page(self, pages: int) -> None:
        self.table.move(pages * self.table.page)

    def action_mark(self) -> None:
        if not self._refuses("mark"):
            self.table.mark()

    def action_sort(self) -> None:
        names = list(SORTS)
        self.sort = names[(names.index(self.sort) + 1) % len(names)]
        self._draw()

    # --- the filter ---

    def action_filter(self) -> None:
        self.add_class("-filtered")
        self.words.focus()
        self._draw_note()

    @on(Input.Changed, "#words")
    def judge(self, event: Input.Changed) -> None:
        """Every letter changes what is shown; a word that means nothing, or nothing yet, changes nothing."""
        self._matches, self._problem = understood(event.value, measured_in(self.runs or ()))
        self._draw_note()
        self._draw()

    def _draw_note(self) -> None:
        note = self.query_one("#note", Static)
        style = "$text-error" if self._problem else MUTED
        note.update(Content.styled(clean(self._problem or HELP, 300), style))

    @on(events.DescendantFocus)
    @on(events.DescendantBlur)
    def explain(self) -> None:
        """What may be typed is said while somebody types."""
        self.set_class(self.focused is self.words, "-typing")

    @on(Input.Submitted, "#words")
    def keep_filter(self) -> None:
        self.set_class(bool(self.words.value.strip()), "-filtered")
        self.table.focus()

    def action_clear(self) -> None:
        """Step by step: out of the filter, then without marks."""
        if self.has_class("-filtered"):
            self.words.value = ""
            self.remove_class("-filtered")
            self.table.focus()
        elif self.table.marked:
            self.table.marked = []
            self.table.refresh()
            self.describe()

    # --- doing ---

    def why_not(self, action: str) -> str | None:
        """Why a key does nothing just now, or None when it does something."""
        run = self.table.current if self.is_mounted else None
        if action in ("open", "resume", "edit", "clone", "delete", "path", "mark") and run is None:
            return "There is no run here."
        if action == "compare":
            count = len(self._to_compare())
            if count < 2:
                return "Mark a run with space, then choose another one."
            return f"{count} runs are marked; {MOST} can be told apart." if count > MOST else None
        if run is None:
            return None
        if run.state == "unreadable" and action in ("open", "resume", "edit", "clone", "mark"):
            return f"This run cannot be read: {run.why}."
        if run.is_live and action in ("resume", "edit"):
            return "This run is under way: enter shows it."
        if run.is_live and action == "delete":
            return "This run is under way: stop it first."
        if action == "clone" and not run.settings:
            return "The settings of this run are not known."
        return None

    def _refuses(self, action: str) -> bool:
        if reason := self.why_not(action):
            self.say(reason, "warning")
        return reason is not None

    def _tell(self, action: str, message: type[_OfRun]) -> None:
        if not self._refuses(action) and self.table.current:
            self.post_message(message(self.table.current))

    @on(RunTable.Opened)
    def action_open(self) -> None:
        self._tell("open", self.Open)

    def action_resume(self) -> None:
        self._tell("resume", self.Resume)

    def action_edit(self) -> None:
        self._tell("edit", self.Edit)

    def action_clone(self) -> None:
        self._tell("clone", self.Clone)

    def action_new(self) -> None:
        self.post_message(self.New())

    def _to_compare(self) -> list[Path]:
        """The marked runs; the chosen one too when that makes two."""
        paths = list(self.table.marked) if self.is_mounted else []
        if len(paths) == 1 and self.table.current and self.table.current.path not in paths:
            paths.append(self.table.current.path)
        return paths

    def action_compare(self) -> None:
        if not self._refuses("compare"):
            self.post_message(self.Compare([RunFolder(path) for path in self._to_compare()]))

    def action_path(self) -> None:
        if not self._refuses("path") and self.table.current:
            path = os.path.abspath(self.table.current.path)
            self.app.copy_to_clipboard(path)
            self.say(f"{path} is on the clipboard, if this terminal lets programs copy.")

    def action_delete(self) -> None:
        run = self.table.current
        if self._refuses("delete") or run is None:
            return

        def remove(answer: str | None) -> None:
            if answer != "yes":
                return
            try:
                delete(run.folder)
            except TrainerError as error:
                self.say(str(error), "error")
            else:
                self.say(f"{run.name} is deleted.")
            self.look()

        saved = checkpoints_in(run.folder)
        question = f"Delete {run.name} with all that is in its folder? This cannot be undone.\nCheckpoints: {saved}"
        self.app.push_screen(Ask(question, {"keep": "Keep it", "yes": "Yes, delete it"}), remove)

    def action_help(self) -> None:
        self.app.push_screen(HelpDialog(self))

    def say(self, text: str, severity: str = "information") -> None:
        """A passing note on the screen."""
        self.notify(clean(text, 300), severity=severity, markup=False, timeout=4)  # type: ignore[arg-type]
