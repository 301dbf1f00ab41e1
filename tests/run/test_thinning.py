"""Of a long run in short epochs what nobody could see is not told, and what anybody needs is."""

import dataclasses

from tests.run.examples import epoch_ended, evaluated, saved, started, trained
from tui_trainer.run.events import Evaluated, Event, Preparing
from tui_trainer.run.state import RunState
from tui_trainer.run.thinning import thinned

BEGAN = 1_795_000_000.0


def run_of(epochs: int, seconds: float, *, cells: int = 10, validation: float = 0.5) -> list[Event]:
    """A run of so many epochs of so many seconds; its tables have `cells` rows and columns."""
    table = tuple(tuple(range(cells)) for _ in range(cells))
    events: list[Event] = [started(epochs=epochs)]
    for epoch in range(1, epochs + 1):
        elapsed, step = epoch * seconds, 10 * epoch
        seen = dataclasses.replace(evaluated(step, 1 / epoch, seconds=validation), confusion=table)
        part = [trained(step, elapsed=elapsed), Preparing(what="validation"), seen, saved(step), epoch_ended(epoch)]
        events += [dataclasses.replace(event, at=BEGAN + elapsed) for event in part]
    return events


def as_told(events: list[Event]) -> tuple[list[Event], RunState]:
    state, found = RunState(), []
    for event in thinned(events, state):
        state.apply(event)
        found.append(event)
    return found, state


def with_tables(events: list[Event]) -> list[int]:
    """The epochs whose tables were told."""
    return [event.epoch for event in events if isinstance(event, Evaluated) and event.has_tables]


def test_a_validation_is_announced_when_it_can_be_seen() -> None:
    for seconds, count in ((0.5, 1), (1.5, 20)):
        events, _ = as_told(run_of(20, 5.0, validation=seconds))
        assert sum(isinstance(event, Preparing) for event in events) == count


def test_nothing_but_tables_and_news_is_left_out() -> None:
    events, state = as_told(whole := run_of(2_000, 5.0))
    bare = [
        dataclasses.replace(event, confusion=()) if isinstance(event, Evaluated) else event
        for event in whole
        if not isinstance(event, Preparing)
    ]
    found = [dataclasses.replace(event, confusion=()) if isinstance(event, Evaluated) else event for event in events]
    assert [event for event in found if not isinstance(event, Preparing)] == bare
    assert state.validation == dataclasses.replace(
        evaluated(20_000, 1 / 2_000, seconds=0.5),
        **{
            "at": BEGAN + 10_000,
            "confusion": whole[-3].confusion,  # type: ignore[attr-defined]
        },
    )


def test_tables_of_a_short_run_and_of_long_epochs_are_all_told() -> None:
    for epochs, seconds in ((60, 1.0), (60, 5.0), (2_000, 10.0)):
        events, _ = as_told(run_of(epochs, seconds))
        assert with_tables(events) == list(range(1, epochs + 1))


def test_tables_of_short_epochs_come_every_ten_seconds_in_a_long_run_and_with_the_last_epoch() -> None:
    events, _ = as_told(run_of(2_000, 5.0))
    found = with_tables(events)
    assert found[:60] == list(range(1, 61)), "in the first minutes all"
    assert found[-100:] == [*range(found[-2] - 2 * 98, found[-2] + 1, 2), 2_000]


def test_large_tables_come_more_seldom() -> None:
    counts = [len(with_tables(as_told(run_of(2_000, 10.0, cells=cells))[0])) for cells in (10, 30, 100)]
    assert counts[0] == 2_000 > counts[1] > counts[2] > 200


def test_what_somebody_asked_for_and_a_test_are_told_with_their_tables() -> None:
    events = run_of(3_000, 1.0)
    asked = dataclasses.replace(evaluated(30_005), at=events[-1].at)
    tested = dataclasses.replace(evaluated(30_010, split="test"), at=events[-1].at)
    *_, first, _, second = as_told([*events, trained(30_005), asked, trained(30_010), tested])[0]
    assert first == asked and second == tested


def test_a_viewer_keeps_the_newest_tables_with_the_epoch_that_they_are_of() -> None:
    state = RunState()
    for event in (started(), trained(10), evaluated(10), trained(20), dataclasses.replace(evaluated(20), confusion=())):
        state.apply(event)
    assert state.evaluation is not None and state.validation is not None
    assert (state.evaluation.epoch, state.evaluation.has_tables) == (1, True)
    assert state.validation.epoch == 2
    state.apply(evaluated(30))
    assert state.evaluation.epoch == 3
