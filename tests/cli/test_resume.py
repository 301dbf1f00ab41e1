"""`tui-trainer resume`: what it shows, what it refuses, and that nothing changes before the first step."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tui_trainer.cli import main
from tui_trainer.cli.local_run import local_run
from tui_trainer.run.commands import Pause, Stop
from tui_trainer.run.events import BatchTrained, Event, RunEnded, RunStarted, Warned
from tui_trainer.run.events_json import from_json
from tui_trainer.run.folder import RunFolder, find
from tui_trainer.run.journal import read
from tui_trainer.run.resume import Resume, carry
from tui_trainer.settings.schema import Settings

TINY = [
    *("--dataset", "fashion-mnist-mini", "--device", "cpu", "--limit-train-batches", "4"),
    *("--log-interval", "1", "--name", "a", "--seed", "1"),
]


def program(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main.main(list(words))
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def journal() -> list[Event]:
    return list(read(Path("runs/a/events.jsonl")))


def everything() -> dict[str, bytes]:
    """The run's folder, byte for byte."""
    return {str(path): path.read_bytes() for path in Path("runs/a").rglob("*") if path.is_file()}


@pytest.fixture
def finished(capsys: pytest.CaptureFixture[str]) -> None:
    """A run of two epochs."""
    assert program(capsys, "--no-ui", "--epochs", "2", *TINY)[0] == 0


@pytest.mark.usefixtures("finished")
def test_a_finished_run_says_what_would_carry_it_on(capsys: pytest.CaptureFixture[str]) -> None:
    before = everything()
    code, out, err = program(capsys, "resume", "a", "--no-ui")
    assert (code, out, err) == (0, "a finished at epoch 2. To go on, give more epochs: --epochs 4.\n", "")
    assert everything() == before


