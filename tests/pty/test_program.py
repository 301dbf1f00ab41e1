"""The tour: one program in one terminal, from the form through a run and back, with every key on the way.

The tests share a program because it takes seconds to get one to train, but none needs what another did: each names the
station where it begins, the tour brings the program there, and the test leaves it there. So they can be run alone, in
any order and in any number of processes.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from tests.pty.conftest import failed
from tests.pty.terminal import Program, until
from tui_trainer.run.events import (
    BatchTrained,
    CheckpointSaved,
    EpochEnded,
    Evaluated,
    LearningRateChanged,
    RunEnded,
    RunPaused,
    RunResumed,
    Warned,
)
from tui_trainer.ui.screens.run.screen import RunScreen

pytestmark = pytest.mark.xdist_group("processes")  # the tour is made once, where groups are kept; no test needs that
BATCHES = 4500
"""In an epoch: one for every training example, so that an epoch lasts."""
WORDS = ["--dataset", "fashion-mnist-mini", "--model", "cnn", "--batch-size", "1", "--device", "cpu"]
PANELS = ("1 loss", "2 accuracy", "3 confusion", "4 epochs", "5 checkpoints", "6 events")
EPOCHS = "Epochs +{} *│"
"""The form's line for the number of epochs."""
Station = Literal["training", "stopped"]


def shows_all_panels(text: str) -> bool:
    return all(f"╭─ {panel} " in text for panel in PANELS) and "space Pause" in text.splitlines()[-1]


def types_the_epochs(form: Program) -> None:
    """Go to the form's line for the number of epochs and type 1000."""
    for title in ("batch size", "model", "loss", "optimizer", "learning rate", "epochs"):
        form.press("tab", re.compile(rf"(?m)^.{{60}}╭─ {title} ─"))
    form.type("1000", EPOCHS)


def pauses(run: Program) -> tuple[RunPaused, RunResumed]:
    """Pause it for two ticks of its clock and carry on; the two events."""
    before = len(run.journal.of(RunPaused)), len(run.journal.of(RunResumed))
    run.press("space", "❚❚ PAUSED", "space Carry on")
    paused = run.journal.wait_for(RunPaused, before[0] + 1)
    step = run.journal.step
    run.tick()
    run.tick()
    assert run.journal.step == step
    run.press("space", "● training")
    return paused, run.journal.wait_for(RunResumed, before[1] + 1)


def ends_the_epoch(run: Program) -> int:
    """End the epoch early, or the next one where it has no batch left; the number of the one that ends."""
    while True:
        told = len(answers(run))
        run.press("x")
        until(lambda told=told: len(answers(run)) > told, lambda: "an answer to the key")
        if ended := re.match(r"epoch (\d+) ends early", answers(run)[told]):
            return int(ended[1])
        assert "no batch left" in answers(run)[told]  # it was just being measured


def answers(run: Program) -> list[str]:
    """What the run has said to those who wanted to end an epoch."""
    return [told.text for told in run.journal.of(Warned) if told.answers == "EndEpoch"]


def measures(run: Program) -> list[Evaluated]:
    """Measure it in the middle of an epoch; all that was measured since."""
    before = len(run.journal.of(Evaluated))
    while not any(one.step % BATCHES for one in run.journal.of(Evaluated)[before:]):
        now = len(run.journal.of(Evaluated))
        run.press("e", "validation at step")
        run.journal.wait_for(Evaluated, now + 1)
    return run.journal.of(Evaluated)[before:]


def changes_the_rate(run: Program, rate: str, now: str) -> None:
    """Change the learning rate from `now` to `rate`."""
    changes = len(run.journal.of(LearningRateChanged))
    run.press("l", f"Learning rate from the next step on (now {now})")
    run.press("-", "must be a number, found '-'")
    run.press("backspace", "must be a number above 0")
    run.type(rate, "│  {} +│")
    run.press("enter", lambda text: "Learning rate from" not in text)
    assert run.journal.wait_for(LearningRateChanged, changes + 1).lr == float(rate)
    run.wait_for(f"learning rate {now} → {rate} (you)")
    run.wait_for(f"adam {rate}", f"lr {rate}")
    until(lambda: run.journal.of(BatchTrained)[-1].lr == float(rate), lambda: "a step at that rate")


