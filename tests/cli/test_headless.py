"""`--no-ui` as people and scripts meet it: real processes, in pipes and in terminals."""

import json
import math
import re
import types
from collections.abc import Iterable
from dataclasses import MISSING, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import pyte
import pytest

from tests.cli.program import MINI, SHORT, Cases, Ended, Started, finish, hidden, in_terminal, run, started
from tui_trainer.cli.lines import LinePrinter
from tui_trainer.run import events
from tui_trainer.run.events import Event
from tui_trainer.run.events_json import from_json
from tui_trainer.run.folder import find
from tui_trainer.run.recorded import RecordedRun
from tui_trainer.run.state import RunState

pytestmark = pytest.mark.xdist_group("processes")  # one after another, in one worker


def with_readers_that_leave(folder: Path, *words: str, both: bool = False) -> Ended:
    """The program in a pipe whose reader goes after the first line; the reader of stderr never came when `both`."""
    with started(folder, [*SHORT, *words]) as process:
        assert process.stdout and process.stderr
        if both:
            process.stderr.close()
            process.stderr = None
        process.stdout.readline()
        process.stdout.close()
        process.stdout = None
        return finish(process, folder)


def with_a_full_disk(folder: Path) -> Ended:
    """The program with its stdout in a file on a disk that is full."""
    with open("/dev/full", "wb") as full, started(folder, SHORT, stdout=full.fileno()) as process:
        return finish(process, folder)


CASES: Cases = {
    "json": lambda folder: run(folder, *SHORT, "--json", "--log-interval", "1"),
    "plain": lambda folder: run(folder, *SHORT),
    "ascii": lambda folder: run(folder, *SHORT, env={"PYTHONIOENCODING": "ascii"}),
    "terminal": lambda folder: in_terminal(folder, *MINI, "--epochs", "2"),
    "no colour": lambda folder: in_terminal(folder, *SHORT, env={"NO_COLOR": "1"}),
    "dumb": lambda folder: in_terminal(folder, *SHORT, env={"TERM": "dumb"}),
    "reader gone": with_readers_that_leave,
    "reader of json gone": lambda folder: with_readers_that_leave(folder, "--json"),
    "both readers gone": lambda folder: with_readers_that_leave(folder, both=True),
    "stdout full": with_a_full_disk,
    "tutorial": lambda folder: run(folder, *MINI, "--preset", "tutorial", "--limit-train-batches", "2"),
}


# --- the stream of events ---


def fits(value: Any, hint: Any) -> bool:
    """True when a JSON value is what a field of type `hint` must look like on the wire."""
    if get_origin(hint) in (Union, types.UnionType):
        return any(fits(value, arm) for arm in get_args(hint))
    if get_origin(hint) is tuple:
        arms = get_args(hint)
        if not isinstance(value, list):
            return False
        each = [arms[0]] * len(value) if arms[-1] is Ellipsis else list(arms)
        return len(each) == len(value) and all(map(fits, value, each))
    if get_origin(hint) is dict:
        return isinstance(value, dict) and all(isinstance(key, str) for key in value)
    if hint is float:
        return value is None or (type(value) in (int, float) and math.isfinite(value))
    return type(value) is hint


def lines_of(ended: Started) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ended["json"].out.splitlines()]


def fold(stream: Iterable[Event]) -> RunState:
    state = RunState()
    for event in stream:
        state.apply(event)
    return state


def test_every_line_is_an_event_with_its_fields_in_their_order_and_types(ended: Started) -> None:
    for line in lines_of(ended):
        kind = getattr(events, line.pop("event"))
        assert issubclass(kind, Event)
        hints = get_type_hints(kind)
        assert list(line) == [name for name in hints if name in line], "empty ones are left out"
        assert {f.name for f in fields(kind) if f.default is f.default_factory is MISSING} <= set(line)
        assert {name: value for name, value in line.items() if not fits(value, hints[name])} == {}


def test_every_kind_of_an_ordinary_run_is_seen(ended: Started) -> None:
    kinds = {line["event"] for line in lines_of(ended)}
    ordinary = {"Preparing", "RunStarted", "BatchTrained", "Evaluated", "CheckpointSaved", "EpochEnded", "RunEnded"}
    assert kinds == ordinary


