"""A run of any task is told by its own scores: in its state, in lists, in questions, side by side, in sentences."""

import dataclasses
import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import replay
from tests.replay import JOURNALS
from tests.run.examples import folded, trained
from tests.runs.test_listing import make
from tui_trainer.errors import UsageError
from tui_trainer.run import scores
from tui_trainer.run.events import ACCURACY, Evaluated, LearningRateChanged, RunEnded, RunStarted, Score
from tui_trainer.run.folder import RunFolder
from tui_trainer.run.notify import notification_text
from tui_trainer.run.resume import summary_lines
from tui_trainer.run.state import RunState
from tui_trainer.runs import listing
from tui_trainer.runs.bookmarks import Bookmark, bookmark_text
from tui_trainer.runs.comparison import Curves, figures
from tui_trainer.runs.listing import Summary, list_runs, summarise
from tui_trainer.runs.player import Player
from tui_trainer.runs.query import measured_in, ordered, parse

TASKS = ("binary", "distribution", "finished", "multilabel", "regression")
MAE, F1 = Score("mae", "lower", ""), Score("f1")


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Summary]]:
    """A run of each task, by name."""
    monkeypatch.chdir(tmp_path)
    listing._cache.clear()
    for name in TASKS:
        folder = Path("runs") / name
        folder.mkdir(parents=True)
        shutil.copy(JOURNALS / f"{name}.jsonl", folder / "events.jsonl")
    yield sorted(list_runs("runs"), key=lambda run: run.name)


def started_as(*measured: Score) -> RunStarted:
    (event,) = (event for event in replay.events("regression") if isinstance(event, RunStarted))
    return dataclasses.replace(event, scores=measured)


# --- in words ---


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("accuracy", "accuracy"),
        ("mae", "MAE"),
        ("rmse", "RMSE"),
        ("r2", "R²"),
        ("f1_micro", "F1 micro"),
        ("auc", "AUC"),
        ("exact_match", "exact match"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("x" * 99, "x" * 19 + "…"),
    ],
)
def test_a_score_has_its_printed_name(name: str, printed: str) -> None:
    assert scores.title(name) == printed


@pytest.mark.parametrize(
    ("value", "score", "figure", "headline"),
    [
        (0.8791, ACCURACY, "87.9 %", "87.9 %"),
        (0.8791, F1, "87.9 %", "F1 87.9 %"),
        (0.312, MAE, "0.3120", "MAE 0.3120"),
        (45_123.4, MAE, "45,123", "MAE 45,123"),
        (None, MAE, "-", "MAE -"),
        (math.nan, ACCURACY, "-", "-"),
        (math.inf, MAE, "inf", "MAE inf"),
        (1e300, ACCURACY, "1e+302 %", "1e+302 %"),
    ],
)
def test_a_figure_has_its_unit_and_alone_its_name(
    value: float | None, score: Score, figure: str, headline: str
) -> None:
    assert (scores.figure(value, score), scores.headline(value, score)) == (figure, headline)


def test_a_run_without_scores_goes_by_its_loss() -> None:
    state = folded(started_as(), trained(1), Evaluated(split="valid", epoch=1, step=1, loss=0.25, seconds=1.0))
    assert (state.main.name, state.result(state.validation), state.headline(state.validation)) == (
        "loss",
        0.25,
        "loss 0.2500",
    )
    assert state.log[-1].text.endswith("loss 0.2500") and state.score_curve.ys == [0.25]


def test_what_is_not_finite_is_in_no_curve_and_no_sentence() -> None:
    measured = {"mae": math.inf, "rmse": math.nan, "r2": 0.5}
    seen = Evaluated(split="valid", epoch=1, step=1, loss=1.0, seconds=1.0, scores=measured)
    state = folded(started_as(MAE, Score("rmse", "lower", ""), Score("r2", "higher", "")), trained(1), seen)
    assert not len(state.score_curve)
    assert state.sentence(seen) == "loss 1.000, R² 0.5000"


# --- in a state ---


@pytest.mark.parametrize(
    ("name", "headline", "log"),
    [
        ("binary", "84.0 %", "loss 0.3722, accuracy 82.0 %, precision 88.1 %, recall 74.0 %, F1 80.4 %, AUC 0.9024"),
        ("multilabel", "F1 95.6 %", "loss 0.0718, F1 95.2 %, F1 micro 96.0 %, accuracy 96.9 %, exact match 88.0 %"),
        ("regression", "MAE 4.320", "loss 0.1817, MAE 4.320, RMSE 6.125, R² 0.8266"),
        ("distribution", "71.0 %", "loss 0.0073, accuracy 71.0 %, total variation 0.0388"),
    ],
)
def test_a_state_tells_the_scores_of_its_task(name: str, headline: str, log: str) -> None:
    state = folded(*replay.events(name))
    assert state.headline(state.best) == headline and state.things == "rows"
    assert f"validation at epoch 3: {log}" in [row.text for row in state.log]
    assert len(state.score_curve) == 3 and state.epochs[-1].score == state.result(state.evaluation)
    assert not state.validates_on_test