# --- the form ---


@pytest.fixture
def form(tmp_path: Path) -> Iterator[Program]:
    """The settings form of a program that was just started."""
    with Program(tmp_path, *WORDS) as program:
        program.wait_for("^r Run")
        yield program


def test_the_form_is_there_before_torch(form: Program) -> None:
    if sys.platform == "linux":
        assert not form.has_torch
    form.wait_for("--batch-size 1 --model cnn", "22,500 in all")


def test_a_setting_changes_what_the_run_will_be_and_its_command_line(form: Program) -> None:
    types_the_epochs(form)
    form.wait_for("4,500,000 in all")
    form.wait_for("--model cnn --epochs 1000")


def test_a_wrong_value_says_why_and_nothing_is_run(form: Program) -> None:
    types_the_epochs(form)
    sentence = "Epochs: must be a whole number, found '1000x'"
    form.press("x", sentence, lambda text: "in all" not in text)
    form.press("ctrl+r", lambda text: text.count(sentence) == 2)
    assert not (form.journal.folder / "runs").exists()
    form.press("backspace", "4,500,000 in all")


# --- the tour ---


class Tour:
    """A program that is brought to where a test begins, and a new one when the last test has left it elsewhere."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self._folders = folders
        self._program: Program | None = None
        self._at: Station | None = None

    def to(self, station: Station) -> Program:
        """The program, which trains 1000 epochs with all panels on its screen, or was stopped after one or more."""
        program = self._program
        if program is None:
            program = self._program = Program(self._folders.mktemp("tour"), *WORDS)
            program.wait_for("^r Run")
            types_the_epochs(program)
            self._start(program)
        elif (self._at, station) == ("stopped", "training"):
            program.press("n", re.compile(EPOCHS.format("1000")))  # the form as it was left
            self._start(program)
        if (self._at, station) == ("training", "stopped"):
            program.journal.wait_for(EpochEnded, ends_the_epoch(program))
            program.press("s", "Stop the run in epoch")
            program.press("enter", "■ stopped")
            program.journal.wait_for(RunEnded)
            self._at = "stopped"
        return program

    def _start(self, form: Program) -> None:
        runs = form.journal.folder / "runs"
        before = set(runs.glob("*"))
        form.press("ctrl+r", "● training")
        assert form.journal.run not in before
        form.journal.wait_for(BatchTrained)
        form.wait_for(shows_all_panels)
        self._at = "training"

    def leave(self) -> None:
        """End the program: it is not where it was."""
        if self._program is not None:
            self._program.__exit__(None, None, None)
        self._program = self._at = None


@pytest.fixture(scope="module")
def shared_tour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tour]:
    tour = Tour(tmp_path_factory)
    yield tour
    tour.leave()


@pytest.fixture
def tour(shared_tour: Tour, request: pytest.FixtureRequest) -> Iterator[Tour]:
    """The tour, whose program ends with a test that fails."""
    yield shared_tour
    if failed(request.node):
        shared_tour.leave()


@pytest.fixture
def run(tour: Tour) -> Program:
    """The run screen while it trains."""
    return tour.to("training")


@pytest.fixture
def stopped(tour: Tour) -> Program:
    """The run screen after the run was stopped."""
    return tour.to("stopped")


# --- while it trains ---


def test_a_run_says_what_it_trains_and_how_far_it_is(run: Program) -> None:
    first = run.wait_for(shows_all_panels).splitlines()[0]
    assert all(word in first for word in ("cnn", "fashion-mnist-mini", "adam 0.001", "cpu"))
    run.wait_for(re.compile(r"epoch +\d+/1000"), "/4,500")


def test_space_pauses_and_carries_on(run: Program) -> None:
    paused, resumed = pauses(run)
    events = run.journal.events()
    assert events.index(resumed) == events.index(paused) + 1
    run.journal.goes_on(100)


def test_a_pause_does_not_count_as_slow_training(run: Program) -> None:
    paused, resumed = pauses(run)
    run.journal.goes_on()
    reports = run.journal.of(BatchTrained)
    before = [report for report in reports if report.at <= resumed.at][-1]
    after = next(report for report in reports if report.at > resumed.at)
    seconds = (after.step - before.step) / after.examples_per_second  # one example in each step
    assert resumed.at - paused.at > 1
    assert seconds < after.at - before.at - (resumed.at - paused.at) / 2


def test_the_learning_rate_is_changed_while_it_trains(run: Program) -> None:
    changes_the_rate(run, "0.0005", now="0.001")
    changes_the_rate(run, "0.001", now="0.0005")


def test_a_checkpoint_is_saved_on_request(run: Program) -> None:
    saves = len(run.journal.of(CheckpointSaved))
    run.press("c", "saved last checkpoint")
    saved = run.journal.wait_for(CheckpointSaved, saves + 1)
    assert (saved.kind, saved.bytes) == ("last", run.journal.last.stat().st_size)
    run.wait_for("last.pt")


def test_the_model_is_measured_in_the_middle_of_an_epoch(run: Program) -> None:
    measured = measures(run)
    assert all(one.split == "valid" for one in measured)
    run.wait_for(lambda text: f"{100 * run.journal.of(Evaluated)[-1].accuracy:.1f} %" in text)
    run.wait_for(re.compile(r"3 confusion · validation · epoch \d"))


def test_the_confusion_table_shows_shares_or_counts(run: Program) -> None:
    measures(run)
    run.press("m", "─ counts ─╯", "m Percent")
    run.press("m", "─ row % ─╯", "m Counts")


def test_the_loss_axis_is_logarithmic_or_linear(run: Program) -> None:
    run.press("y", "─ linear y ─╯", "y Log y")
    run.press("y", "─ log y ─╯", "y Linear y")


def test_a_panel_is_chosen_by_its_number_and_shown_alone(run: Program) -> None:
    run.press("3")
    run.press("z", "╭─ 3 confusion", "z All panels", lambda text: "1 loss" not in text)
    run.press("z", shows_all_panels)


def test_help_names_every_key(run: Program) -> None:
    text = run.press("?", "escape closes")
    missing = [b.tooltip for b in RunScreen.BINDINGS if b.tooltip and not re.search(f"  {b.description} ", text)]
    assert not missing
    run.press("escape", shows_all_panels)


def test_the_palette_opens_and_closes(run: Program) -> None:
    run.press("ctrl+p", "Search for commands")
    run.press("escape", shows_all_panels)


def test_the_layers_of_the_model_are_shown(run: Program) -> None:
    run.press("i", "421,642 parameters", "Conv2d", "in all")
    run.press("escape", shows_all_panels)


def test_the_window_may_have_any_size(run: Program) -> None:
    run.resize(80, 24)
    run.wait_for("1 Loss   2 Accuracy   3 Confusion", "q Quit", lambda text: text.count("╭") == 1)
    run.resize(40, 10)
    run.wait_for("needs a terminal of")
    run.resize(200, 60)
    run.wait_for(shows_all_panels)
    run.resize(120, 40)
    run.wait_for(shows_all_panels)
    run.journal.goes_on()


def test_a_storm_of_sizes_down_to_none_at_all_does_no_harm(run: Program) -> None:
    for number in range(120):
        run.resize(1 + 37 * number % 150, 1 + 23 * number % 50)
    run.resize(1, 1)
    run.wait_for(lambda text: text == "t")  # the first letter of what it needs
    drawn = len(run.raw)
    run.resize(0, 0)
    until(lambda: len(run.raw) > drawn + 5000, lambda: "a screen for a terminal that does not know its size")
    run.resize(120, 40)
    run.wait_for(shows_all_panels)
    run.journal.goes_on()


def test_a_key_with_nothing_to_do_says_why(run: Program) -> None:
    run.press("n", "The run is not over: stop it first (s).")


def test_another_terminal_watches_the_run_and_leaves_it_alone(run: Program) -> None:
    pauses = len(run.journal.of(RunPaused))
    with Program(run.journal.folder, "attach", "last", "--read-only", size=(100, 30)) as other:
        other.wait_for("● training")
        seen = re.compile(r" ([\d,]+)/4,500 ")
        first = seen.search(other.wait_for(seen))
        assert first
        other.wait_for(lambda text: (now := seen.search(text)) and now[1] != first[1])
        other.press("space", "Nobody takes commands")
        other.press("q")
        assert other.wait() == 0
    assert len(run.journal.of(RunPaused)) == pauses
    run.journal.goes_on()


def test_an_epoch_is_ended_early(run: Program) -> None:
    epoch = ends_the_epoch(run)
    run.journal.wait_for(EpochEnded, epoch)
    last = [report for report in run.journal.of(BatchTrained) if report.epoch == epoch][-1]
    assert last.batch < BATCHES
    run.wait_for(re.compile(rf"│ +{epoch} +\d\.\d+ +\d\.\d+ +\d\d\.\d %"))
    run.wait_for(lambda text: (now := re.search(r"epoch +(\d+)/1000", text)) and int(now[1]) > epoch)
    run.wait_for("best.pt")


def test_the_time_of_an_epoch_leaves_the_pause_out(run: Program) -> None:
    before = run.journal.wait_for(EpochEnded, ends_the_epoch(run))
    paused, resumed = pauses(run)
    ends_the_epoch(run)
    ended = run.journal.wait_for(EpochEnded, before.epoch + 1)
    pause = resumed.at - paused.at
    assert before.at < paused.at and resumed.at < ended.at and pause > 1
    assert ended.seconds == pytest.approx(ended.at - before.at - pause, abs=pause / 2)


def test_a_run_that_is_measured_while_paused_stays_paused(run: Program) -> None:
    pauses, carries = len(run.journal.of(RunPaused)), len(run.journal.of(RunResumed))
    run.press("space", "❚❚ PAUSED")
    run.journal.wait_for(RunPaused, pauses + 1)
    measured = len(run.journal.of(Evaluated))
    run.press("e")
    accuracy = run.journal.wait_for(Evaluated, measured + 1).accuracy
    run.wait_for("❚❚ PAUSED", "space Carry on", f"{100 * accuracy:.1f} %")
    run.press("space", "● training")
    run.journal.wait_for(RunResumed, carries + 1)
    run.journal.goes_on()


# --- after it was stopped, and again ---


def test_stop_saves_a_checkpoint_and_the_screen_stays(stopped: Program) -> None:
    *_, saved, ended = stopped.journal.events()
    assert isinstance(ended, RunEnded) and (ended.reason, ended.exit_code) == ("stopped", 0)
    assert isinstance(saved, CheckpointSaved) and saved.kind == "last" and saved.step >= stopped.journal.step
    stopped.wait_for("n New run", re.compile(r"best epoch \d+: .* checkpoints/best.pt"))


def test_a_key_says_that_the_run_is_over(stopped: Program) -> None:
    stopped.press("space", "there is nothing to steer any more.")


def test_a_second_run_trains_as_well(stopped: Program, tour: Tour) -> None:
    first = stopped.journal.run
    again = tour.to("training")
    assert again is stopped and again.journal.run != first
    again.journal.goes_on(100)
    again.wait_for(re.compile(r"epoch +\d+/1000"))


def test_a_quit_that_is_called_off_changes_nothing(run: Program) -> None:
    run.press("q", "The run is under way. ")
    run.press("c", shows_all_panels)
    run.journal.goes_on()


def test_quit_saves_and_gives_the_terminal_back(run: Program, tour: Tour) -> None:
    run.press("q", "Stop and save")
    run.press("s")
    assert run.wait() == 0
    *_, saved, ended = run.journal.events()
    assert isinstance(saved, CheckpointSaved) and saved.step >= run.journal.step
    assert isinstance(ended, RunEnded) and ended.reason == "stopped"
    assert run.put_the_terminal_back()
    assert f"stopped: runs/{run.journal.run.name}\r\n" in run.last_words
    tour.leave()


def test_leaving_without_saving_saves_nothing(tmp_path: Path) -> None:
    with Program(tmp_path, "--start", *WORDS) as program:
        program.wait_for("● training")
        program.press("q", "Nothing is saved yet.")
        program.press("l")
        assert program.wait() == 0
        assert program.journal.of(RunEnded)[0].reason == "stopped"
        assert not program.journal.of(CheckpointSaved)
        assert not program.journal.last.exists()
        assert program.put_the_terminal_back()
