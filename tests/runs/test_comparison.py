"""Runs side by side: curves over time, settings that differ, and names that fit."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.run.examples import ended, evaluated, saved, started, trained
from tui_trainer.errors import UsageError
from tui_trainer.run.events import Event
from tui_trainer.run.events_json import to_json
from tui_trainer.run.folder import RunFolder
from tui_trainer.runs.comparison import Curves, differing, figures, interpolated, short_names, to_compare
from tui_trainer.runs.listing import Summary
from tui_trainer.settings.schema import Settings


def folder(name: str, *events: Event, more: str = "") -> RunFolder:
    path = Path("runs") / name
    path.mkdir(parents=True, exist_ok=True)
    (path / "events.jsonl").write_text("".join(to_json(event) + "\n" for event in events) + more)
    return RunFolder(path)


def summary(name: str = "it", **settings: Any) -> Summary:
    return Summary(path=Path(name), name=name, state="finished", settings=Settings().model_dump() | settings)


def test_a_curve_is_known_by_step_and_by_time() -> None:
    run = folder("it", started(), *(trained(n, 1 / n, elapsed=2.0 * n) for n in range(1, 21)), evaluated(20, 0.3))
    lines = Curves(run).read()
    assert lines["training loss"].steps[:3] == (1, 2, 3) and lines["training loss"].times[:3] == (2, 4, 6)
    assert (lines["validation loss"].steps, lines["validation loss"].times) == ((20,), (40,))
    assert lines["validation loss"].values == (0.3,) and lines["accuracy"].values == (0.75,)


def test_curves_are_read_on_as_the_journal_grows_and_torn_lines_wait() -> None:
    events = [started(), *(trained(n, elapsed=float(n)) for n in range(1, 6))]
    torn = to_json(trained(6, elapsed=6.0))
    curves = Curves(run := folder("it", *events, more=torn[:40]))
    assert curves.read()["training loss"].steps == (1, 2, 3, 4, 5)
    assert curves.read()["training loss"].steps == (1, 2, 3, 4, 5)
    folder("it", *events, trained(6, elapsed=6.0), evaluated(6))
    lines = curves.read()
    assert lines["training loss"].times == (1, 2, 3, 4, 5, 6) and lines["validation loss"].steps == (6,)
    run.journal.unlink()
    assert curves.read() == lines


def test_what_is_trained_again_after_a_resume_counts_once() -> None:
    again = dataclasses.replace(started(), resumed_from="checkpoints/last.pt", epoch=1, batch=2, step=2)
    first = [started(), *(trained(n, 1.0, elapsed=float(n)) for n in range(1, 5))]
    run = folder("it", *first, again, *(trained(n, 0.5, elapsed=10.0 + n) for n in range(3, 7)))
    line = Curves(run).read()["training loss"]
    assert line.steps == (1, 2, 3, 4, 5, 6) and line.times == (1, 2, 13, 14, 15, 16)
    assert line.values == (1.0, 1.0, 0.5, 0.5, 0.5, 0.5)


def test_a_run_that_cannot_be_read_has_empty_curves() -> None:
    lines = Curves(RunFolder(Path("nowhere"))).read()
    assert set(lines) == {"validation loss", "training loss", "accuracy"}
    assert all(line.values == () for line in lines.values())


def test_settings_that_differ_are_told_and_the_seed_comes_last() -> None:
    runs = [summary(lr=0.1, seed=1, name="a"), summary(lr=0.2, seed=2, name="b", compile=True), summary(lr=0.1, seed=1)]
    assert differing(runs) == {"lr": ("0.1", "0.2", "0.1"), "compile": ("off", "on", "off"), "seed": ("1", "2", "1")}
    assert list(differing(runs))[-1] == "seed"
    assert differing([summary(), summary()]) == {}


def test_a_run_of_an_older_program_had_the_default() -> None:
    old = Settings().model_dump()
    del old["amp"]
    older = dataclasses.replace(summary(), settings=old)
    assert differing([older, summary()]) == {}
    assert differing([older, summary(amp="bf16")]) == {"amp": ("off", "bf16")}


def test_a_run_that_cannot_be_read_differs_in_nothing() -> None:
    unknown = dataclasses.replace(summary(), settings={})
    assert differing([unknown, summary()]) == {}
    assert differing([unknown, summary(lr=0.1), summary(lr=0.2)]) == {"lr": ("-", "0.1", "0.2")}


def test_values_are_made_harmless() -> None:
    assert differing([summary(model="\x1b[31m"), summary()]) == {"model": ("\\x1b[31m", "mlp")}


def test_each_run_is_compared_once_and_two_to_eight_are() -> None:
    a, b = (folder(name, started(), trained(1), evaluated(1), saved(1, "best"), ended()) for name in "ab")
    assert [run.name for run in to_compare([b, a, RunFolder(a.path.absolute())])] == ["b", "a"]
    for few in ([], [a], [a, a]):
        with pytest.raises(UsageError, match="from 2 to 8 runs"):
            to_compare(few)
    with pytest.raises(UsageError, match="there are 9 here"):
        to_compare([folder(str(n), started()) for n in range(9)])


def test_every_figure_of_a_run_that_knows_nothing_is_a_word() -> None:
    empty = Summary(path=Path("x"), name="x", state="unreadable")
    assert all(cells for row in figures([empty]).values() for cells in row)


@pytest.mark.parametrize(
    ("at", "wanted"), [([], []), ([0, 1, 2, 3, 9], [10, 10, 15, 20, 20]), ([1.5], [12.5]), ([3, 3], [20, 20])]
)
def test_values_between_two_points_lie_on_a_line(at: list[float], wanted: list[float]) -> None:
    assert interpolated([1, 3], [10, 20], at) == wanted
    assert interpolated([], [], at) == [0.0] * len(at)


@pytest.mark.parametrize(
    ("names", "width", "wanted"),
    [
        (["a", "b"], 10, ["a", "b"]),
        (["long-name-one-x", "long-name-two-x"], 8, ["…one", "…two"]),
        (["2026-11-23T11-24-45-cnn-data", "2026-11-23T11-31-07-mlp-data"], 13, ["…24-45-cnn", "…31-07-mlp"]),
        (["2026-11-23T11-24-45-cnn-data", "mine"], 13, ["…11-24-45-cn…", "mine"]),
        (["completely", "different"], 5, ["comp…", "diff…"]),
        (["same-name-here", "same-name-here"], 6, ["same-…", "same-…"]),
        (["run-1", "run-1-1", "run-1-1-1"], 4, ["…1", "…1-1", "…1-…"]),
        (["-a-long-tail", "b-a-long-tail"], 4, ["…", "b"]),
    ],
)
def test_names_are_shortened_by_what_they_share(names: list[str], width: int, wanted: list[str]) -> None:
    assert short_names(names, width) == wanted