def test_the_best_score_is_kept_when_a_run_is_carried_on() -> None:
    before = folded(*replay.events("regression"))
    assert before.best is not None
    again = dataclasses.replace(
        started_as(*before.scores),
        resumed_from="checkpoints/last.pt",
        epoch=3,
        batch=71,
        step=213,
        best_epoch=3,
        best_loss=before.best.loss,
        best_scores=before.best.scores,
    )
    assert folded(again).headline(folded(again).best) == "MAE 4.320"
    assert any("epoch 3, loss 0.1817, MAE 4.320, RMSE 6.125, R² 0.8266" in line for line in summary_lines(again))


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.usefixtures("runs")
def test_a_replay_ends_where_the_run_ended(name: str) -> None:
    folder = RunFolder(Path("runs") / name)
    player = Player(folder)
    for _ in player.read():
        pass
    player.begin(None)
    player.seek(player.duration)
    whole = folded(*replay.events(name))
    assert (player.state.scores, player.state.best, player.state.score_curve.ys) == (
        whole.scores,
        whole.best,
        whole.score_curve.ys,
    )
    player.close()


# --- in lists ---


def test_a_summary_has_the_result_of_its_task(runs: list[Summary]) -> None:
    assert [(run.name, run.task, run.headline) for run in runs] == [
        ("binary", "binary", "84.0 %"),
        ("distribution", "distribution", "71.0 %"),
        ("finished", "classification", "92.0 %"),
        ("multilabel", "multilabel", "F1 95.6 %"),
        ("regression", "regression", "MAE 4.320"),
    ]
    assert runs[4].best_accuracy is None and set(runs[4].best_scores) == {"mae", "rmse", "r2"}


@pytest.mark.parametrize("share", [0.4, 0.7, 0.9])
@pytest.mark.parametrize("name", TASKS)
@pytest.mark.usefixtures("runs")
def test_a_run_that_has_not_ended_has_its_best_scores_too(name: str, share: float) -> None:
    data = (JOURNALS / f"{name}.jsonl").read_bytes()
    path = make("part", raw=data[: int(len(data) * share)])
    summary, state = summarise(path), RunState()
    for event in replay.journal.read(path / "events.jsonl"):
        state.apply(event)
    assert summary is not None
    assert summary.result == state.result(state.best)
    assert all(summary.best(score.name) == (state.best and state.best.score(score.name)) for score in state.scores)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("mae<5", "regression"),
        ("mae<4", ""),
        ("r2>0.8", "regression"),
        ("f1>0.8", "binary multilabel"),
        ("f1>90%", "multilabel"),
        ("exact-match>80%", "multilabel"),
        ("f1_micro>0.9", "multilabel"),
        ("accuracy>90%", "finished multilabel"),
        ("score>90%", "finished multilabel regression"),
        ("total_variation<0.05", "distribution"),
        ("task:regression", "regression"),
    ],
)
def test_any_score_can_be_asked_for(words: str, found: str, runs: list[Summary]) -> None:
    matches = parse(words, measured_in(runs))
    assert " ".join(run.name for run in runs if matches(run)) == found


def test_a_score_that_no_run_has_measured_is_an_error_with_a_hint(runs: list[Summary]) -> None:
    with pytest.raises(UsageError, match=r"runs have no total_varation\. Did you mean total_variation"):
        parse("total_varation<1", measured_in(runs))
    with pytest.raises(UsageError, match="or a score"):
        ordered(runs, "nothing")


def test_runs_are_put_in_order_by_any_score_the_best_first(runs: list[Summary]) -> None:
    def names(sort: str) -> list[str]:
        found = ordered(runs, sort, measured_in(runs))
        return [run.name for run in found if run.best(sort) is not None or sort == "score"]

    assert names("accuracy") == ["multilabel", "finished", "binary", "distribution"]
    assert names("f1") == ["multilabel", "binary"]
    assert names("score") == ["finished", "binary", "distribution", "multilabel", "regression"]
    lower = dataclasses.replace(runs[4], name="closer", best_scores={"mae": 1.0})
    assert [run.name for run in ordered([*runs, lower], "mae")][:2] == ["closer", "regression"]


def test_figures_side_by_side_name_what_they_are_of(runs: list[Summary]) -> None:
    found = figures(runs[3:])
    assert found["best F1"] == ("95.6 %", "-") and found["best MAE"] == ("-", "4.320")
    assert found["best R²"] == ("-", "0.8266") and found["test MAE"] == ("-", "-")
    assert list(figures([runs[2]]))[:5] == ["state", "best accuracy", "best loss", "best epoch", "test accuracy"]


def test_the_curve_of_a_run_is_named_after_its_result(runs: list[Summary]) -> None:
    lines = Curves(runs[4].folder).read()
    assert set(lines) == {"validation loss", "training loss", "MAE"}
    assert lines["MAE"].score == MAE and len(lines["MAE"].values) == 3


# --- in sentences ---


def test_somebody_is_called_with_the_result_of_the_task() -> None:
    state = folded(*replay.events("regression"))
    (ended,) = (event for event in replay.events("regression") if isinstance(event, RunEnded))
    assert notification_text(ended, state) == "finished after 0:02, best MAE 4.320 in epoch 3"
    dropped = LearningRateChanged(lr=1e-4, by="plateau")
    assert str(notification_text(dropped, state)).endswith("0.0001, best MAE 4.320 in epoch 3")
    assert state.test is None and state.evaluation is not None
    assert (
        bookmark_text(dataclasses.replace(state.evaluation, split="test"), Bookmark.TESTED, state)
        == "tested: MAE 4.320"
    )
