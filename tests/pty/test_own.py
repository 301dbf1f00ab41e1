"""The user's own code and images in the real program: on the screen, handed over, attached to, looked at beforehand."""

from pathlib import Path

import pytest

from tests.own.test_own_code import CODE
from tests.pty.terminal import Journal, Program
from tests.pty.test_background import here, ran  # noqa: F401
from tests.training.data.test_folder import pictures  # noqa: F401
from tests.training.saving.test_resume import same
from tui_trainer.run.events import BatchTrained, RunEnded, RunHandedOver, RunStarted, Warned
from tui_trainer.training.saving import safe_load

pytestmark = pytest.mark.xdist_group("processes")  # one after another, in one worker
OWN = ["--model", "mine.py:Net", "--dataset", "mine.py:points", "--loss", "mine.py:focal", "--device", "cpu"]
STEADY = [*OWN, "--batch-size", "1", "--epochs", "1000", "--seed", "5", "--log-interval", "1"]


def test_a_run_of_ones_own_code_is_handed_over_and_attached_to_as_any_other(here: Path) -> None:  # noqa: F811
    (here / "mine.py").write_text(CODE)
    journal = Journal(here)
    with Program(here, "--start", *STEADY) as first:
        first.wait_for("● training")
        assert "Net · points" in first.text
        journal.goes_on(20)
        first.press("d")
        assert first.wait() == 0
    journal.wait_for(RunHandedOver)
    journal.wait_for(RunStarted, 2)
    with Program(here, "attach") as viewer:
        viewer.wait_for("● training")
        viewer.press("s", "Stop the run")
        viewer.press("s", "■ stopped")
        viewer.press("q")
        assert viewer.wait() == 0
    steps = [report.step for report in journal.of(BatchTrained)]
    assert steps == list(range(1, len(steps) + 1)), "no step is lost and none repeated"
    left = safe_load.load(journal.last)
    assert ran(here, "--no-ui", *STEADY, "--name", "stayed", "--max-steps", str(left["step"])).returncode == 0
    stayed = safe_load.load(here / "runs" / "stayed" / "checkpoints" / "last.pt")
    assert same(left["model_state_dict"], stayed["model_state_dict"])
    exported = ran(here, "export", "stayed", "--format", "safetensors")
    assert exported.returncode == 0 and Path(here, exported.stdout.strip()).is_file(), exported.stderr


@pytest.mark.parametrize("workers", [0, 2])
def test_a_folder_of_images_trains_on_the_screen(workers: int, here: Path, pictures: Path) -> None:  # noqa: F811
    words = ["--dataset", f"folder:{pictures}", "--skip-broken", "--data-path", "loader", "--workers", str(workers)]
    with Program(here, "--start", *words, "--epochs", "1", "--device", "cpu") as program:
        program.wait_for("✔ finished")
        program.press("q")
        assert program.wait() == 0
    journal = Journal(here)
    assert any("3 of 2,000 images cannot be read" in warned.text for warned in journal.of(Warned))
    (started,) = journal.of(RunStarted)
    assert started.train_examples + started.valid_examples == 1997
    assert journal.of(RunEnded)[-1].reason == "finished"


def test_broken_images_end_a_run_before_its_first_step_with_their_names(here: Path, pictures: Path) -> None:  # noqa: F811
    with Program(here, "--start", "--dataset", f"folder:{pictures}", "--device", "cpu") as program:
        program.wait_for("3 of 2,000 images cannot be read")
        program.press("q")
        assert program.wait() == 3
    assert not Journal(here).of(BatchTrained)


def test_data_and_model_are_looked_at_from_the_form(here: Path) -> None:  # noqa: F811
    with Program(here, "--dataset", "fashion-mnist-mini", "--model", "cnn", "--device", "cpu") as program:
        program.wait_for("New run")
        for key, seen in (("\x1b[17~", "as the model sees them"), ("\x1b[18~", "batches/s")):
            program.press(key, seen)
            program.press("escape", "New run")
        program.press("ctrl+q")
        assert program.wait() == 0
