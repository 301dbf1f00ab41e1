"""`tui-trainer runs` and `tui-trainer compare` as lines and as JSON, for people and for pipes."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.program import hidden
from tests.run.examples import ended, started, trained
from tests.ui.folders import LONG, make, make_all
from tui_trainer.cli import main
from tui_trainer.run.events import RunEnded
from tui_trainer.run.events_json import to_json
from tui_trainer.run.folder import RunFolder
from tui_trainer.runs import listing
from tui_trainer.ui.app import TrainerApp


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    listing._cache.clear()
    yield


def program(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main.main(list(words))
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


def first_words(out: str) -> list[str]:
    return [line.split()[0] for line in out.splitlines()]


def test_a_line_a_run_in_columns_without_escape_codes(capsys: pytest.CaptureFixture[str]) -> None:
    make_all()
    code, out, err = program(capsys, "runs")
    assert (code, err) == (0, "") and hidden(out) == set()
    head, *lines = out.splitlines()
    assert head.split() == ["name", "state", "age", "model", "data", "optimizer", "lr", "epoch", "score", "loss"]
    assert len(lines) == 7
    (line,) = (line for line in lines if line.startswith(LONG))
    assert "out of patience" in line and line.split()[-6:] == ["adam", "0.004", "5/20", "86.6", "%", "0.3798"]
    assert {line.index("fashion-mnist", len(LONG) + 2) for line in lines if "fashion-mnist " in line[40:]} == {
        line.index("fashion-mnist", len(LONG) + 2)
    }


def test_words_pick_runs_and_sort_orders_them(capsys: pytest.CaptureFixture[str]) -> None:
    make_all()
    assert first_words(program(capsys, "runs", "optimizer=sgd", "accuracy>84%")[1]) == ["name", "sgd-momentum"]
    assert first_words(program(capsys, "runs", "-state:over")[1]) == []
    code, out, _ = program(capsys, "runs", "accuracy>0", "--sort", "accuracy", "-power")
    assert code == 0
    assert first_words(out)[1:3] == ["2026-11-23T11-24-45-cnn-fashion-mnist", LONG]


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    make_all()
    code, out, err = program(capsys, "runs", "--json", "--sort", "loss")
    runs = [json.loads(line) for line in out.splitlines()]
    assert (code, err, len(runs)) == (0, "", 7)
    (run,) = (run for run in runs if run["name"] == LONG)
    assert run["state"] == "out_of_patience" and run["settings"]["lr"] == 0.004
    assert run["best_accuracy"] == pytest.approx(0.8655, abs=1e-3) and run["path"] == f"runs/{LONG}"
    assert run["age"] > 0 and run["epochs"] == 20 and "losses" not in run
    assert runs[-1]["state"] == "unreadable" and runs[-1]["why"] == "it has no journal"


def test_what_is_not_finite_is_null_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path("runs/it")
    path.mkdir(parents=True)
    text = to_json(started()).replace('"lr":0.001', '"lr":NaN') + "\n" + to_json(ended()) + "\n"
    (path / "events.jsonl").write_text(text)
    out = program(capsys, "runs", "--json")[1]
    assert json.loads(out, parse_constant=pytest.fail)["settings"]["lr"] is None


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["runs", "modl:cnn"], "modl:cnn: runs have no modl. Did you mean model?"),
        (["runs", "--sort", "acuracy"], "--sort: must be one of age, score, "),
        (["runs", "--jsn"], "--jsn: there is no such option. Did you mean --json?"),
        (["runs", "--output-dir", "nowhere"], "There is no folder nowhere."),
        (["compare", "bad-rate", "sgd-momentm"], "Did you mean sgd-momentum?"),
        (["compare", "bad-rate"], "Choose from 2 to 8 runs to compare; there are 1 here."),
        (["compare", "bad-rate", "runs/bad-rate"], "there are 1 here."),
        (["compare"], "Choose from 2 to 8 runs"),
        (["comprae"], "Did you mean compare?"),
    ],
)
def test_a_wrong_word_is_usage_and_says_what_was_meant(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_all()
    code, out, err = program(capsys, *words)
    assert (code, out) == (2, "") and sentence in err


def test_nothing_to_show_is_said_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert program(capsys, "runs") == (0, "", "There are no runs in runs. Start one with: tui-trainer\n")
    make("it", "finished")
    assert program(capsys, "runs", "model:mlp") == (0, "", "None of the 1 runs in runs match: model:mlp\n")
    assert program(capsys, "runs", "model:mlp", "--json") == (0, "", "")


def test_a_live_run_is_live(capsys: pytest.CaptureFixture[str]) -> None:
    path = make("it", "finished", share=0.5)
    with RunFolder(path).lock.hold():
        assert " training " in program(capsys, "runs", "state:live")[1]
    assert " lost " in program(capsys, "runs")[1]


def test_runs_side_by_side_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    make_all()
    code, out, err = program(capsys, "compare", "--no-ui", "sgd-momentum", "bad-rate")
    assert (code, err) == (0, "") and hidden(out) == set()
    lines = {line.split("  ")[0]: line.split()[-2:] for line in out.splitlines() if line}
    assert out.splitlines()[0].split() == ["A", "sgd-momentum", "B", "bad-rate"]
    assert lines["state"] == ["stopped", "diverged"] and lines["parameters"] == ["669,706", "669,706"]
    assert lines["epochs"] == ["10", "3"] and "settings that differ" in lines
    assert "optimizer" not in lines and "seed" not in lines


def test_without_a_terminal_the_comparison_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    make_all()
    assert "settings that differ" in program(capsys, "compare", "sgd-momentum", "bad-rate")[1]


def test_runs_that_are_alike_have_no_setting_that_differs(capsys: pytest.CaptureFixture[str]) -> None:
    make("a", "finished")
    make("b", "finished")
    assert "the settings do not differ" in program(capsys, "compare", "a", "b")[1]


def test_runs_side_by_side_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    make_all()
    code, out, _ = program(capsys, "compare", "--json", "sgd-momentum", "bad-rate")
    found = json.loads(out)
    assert code == 0 and [run["name"] for run in found["runs"]] == ["sgd-momentum", "bad-rate"]
    assert found["differs"]["epochs"] == [10, 3]


@pytest.mark.parametrize("words", [["runs"], ["runs", "--json"], ["compare", "a", "b"]], ids=" ".join)
def test_a_reader_that_has_gone_is_no_error(words: list[str]) -> None:
    for name in "abcdefghij":
        make(name, "finished", checkpoints=())
    command = [sys.executable, "-m", "tui_trainer", *words]
    script = 'set -o pipefail; "$@" | head -c 1 > /dev/null; exit ${PIPESTATUS[0]}'
    done = subprocess.run(["bash", "-c", script, "bash", *command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("words", [["runs"], ["compare", "--no-ui", "a", "b"]], ids=" ".join)
def test_no_text_of_a_run_acts_on_the_terminal(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    bad = "\x1b[31mred\u202e\n"
    failed = RunEnded(reason=bad, error=bad, exit_code=1, best_epoch=1, best_loss=1.0, best_accuracy=0.1, seconds=1.0)
    for name in "ab":
        path = Path("runs") / name
        path.mkdir(parents=True)
        events = [started(model=bad, dataset=bad, optimizer=bad + name), trained(1), failed]
        (path / "events.jsonl").write_text("".join(to_json(event) + "\n" for event in events))
    code, out, _ = program(capsys, *words)
    assert code == 0 and hidden(out) == set() and "red" in out


# --- which screen comes first --------------------------------------------------------------------------------------


@pytest.fixture
def screens(monkeypatch: pytest.MonkeyPatch) -> list[TrainerApp]:
    """The apps that would have been shown."""
    shown: list[TrainerApp] = []

    def show(app: TrainerApp) -> int:
        shown.append(app)
        return 0

    monkeypatch.setattr("tui_trainer.cli.screens.need_terminal", lambda: None)
    monkeypatch.setattr("tui_trainer.cli.screens.has_terminal", lambda: True)
    monkeypatch.setattr("tui_trainer.ui.leaving.show", show)
    return shown


@pytest.mark.parametrize(
    ("words", "runs"), [([], True), (["--lr", "0.1"], False), (["--preset", "quick"], False), (["--start"], True)]
)
def test_the_list_of_runs_comes_first_unless_settings_were_typed(
    words: list[str], runs: bool, screens: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    program(capsys, *words)
    assert screens[0]._runs_first is runs and screens[0]._start is ("--start" in words)


def test_in_a_terminal_the_comparison_is_a_screen(screens: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    make_all()
    assert program(capsys, "compare", "sgd", "bad") == (0, "", "")
    assert [folder.path.name for folder in screens[0]._compared] == ["sgd-momentum", "bad-rate"]
    assert screens[0]._output_dir == "runs"
