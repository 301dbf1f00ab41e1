"""The tour: one program in one terminal, from the form through a run and back, with every key on the way.

Each fixture brings the program to its next station, so the tests of a station stand together, in the order of the way.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

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

pytestmark = pytest.mark.xdist_group("processes")  # one after another, in one worker
BATCHES = 4500
"""In an epoch: one for every training example, so that an epoch lasts."""
WORDS = ["--dataset", "fashion-mnist-mini", "--model", "cnn", "--batch-size", "1", "--device", "cpu"]
PANELS = ("1 loss", "2 accuracy", "3 confusion", "4 epochs", "5 checkpoints", "6 events")
EPOCHS = "Epochs +{} *│"
"""The form's line for the number of epochs."""


def shows_all_panels(text: str) -> bool:
    return all(f"╭─ {panel} " in text for panel in PANELS) and "space Pause" in text.splitlines()[-1]


@pytest.fixture(scope="module")
def form(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The settings form of a program that was just started."""
    with Program(tmp_path_factory.mktemp("tour"), *WORDS) as program:
        program.wait_for("^r Run")
        yield program


def test_the_form_is_there_before_torch(form: Program) -> None:
    if sys.platform == "linux":
        assert not form.has_torch
    form.wait_for("--batch-size 1 --model cnn", "22,500 in all")


def test_a_setting_changes_what_the_run_will_be_and_its_command_line(form: Program) -> None:
    for title in ("batch size", "model", "loss", "optimizer", "learning rate", "epochs"):
        form.press("tab", re.compile(rf"(?m)^.{{60}}╭─ {title} ─"))
    form.type("1000", EPOCHS)
    form.wait_for("4,500,000 in all")
    form.wait_for("--model cnn --epochs 1000")


def test_a_wrong_value_says_why_and_nothing_is_run(form: Program) -> None:
    sentence = "Epochs: must be a whole number, found '1000x'"
    form.press("x", sentence, lambda text: "in all" not in text)
    form.press("ctrl+r", lambda text: text.count(sentence) == 2)
    assert not (form.journal.folder / "runs").exists()
    form.press("backspace", "4,500,000 in all")


@pytest.fixture(scope="module")
def run(form: Program) -> Program:
    """The run screen while it trains."""
    form.press("ctrl+r", "preparing")
    form.wait_for("● training")
    form.journal.wait_for(BatchTrained)
    return form


def test_a_run_says_what_it_trains_and_how_far_it_is(run: Program) -> None:
    first = run.wait_for(shows_all_panels).splitlines()[0]
    assert all(word in first for word in ("cnn", "fashion-mnist-mini", "adam 0.001", "cpu"))
    run.wait_for("epoch    1/1000", "/4,500")


def test_space_pauses_and_carries_on(run: Program) -> None:
    run.press("space", "❚❚ PAUSED", "space Carry on")
    run.journal.wait_for(RunPaused)
    step = run.journal.step
    run.tick()
    run.tick()
    assert run.journal.step == step
    run.press("space", "● training")
    run.journal.wait_for(RunResumed)
    events = run.journal.events()
    paused, resumed = (next(i for i, e in enumerate(events) if isinstance(e, k)) for k in (RunPaused, RunResumed))
    assert resumed == paused + 1
    run.journal.goes_on(100)


def test_a_pause_does_not_count_as_slow_training(run: Program) -> None:
    paused, resumed = run.journal.wait_for(RunPaused), run.journal.wait_for(RunResumed)
    run.journal.goes_on()
    reports = run.journal.of(BatchTrained)
    before = [report for report in reports if report.at <= resumed.at][-1]
    after = next(report for report in reports if report.at > resumed.at)
    seconds = (after.step - before.step) / after.examples_per_second  # one example in each step
    assert resumed.at - paused.at > 1
    assert seconds < after.at - before.at - (resumed.at - paused.at) + 0.1


def test_the_learning_rate_is_changed_while_it_trains(run: Program) -> None:
    run.press("l", "Learning rate from the next step on (now 0.001)")
    run.press("-", "must be a number, found '-'")
    run.press("backspace", "must be a number above 0")
    run.type("0.0005", "│  {} +│")
    run.press("enter", lambda text: "Learning rate from" not in text)
    assert run.journal.wait_for(LearningRateChanged).lr == 0.0005
    run.wait_for("learning rate 0.001 → 0.0005 (you)")
    run.wait_for("adam 0.0005", "lr 0.0005")
    until(lambda: run.journal.of(BatchTrained)[-1].lr == 0.0005, lambda: "a step at that rate")


def test_a_checkpoint_is_saved_on_request(run: Program) -> None:
    run.press("c", "saved last checkpoint")
    saved = run.journal.wait_for(CheckpointSaved)
    assert (saved.kind, saved.bytes) == ("last", run.journal.last.stat().st_size)
    run.wait_for("last.pt")


def test_the_model_is_measured_in_the_middle_of_an_epoch(run: Program) -> None:
    run.press("e", "validation at step")
    measured = run.journal.wait_for(Evaluated)
    assert measured.step % BATCHES and measured.split == "valid"
    run.wait_for(f"{100 * measured.accuracy:.1f} %")
    run.wait_for("3 confusion · validation · epoch 1")


def test_the_confusion_table_shows_shares_or_counts(run: Program) -> None:
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
    with Program(run.journal.folder, "attach", "last", "--read-only", size=(100, 30)) as other:
        other.wait_for("● training")
        seen = re.compile(r" ([\d,]+)/4,500 ")
        first = seen.search(other.wait_for(seen))
        assert first
        other.wait_for(lambda text: (now := seen.search(text)) and now[1] != first[1])
        other.press("space", "Nobody takes commands")
        other.press("q")
        assert other.wait() == 0
    assert len(run.journal.of(RunPaused)) == 1
    run.journal.goes_on()


def test_an_epoch_is_ended_early(run: Program) -> None:
    run.press("x")
    if "no batch left" in (told := run.journal.wait_for(Warned).text):  # it was just being measured
        run.press("x")
        told = run.journal.wait_for(Warned, 2).text
    ended = re.match(r"epoch (\d+) ends early", told)
    assert ended, told
    epoch = int(ended[1])
    run.journal.wait_for(EpochEnded, epoch)
    last = [report for report in run.journal.of(BatchTrained) if report.epoch == epoch][-1]
    assert last.batch < BATCHES
    run.wait_for(re.compile(rf"│ +{epoch} +\d\.\d+ +\d\.\d+ +\d\d\.\d %"))
    run.wait_for(lambda text: (now := re.search(r"epoch +(\d+)/1000", text)) and int(now[1]) > epoch)
    run.wait_for("best.pt")


def test_the_time_of_an_epoch_leaves_the_pause_out(run: Program) -> None:
    pause = run.journal.wait_for(RunResumed).at - run.journal.wait_for(RunPaused).at
    ended, began = run.journal.wait_for(EpochEnded), run.journal.wait_for(BatchTrained)
    assert ended.seconds == pytest.approx(ended.at - began.at - pause, abs=0.8)


def test_a_run_that_is_measured_while_paused_stays_paused(run: Program) -> None:
    pauses, measured = len(run.journal.of(RunPaused)), len(run.journal.of(Evaluated))
    run.press("space", "❚❚ PAUSED")
    run.press("e")
    run.journal.wait_for(Evaluated, measured + 1)
    run.wait_for("❚❚ PAUSED", "space Carry on", f"{run.journal.of(Evaluated)[-1].accuracy * 100:.1f} %")
    run.press("space", "● training")
    run.journal.wait_for(RunResumed, pauses + 1)
    run.journal.goes_on()


@pytest.fixture(scope="module")
def stopped(run: Program) -> Program:
    """The run screen after the run was stopped."""
    run.press("s", "Stop the run in epoch")
    run.press("enter", "■ stopped")
    return run


def test_stop_saves_a_checkpoint_and_the_screen_stays(stopped: Program) -> None:
    *_, saved, ended = stopped.journal.events()
    assert isinstance(ended, RunEnded) and (ended.reason, ended.exit_code) == ("stopped", 0)
    assert isinstance(saved, CheckpointSaved) and saved.kind == "last" and saved.step >= stopped.journal.step
    stopped.wait_for("n New run", re.compile(r"best epoch \d+: .* checkpoints/best.pt"))


def test_a_key_says_that_the_run_is_over(stopped: Program) -> None:
    stopped.press("space", "there is nothing to steer any more.")


@pytest.fixture(scope="module")
def again(stopped: Program) -> Program:
    """A second run in the same program, from the form as it was left."""
    first = stopped.journal.run
    stopped.press("n", re.compile(EPOCHS.format("1000")))
    stopped.press("ctrl+r", "preparing")
    until(lambda: stopped.journal.run != first, lambda: "a second run")
    stopped.wait_for("● training")
    return stopped


def test_a_second_run_trains_as_well(again: Program) -> None:
    again.journal.goes_on(100)
    again.wait_for("epoch    1/1000")


def test_a_quit_that_is_called_off_changes_nothing(again: Program) -> None:
    again.press("q", "The run is under way. Nothing is saved yet.")
    again.press("c", shows_all_panels)
    again.journal.goes_on()


def test_quit_saves_and_gives_the_terminal_back(again: Program) -> None:
    again.press("q", "Stop and save")
    again.press("s")
    assert again.wait() == 0
    *_, saved, ended = again.journal.events()
    assert isinstance(saved, CheckpointSaved) and saved.step >= again.journal.step
    assert isinstance(ended, RunEnded) and ended.reason == "stopped"
    assert again.put_the_terminal_back()
    assert f"stopped: runs/{again.journal.run.name}\r\n" in again.last_words


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