@pytest.mark.usefixtures("finished")
def test_a_finished_run_goes_on_with_more_epochs_in_the_same_folder(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = program(capsys, "resume", "a", "--no-ui", "--epochs", "3", "--lr", "3e-4")
    assert code == 0
    assert "carries on from checkpoints/last.pt: after epoch 2 of 3 (step 8)" in out
    assert "changed   lr      0.001 → 0.0003\n          epochs  2 → 3\n" in out
    assert [line.split()[0] for line in out.split("\n") if "images/s" in line and "%" in line] == ["2/3", "3/3"]
    events = journal()
    assert [event.step for event in events if isinstance(event, BatchTrained)] == list(range(1, 13))
    assert [event.lr for event in events if isinstance(event, BatchTrained)][7:9] == [1e-3, 3e-4]
    assert [event.reason for event in events if isinstance(event, RunEnded)] == ["finished", "finished"]
    used = tomllib.loads(Path("runs/a/run.toml").read_text())
    assert (used["epochs"], used["lr"]) == (3, 3e-4)
    assert not list(Path("runs").glob("a-*"))


@pytest.mark.usefixtures("finished")
def test_a_preview_only_shows(capsys: pytest.CaptureFixture[str]) -> None:
    before = everything()
    code, out, _ = program(capsys, "resume", "a", "--preview", "--epochs", "6", "--scheduler", "cosine")
    assert code == 0 and everything() == before
    first, second, *_ = out.split("\n")
    assert first == "a: carries on from checkpoints/last.pt: after epoch 2 of 6 (step 8)"
    assert second.startswith("restored  weights, adam state") and "best so far (epoch " in second
    assert "scheduler  none → cosine" in out
    assert "\nrate      0.0007" in out and "█" in out and "▁" in out


@pytest.mark.usefixtures("finished")
def test_what_cannot_change_says_why_all_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    before = everything()
    words = ("--model", "cnn", "--seed", "2", "--batch-size", "8", "--epochs", "4", "--lr", "-1")
    code, out, err = program(capsys, "resume", "a", "--no-ui", *words)
    assert (code, out) == (2, "") and "lr: must be above 0" in err
    code, out, err = program(capsys, "resume", "a", "--no-ui", *words[:-2])
    assert (code, out) == (2, "") and everything() == before
    assert [line.split(":")[0] for line in err.splitlines()] == ["batch_size", "model", "seed"]
    assert "the weights are those of this one (mlp in the run, cnn given as --model)" in err


@pytest.mark.usefixtures("finished")
def test_the_users_files_and_environment_change_nothing_of_a_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("tui-trainer.toml").write_text("lr = 0.5\nmodel = 'cnn'\n")
    monkeypatch.setenv("TUI_TRAINER_BATCH_SIZE", "7")
    code, out, _ = program(capsys, "resume", "a", "--preview", "--epochs", "3")
    assert code == 0 and "changed   epochs  2 → 3\nkept" in out


@pytest.mark.usefixtures("finished")
def test_a_preview_of_a_damaged_checkpoint_says_what_would_be_used(capsys: pytest.CaptureFixture[str]) -> None:
    last = Path("runs/a/checkpoints/last.pt")
    last.write_bytes(last.read_bytes()[:-100])
    before = everything()
    code, out, err = program(capsys, "resume", "a", "--preview", "--epochs", "3")
    assert code == 0 and everything() == before
    assert "last.pt is cut short or damaged" in err and "Carrying on from checkpoints/prev.pt instead" in err
    assert "after epoch 1 of 3 (step 4)" in out


@pytest.mark.usefixtures("finished")
def test_a_damaged_checkpoint_is_kept_and_the_one_before_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    last = Path("runs/a/checkpoints/last.pt")
    bad = last.read_bytes()[:-100]
    last.write_bytes(bad)
    code, _, err = program(capsys, "resume", "a", "--no-ui", "--epochs", "3")
    (aside,) = Path("runs/a/checkpoints").glob("last.damaged-*")
    assert code == 0 and aside.read_bytes() == bad and f"kept as {aside.name}" in err


@pytest.mark.usefixtures("finished")
def test_when_both_are_damaged_nothing_is_trained_from_zero(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("last.pt", "prev.pt"):
        (Path("runs/a/checkpoints") / name).write_bytes(b"")
    steps = len([event for event in journal() if isinstance(event, BatchTrained)])
    code, _, err = program(capsys, "resume", "a", "--no-ui", "--epochs", "3")
    assert code == 5 and "last.pt is empty" in err and "prev.pt is empty" in err
    assert len([event for event in journal() if isinstance(event, BatchTrained)]) == steps
    assert program(capsys, "resume", "a", "--preview", "--epochs", "3")[0] == 5


UNFIT: dict[str, tuple[dict[str, Any], str]] = {
    "newer": ({"format": 99, "written_by": "9.9"}, "was written by tui-trainer 9.9, which is newer than this one."),
    "no format": ({"format": None}, "tui-trainer did not write it, or an older one did."),
    "another model": (
        {"model_state_dict": {}},
        "is from another model: 6 missing, 0 too many, 0 of another shape (first: 1.weight: not in the file).",
    ),
}
"""What is changed in a checkpoint, and what is then said of it."""


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("name", UNFIT)
def test_a_checkpoint_that_does_not_fit_is_refused_and_left_alone(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from tui_trainer.training.saving import checkpoint, safe_load

    change, sentence = UNFIT[name]
    last = Path("runs/a/checkpoints/last.pt")
    last.write_bytes(bad := checkpoint.pack(safe_load.load(last) | change))
    code, _, err = program(capsys, "resume", "a", "--no-ui", "--epochs", "3")
    assert code == 5 and "checkpoints/last.pt" in err and sentence in err
    assert last.read_bytes() == bad and len(list(last.parent.iterdir())) == 3
    assert [event.step for event in journal() if isinstance(event, BatchTrained)][-1] == 8


@pytest.mark.usefixtures("finished")
def test_what_a_save_that_was_cut_off_has_left_is_removed_by_the_next_run(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("runs/a/checkpoints")
    left = [folder / f".last.pt.0123456789abcdef.{end}" for end in ("tmp", "link")]
    for path in (*left, folder / "notes.tmp"):
        path.write_bytes(b"half of it")
    assert program(capsys, "resume", "a", "--preview", "--epochs", "3")[0] == 0
    assert all(path.exists() for path in left), "a preview changes nothing"
    assert program(capsys, "resume", "a", "--no-ui", "--epochs", "3")[0] == 0
    assert not any(path.exists() for path in left) and (folder / "notes.tmp").exists()


@pytest.mark.usefixtures("finished")
def test_a_run_without_a_checkpoint_says_how_to_begin_again(capsys: pytest.CaptureFixture[str]) -> None:
    for path in Path("runs/a/checkpoints").iterdir():
        path.unlink()
    code, _, err = program(capsys, "resume", "a", "--no-ui", "--epochs", "3")
    assert code == 5 and "tui-trainer --config runs/a/run.toml" in err


@pytest.mark.usefixtures("finished")
def test_settings_come_from_the_journal_when_the_manifest_is_gone(capsys: pytest.CaptureFixture[str]) -> None:
    Path("runs/a/run.toml").unlink()
    code, out, _ = program(capsys, "resume", "a", "--preview", "--epochs", "3")
    assert code == 0 and "changed   epochs  2 → 3\nkept" in out


@pytest.mark.usefixtures("finished")
def test_a_torn_journal_goes_on_in_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path("runs/a/events.jsonl")
    path.write_bytes(path.read_bytes()[:-30])
    code, out, _ = program(capsys, "resume", "a", "--no-ui", "--json", "--epochs", "3")
    told = [from_json(line) for line in out.splitlines()]
    assert code == 0 and isinstance(told[-1], RunEnded)
    assert journal()[-len(told) :] == told


def test_another_machine_is_told_of_and_the_run_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    program(capsys, "--no-ui", "--epochs", "1", *TINY)
    monkeypatch.setattr(torch, "__version__", "99.1")
    code, _, err = program(capsys, "resume", "a", "--no-ui", "--epochs", "2")
    assert code == 0 and "differ in their last digits" in err and "→ 99.1" in err
    assert any("99.1" in event.text for event in journal() if isinstance(event, Warned)), "it is in the run's record"


def test_other_data_is_refused_unless_it_is_allowed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui_trainer.training.data.examples import Data

    program(capsys, "--no-ui", "--epochs", "1", *TINY)
    real = Data.fingerprint
    monkeypatch.setattr(Data, "fingerprint", lambda data: real(data) | {"train examples": 4499})
    code, _, err = program(capsys, "resume", "a", "--no-ui", "--epochs", "2")
    assert code == 5 and "train examples were 4,500, now 4,499" in err and "--allow-data-change" in err
    code, _, err = program(capsys, "resume", "a", "--no-ui", "--epochs", "2", "--allow-data-change")
    assert code == 0 and "the data has changed" in err


def test_a_run_out_of_patience_goes_on_when_something_is_changed(capsys: pytest.CaptureFixture[str]) -> None:
    lazy = ("--patience", "1", "--min-delta", "9", "--epochs", "9")
    program(capsys, "--no-ui", *TINY, *lazy)
    code, out, _ = program(capsys, "resume", "a", "--no-ui")
    assert code == 0 and "after 1 validations without improvement" in out
    code, out, err = program(capsys, "resume", "a", "--no-ui", "--lr", "1e-4")
    assert code == 0 and "counted anew" in err
    assert [event.epoch for event in journal() if isinstance(event, BatchTrained)][-1] == 3


def test_a_run_of_so_many_steps_goes_on_in_its_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    program(capsys, "--no-ui", *TINY, "--epochs", "1", "--max-steps", "2")
    code, out, _ = program(capsys, "resume", "a", "--no-ui")
    assert code == 0 and "finished at step 2. To go on, give --max-steps 4." in out
    assert program(capsys, "resume", "a", "--no-ui", "--max-steps", "0")[0] == 0
    places = [(event.epoch, event.batch) for event in journal() if isinstance(event, BatchTrained)]
    assert places == [(1, 1), (1, 2), (1, 3), (1, 4)]


def test_nothing_is_changed_before_the_first_step(capsys: pytest.CaptureFixture[str]) -> None:
    # With losses that were not yet reported when it was saved.
    program(capsys, "--no-ui", *TINY[:7], "3", *TINY[8:], "--epochs", "1", "--max-steps", "2")
    path = Path("runs/a/events.jsonl")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-3]))
    before = Path("runs/a/run.toml").read_bytes(), Path("runs/a/checkpoints/last.pt").read_bytes()
    found = carry(find("a", "runs"), {"lr": "0.5"}, Resume())
    run = local_run(found.settings, found)
    run.send(Pause())
    run.send(Stop(save=False))
    events = list(run.events())
    assert events[-1].reason == "stopped" and not [event for event in events if isinstance(event, BatchTrained)]
    assert before == (Path("runs/a/run.toml").read_bytes(), Path("runs/a/checkpoints/last.pt").read_bytes())


def test_a_run_that_is_held_is_not_carried_on(capsys: pytest.CaptureFixture[str]) -> None:
    from tui_trainer.run.folder import RunFolder

    program(capsys, "--no-ui", "--epochs", "1", *TINY)
    with RunFolder(Path("runs/a")).lock.hold():
        code, _, err = program(capsys, "resume", "a", "--no-ui", "--epochs", "2")
    assert code == 7 and "is held by process" in err and "tui-trainer attach a" in err


def test_wrong_names_and_words_are_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert "There is no run" in program(capsys, "resume", "a", "--no-ui")[2]
    assert program(capsys, "resume", "--json")[0] == 2
    program(capsys, "--no-ui", "--epochs", "1", *TINY)
    code, _, err = program(capsys, "resume", "a", "--epoch", "3", "--no-ui")
    assert code == 2 and "Did you mean --epochs?" in err


@pytest.mark.usefixtures("finished")
def test_json_holds_where_it_goes_on_and_what_is_changed(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = program(capsys, "resume", "a", "--no-ui", "--json", "--epochs", "3")
    (started,) = (event for event in map(from_json, out.splitlines()) if isinstance(event, RunStarted))
    assert (started.resumed_from, started.epoch, started.step) == ("checkpoints/last.pt", 2, 8)
    assert started.changed == (("epochs", "2", "3"),) and started.best_epoch in (1, 2)
    assert json.loads(out.splitlines()[-1])["reason"] == "finished"


def test_a_run_that_waited_for_another_does_not_wait_again_when_it_is_carried_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ahead = RunFolder.create(Settings(name="ahead"))
    ahead.journal.touch()
    code, _, err = program(capsys, "--no-ui", "--epochs", "1", *TINY, "--after", "ahead")
    assert code == 0 and "warning: ahead was lost; this run begins all the same" in err
    assert tomllib.loads(Path("runs/a/run.toml").read_text())["after"] == str(ahead.path.absolute())
    with ahead.lock.hold():
        code, out, err = program(capsys, "resume", "a", "--no-ui", "--epochs", "2")
    assert code == 0 and "waiting" not in out + err
    code, _, err = program(capsys, "resume", "a", "--epochs", "3", "--after", "last")
    assert code == 2 and "after: cannot change when a run is carried on: it belongs to the beginning of a run" in err