def test_an_epoch_is_batches_then_validation_then_checkpoints_then_its_end(ended: Started) -> None:
    kinds = [line["event"] for line in lines_of(ended) if line["event"] != "Preparing"]
    epoch = ["BatchTrained"] * 12 + ["Evaluated", "CheckpointSaved", "CheckpointSaved", "EpochEnded"]
    assert kinds == ["RunStarted", *epoch, *epoch, "Evaluated", "RunEnded"]


def test_steps_count_on_across_epochs_and_batches_from_one(ended: Started) -> None:
    batches = [line for line in lines_of(ended) if line["event"] == "BatchTrained"]
    assert [line["step"] for line in batches] == list(range(1, 25))
    assert [line["batch"] for line in batches] == [*range(1, 13)] * 2
    assert {line["batches"] for line in batches} == {12}
    assert [line["epoch"] for line in batches] == [1] * 12 + [2] * 12


def test_a_confusion_counts_every_example_once_and_agrees_with_the_accuracy(ended: Started) -> None:
    lines = lines_of(ended)
    begun = next(line for line in lines if line["event"] == "RunStarted")
    for line in (line for line in lines if line["event"] == "Evaluated"):
        counts = line["confusion"]
        examples = begun["valid_examples"] if line["split"] == "valid" else begun["test_examples"]
        assert sum(map(sum, counts)) == examples
        assert [len(row) for row in counts] == [len(begun["classes"])] * len(begun["classes"])
        assert line["accuracy"] == pytest.approx(sum(counts[i][i] for i in range(len(counts))) / examples)


def test_the_last_event_is_how_the_run_ended_and_the_exit_code_says_the_same(ended: Started) -> None:
    last = lines_of(ended)[-1]
    assert (last["event"], last["reason"], last["error"], last["exit_code"]) == ("RunEnded", "finished", None, 0)
    assert ended["json"].code == 0
    assert last["best_epoch"] in (1, 2)
    assert last["seconds"] > 0


def test_time_never_runs_backwards_in_the_stream(ended: Started) -> None:
    lines = lines_of(ended)
    assert all(a["at"] <= b["at"] for a, b in pairwise(lines))
    elapsed = [line["elapsed"] for line in lines if line["event"] == "BatchTrained"]
    assert elapsed == sorted(elapsed)


def test_the_journal_is_the_stream_byte_for_byte(ended: Started) -> None:
    assert ended["json"].journal == ended["json"].out


def test_the_folder_folds_to_the_same_state_as_the_stream(ended: Started) -> None:
    streamed = fold(event for line in ended["json"].out.splitlines() if (event := from_json(line)))
    recorded = fold(RecordedRun(find("it", str(ended["json"].folder / "runs"))).events())
    assert recorded == streamed
    assert streamed.status == "finished"
    assert [row.epoch for row in streamed.epochs] == [1, 2]


def test_json_is_alone_on_stdout_and_stderr_is_silent_when_all_is_well(ended: Started) -> None:
    assert ended["json"].err == ""


# --- lines for people ---


def rows(text: str) -> list[str]:
    return re.findall(r"^ *(\d+/\d+)  +\d", text, re.MULTILINE)


def test_a_pipe_gets_no_escape_code_and_no_progress_bar(ended: Started) -> None:
    assert hidden(ended["plain"].out + ended["plain"].err) == set()
    assert " left" not in ended["plain"].out


def test_lines_are_a_row_for_every_epoch_under_a_head(ended: Started) -> None:
    out = ended["plain"].out
    assert rows(out) == ["1/2", "2/2"]
    assert out.index("train loss") < out.index("1/2")


def test_the_summary_has_best_epoch_test_score_checkpoints_and_seconds(ended: Started) -> None:
    out = ended["plain"].out
    assert re.search(r"^finished after 0:\d\d \(\d+\.\d s\)$", out, re.MULTILINE)
    assert re.search(r"^best +epoch [12], loss \d\.\d+, accuracy \d+\.\d %$", out, re.MULTILINE)
    assert re.search(r"^test +loss \d\.\d+, accuracy \d+\.\d %", out, re.MULTILINE)
    for kind in ("best", "last"):
        assert re.search(rf"^{kind} +runs/it/checkpoints/{kind}\.pt  \d", out, re.MULTILINE)
        assert (ended["plain"].run / "checkpoints" / f"{kind}.pt").is_file()


