"""What a refresh makes does not depend on how long the run is."""

from collections.abc import Callable

import pytest

from tests.run.examples import epoch_ended, evaluated, folded, saved, started, trained
from tui_trainer.run.events import Event, Warned
from tui_trainer.run.state import MOST_EPOCHS, RunState
from tui_trainer.ui.widgets.charts import epoch_ticks
from tui_trainer.ui.widgets.panel import ListPanel
from tui_trainer.ui.widgets.tables import CheckpointLog, EpochTable, EventLog


def epochs(count: int) -> list[Event]:
    return [epoch_ended(epoch) for epoch in range(1, count + 1)]


def checkpoints(count: int) -> list[Event]:
    return [saved(10 * epoch, "epoch", name=f"epoch-{epoch}") for epoch in range(1, count + 1)]


def warnings(count: int) -> list[Event]:
    return [Warned(text=f"{n} " + "word " * 30) for n in range(count)]


@pytest.mark.parametrize(
    ("kind", "events", "a_row"), [(EpochTable, epochs, 1), (CheckpointLog, checkpoints, 1), (EventLog, warnings, 4)]
)
@pytest.mark.parametrize("up", [0, 7, 10**6])
def test_as_many_rows_are_made_as_are_in_sight(
    kind: type[ListPanel], events: Callable[[int], list[Event]], a_row: int, up: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    lines = kind.lines

    def counted(panel: ListPanel, row: object, state: RunState, width: int) -> list[object]:
        made.append(row)
        return list(lines(panel, row, state, width))

    monkeypatch.setattr(kind, "lines", counted)
    for count in (100, 5_000):
        made.clear()
        panel = kind(4, "list")
        panel._up = up
        picture = panel.draw(folded(started(epochs=9), *events(count)), 58, 13)
        assert len(picture.plain.split("\n")) == 13
        assert len(made) <= 13 // a_row + 2


@pytest.mark.parametrize("up", [0, 1, 2, 3, 5, 30, 71, 72, 73, 1000])
def test_the_lines_in_sight_are_a_window_on_all_lines(up: int) -> None:
    """Rows of several lines are cut at both edges, and nothing is scrolled beyond the first line."""
    state = folded(*(Warned(text=f"{n} " + "word " * (7 * (n % 4))) for n in range(40)))
    panel = EventLog(6, "events")
    everything = [line.plain for row in state.log for line in panel.lines(row, state, 40)]
    panel._up = up
    shown = panel.draw(state, 40, 9).plain.split("\n")
    end = len(everything) - min(up, len(everything) - 9)
    assert shown == everything[end - 9 : end]
    assert panel._up == min(up, len(everything) - 9)


def test_the_frame_says_which_epochs_have_no_row() -> None:
    table = EpochTable(4, "epochs")
    table.draw(folded(*epochs(MOST_EPOCHS)), 58, 13)
    assert str(table.border_title) == "4 epochs"
    table.draw(state := folded(*epochs(12_345)), 58, 13)
    assert str(table.border_title) == f"4 epochs · every 100th until {state.thinned_until:,}"


def test_columns_stay_in_line_when_epochs_have_many_digits() -> None:
    state = folded(started(epochs=10**6), trained(10), evaluated(10), epoch_ended(1), epoch_ended(123_456))
    head, *rows = EpochTable(4, "epochs").draw(state, 58, 5).plain.split("\n")
    assert {len(line) for line in rows} == {len(head)} and len(rows) == 2


@pytest.mark.parametrize("count", [5, 99, 9_999, 123_456, 1_000_000])
def test_numbers_of_epochs_do_not_run_into_each_other(count: int) -> None:
    ticks, _ = epoch_ticks(folded(started(epochs=count), trained(10 * count)), 58, 10 * count)
    assert 0 < len(ticks) * (max(map(len, ticks.values())) + 1) <= 58
