"""The lines of `--no-ui` and `runs` name the scores of a task, in columns that keep their width."""

import shutil
from pathlib import Path

import pytest

from tests import replay
from tests.cli.test_runs import program
from tests.replay import JOURNALS
from tui_trainer.cli.lines import JsonPrinter, LinePrinter
from tui_trainer.run.events_json import from_json
from tui_trainer.runs import listing

TASKS = ("binary", "multilabel", "regression", "distribution")


@pytest.mark.parametrize(
    ("task", "score", "figure", "best"),
    [
        ("regression", "MAE", "4.320", "loss 0.1817, MAE 4.320, RMSE 6.125, R² 0.8266"),
        ("multilabel", "F1", "95.2 %", "loss 0.0728, F1 95.6 %, F1 micro 96.1 %, accuracy 97.0 %, exact match 88.2 %"),
    ],
)
def test_a_column_has_the_name_of_the_score(
    task: str, score: str, figure: str, best: str, capsys: pytest.CaptureFixture[str]
) -> None:
    printer = LinePrinter(None)
    for event in replay.events(task):
        printer.show(event)
    lines = capsys.readouterr().out.splitlines()
    head = next(line for line in lines if line.split()[:1] == ["epoch"] and "lr" in line.split())
    last = next(line for line in lines if line.split()[:1] == ["3/3"])
    assert head.split() == ["epoch", "train", "loss", "valid", "loss", score, "lr", "time", "speed"]
    assert head.index(score) + len(score) == last.index(figure) + len(figure)
    assert last.split()[-2:] == ["rows/s", "best"] or last.endswith("rows/s")
    assert any(line.startswith("best ") and line.endswith(best) for line in lines)
    assert not any("test split" in line for line in lines)  # it was held out of the training examples


@pytest.mark.parametrize("task", TASKS)
def test_json_gives_every_score_and_picture(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    for event in replay.events(task):
        JsonPrinter().show(event)
    assert [from_json(line) for line in capsys.readouterr().out.splitlines()] == replay.events(task)


def test_runs_of_all_tasks_are_in_one_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    listing._cache.clear()
    for task in TASKS:
        (Path("runs") / task).mkdir(parents=True)
        shutil.copy(JOURNALS / f"{task}.jsonl", Path("runs") / task / "events.jsonl")
    code, out, err = program(capsys, "runs", "mae<5")
    assert (code, err) == (0, "") and [line.split()[0] for line in out.splitlines()] == ["name", "regression"]
    assert "MAE 4.320" in out and out.split("\n")[0].split()[-2:] == ["score", "loss"]
    assert program(capsys, "runs", "total_variation<1", "--sort", "f1")[0] == 0
    code, out, err = program(capsys, "compare", "regression", "multilabel")
    assert code == 0 and "best MAE" in out and "best F1" in out