def test_results_are_on_stdout_and_talk_is_on_stderr(ended: Started) -> None:
    assert ended["plain"].err == "preparing torch\npreparing data\n"
    assert "preparing" not in ended["plain"].out


def test_the_tutorial_says_that_its_best_epoch_was_chosen_on_the_test_split(ended: Started) -> None:
    out = ended["tutorial"].out
    assert ended["tutorial"].code == 0
    assert "5,000 train · 1,000 validation (the test split)" in out
    assert "sgd 0.001" in out
    assert re.search(r"^test +the best epoch was chosen on the test split itself", out, re.MULTILINE)


def test_a_stream_that_knows_only_ascii_costs_characters_and_not_the_run(ended: Started) -> None:
    assert (ended["ascii"].code, rows(ended["ascii"].out)) == (0, ["1/2", "2/2"])
    assert "Traceback" not in ended["ascii"].err


# --- in a terminal ---

COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-9]|4[0-9]|9[0-7]|10[0-7])(?:;\d+)*m")


def test_a_terminal_shows_a_progress_line_that_gives_way_to_rows(ended: Started) -> None:
    out = ended["terminal"].out
    progress = re.search(r"\r\x1b\[Kepoch 1/2  batch \d+/71  loss \d\.\d+  [\d,.]+ images/s  \S+ left", out)
    assert progress
    assert progress.start() < out.index(" 1/2 ")
    assert COLOUR.search(out)
    screen = pyte.Screen(100, 60)
    pyte.Stream(screen).feed(out)
    shown = "\n".join(line.rstrip() for line in screen.display)
    assert rows(shown) == ["1/2", "2/2"]
    assert " left" not in shown
    assert "preparing" not in shown
    assert ended["terminal"].code == 0


def test_no_color_takes_the_colours_out_and_leaves_the_progress_line(ended: Started) -> None:
    assert not COLOUR.search(ended["no colour"].out)
    assert "\r\x1b[K" in ended["no colour"].out
    assert ended["no colour"].code == 0


def test_a_dumb_terminal_gets_plain_lines(ended: Started) -> None:
    assert "\x1b" not in ended["dumb"].out
    assert hidden(ended["dumb"].out, allowed="\r\n") == set()
    assert rows(ended["dumb"].out.replace("\r\n", "\n")) == ["1/2", "2/2"]


def test_a_run_that_ends_calls_a_terminal_and_nothing_else(ended: Started) -> None:
    assert re.search(r"\x1b\]9;it: finished after 0:\d\d, best [^\a]*\a\a", ended["terminal"].out)
    for name in ("plain", "json"):
        assert not {"\x1b", "\a"} & set(ended[name].out + ended[name].err)
    assert "\x1b]9;" not in ended["dumb"].out


# --- nobody listens ---


@pytest.mark.parametrize("case", ["reader gone", "reader of json gone", "both readers gone", "stdout full"])
def test_training_goes_on_to_the_end_when_nobody_takes_its_output(ended: Started, case: str) -> None:
    if case == "stdout full" and not Path("/dev/full").exists():
        pytest.skip("only Linux has /dev/full")
    last = json.loads(ended[case].journal.splitlines()[-1])
    assert (last["event"], last.get("reason")) == ("RunEnded", "finished")
    assert ended[case].code == 0
    assert "Traceback" not in ended[case].err
    assert (ended[case].run / "checkpoints" / "best.pt").is_file()


def test_what_a_run_waits_for_and_what_parking_gave_back_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    printer = LinePrinter(None)
    for event in (
        events.Preparing(what="waiting for ahead to end: epoch 1 of 2"),
        events.RunPaused(why="parked", text="38.0 MB given back"),
        events.RunPaused(),
    ):
        printer.show(event)
    assert capsys.readouterr().err.splitlines() == [
        "waiting for ahead to end: epoch 1 of 2",
        "parked: 38.0 MB given back",
        "paused",
    ]
