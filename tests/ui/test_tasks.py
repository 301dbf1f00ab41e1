"""Every task has its panels, its score by name, what is right and wrong, at any size, whatever the numbers."""

import dataclasses
import itertools
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import replay
from tests.ui.conftest import SIZES, Show
from tests.ui.folders import make
from tests.ui.test_runs_screen import opened, until
from tui_trainer.run.events import Evaluated, Event, RunStarted
from tui_trainer.run.folder import RunFolder
from tui_trainer.run.state import RunState
from tui_trainer.runs import listing
from tui_trainer.ui.screens.replay import ReplayScreen
from tui_trainer.ui.widgets.evaluation import Room
from tui_trainer.ui.widgets.numbers import resampled, shared_out
from tui_trainer.ui.widgets.outcome import Outcome

TASKS = ("binary", "multilabel", "regression", "distribution")
KEYS = {
    "binary-80x24": ("binary", (80, 24), ["3"]),
    "multilabel-80x24": ("multilabel", (80, 24), ["3"]),
    "regression-80x24": ("regression", (80, 24), ["3"]),
    "regression-residuals": ("regression", (120, 40), ["m"]),
    "regression-zoom": ("regression", (120, 40), ["3", "z"]),
    "distribution-80x24": ("distribution", (80, 24), ["3"]),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("task", TASKS)
async def test_a_run_of_a_task_looks_as_it_did(
    task: str, size: str, show_run: Show, same_as_before: Callable[[str, str], None]
) -> None:
    async with show_run(replay.events(task), SIZES[size]) as shown:
        same_as_before(f"task-{task}-{size}", shown.text)


@pytest.mark.parametrize("name", KEYS)
async def test_what_a_key_shows_of_a_task_looks_as_it_did(
    name: str, show_run: Show, same_as_before: Callable[[str, str], None]
) -> None:
    task, size, keys = KEYS[name]
    async with show_run(replay.events(task), size) as shown:
        await shown.press(*keys)
        same_as_before(f"task-key-{name}", shown.text)


async def test_many_labels_scroll_and_the_worst_come_first_where_it_is_wanted(
    show_run: Show, same_as_before: Callable[[str, str], None]
) -> None:
    async with show_run(many_labels(80), (120, 40)) as shown:
        await shown.press("3", "m", "down", "down")
        assert "worst first · 3-13 of 80" in shown.text
        same_as_before("task-key-multilabel-many", shown.text)
        await shown.press(*["pagedown"] * 9)
        assert "of 80" in shown.text and "-80 of 80" in shown.text
        await shown.press("m", *["pageup"] * 9)
        assert "in order · 1-11 of 80" in shown.text


async def test_the_key_of_a_picture_says_why_it_does_nothing(show_run: Show) -> None:
    async with show_run(replay.events("regression"), (200, 60)) as shown:
        assert shown.screen is not None
        await shown.press("m")
        assert shown.notes == ["Predictions and residuals are both in sight."]
        assert "m Residuals" in shown.text and not shown.screen.query_one(Outcome).other


async def test_before_the_first_validation_a_panel_is_named_after_its_task(show_run: Show) -> None:
    first = replay.until("regression", lambda event: isinstance(event, RunStarted))
    async with show_run(first) as shown:
        assert "2 MAE" in shown.text and "3 predictions" in shown.text and "m Residuals" in shown.text


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("name", "keys"), [("runs", []), ("compare", ["m", "m", "m"])])
async def test_runs_of_all_tasks_side_by_side_look_as_they_did(
    name: str,
    keys: list[str],
    size: str,
    still: Callable[[float], None],
    same_as_before: Callable[[str, str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    listing._cache.clear()
    still(1_795_620_000.0)
    folders = [RunFolder(make(task, task)) for task in ("finished", *TASKS)]
    compared = folders[::2] if name == "compare" else None
    async with opened(SIZES[size], runs=name == "runs", compared=compared) as shown:
        if compared:
            await until(shown, lambda: shown.app.screen.chart.lines is not None)
        await shown.press(*keys)
        same_as_before(f"task-{name}-{size}", shown.text)
        if compared:
            assert "linear y" in shown.text
            await shown.press("y")
            assert shown.notes[-1] == "F1 is shown on a linear axis."


async def test_a_run_of_a_task_is_played_again(
    still: Callable[[float], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    still(1_795_620_000.0)
    async with opened(runs=False, replay=ReplayScreen(RunFolder(make("regression", "regression")), 0.1)) as shown:
        await until(shown, lambda: shown.app.screen.line.read is None)
        await shown.press("space", "end")
        assert "MAE   4.320" in shown.text and "m Residuals" in shown.text
        await shown.press("m")
        assert "residuals: predicted less true" in shown.text
        await shown.press("home")
        assert "3 predictions" not in shown.text and "MAE" not in shown.text  # the task is not known yet


def many_labels(count: int) -> list[Event]:
    """A run of so many labels."""
    events = replay.events("multilabel")
    names = tuple(f"label-{i:02}" for i in range(count))
    found = tuple((0.9, 0.5, round(0.3 + 0.6 * ((i * 37) % count) / count, 4), 10 * i) for i in range(count))
    changed = []
    for event in events:
        if isinstance(event, RunStarted):
            event = dataclasses.replace(event, classes=names)
        elif isinstance(event, Evaluated):
            event = dataclasses.replace(event, labels=found)
        changed.append(event)
    return changed


# --- numbers from elsewhere ---

NAN, INF = math.nan, math.inf
CONFUSIONS = [
    (),
    ((),),
    ((), ()),
    ((1,), (2, 3, 4)),
    ((-5, 3), (2, -7)),
    ((0, 0), (0, 0)),
    ((10**300, 1), (1, 10**4000)),
]
CONFUSIONS += [tuple(tuple(i * j for i in range(60)) for j in range(60))]
LABELS = [(), ((NAN, INF, -INF, -3),), ((2.0, -1.0, 1e300, 10**4000), (0.5, 0.5, 0.5, 1)), ((0.1, 0.2, 0.3, 4),) * 300]
DENSITIES = [(), ((),), ((0,),), ((1, 2), ()), ((-4, 7, 9), (1,), (10**4000, 0, 0)), ((1,),)]
RESIDUALS = [(), (0,), (-1, -2), (5,), (10**4000, 1, -1), (7,) * 1000]
RANGES = [(0.0, 0.0, 0.0), (NAN, INF, NAN), (-1e308, 1e308, 1e308), (5.0, -5.0, -2.0), (1e-12, 2e-12, 1e-13)]
SCORES = [{}, {"mae": NAN, "f1": INF}, {"mae": -1e308, "rmse": 1e308, "r2": -INF, "f1": 1e300, "accuracy": 4.0}]
NAMES = [(), ("a",), ("x" * 500, "漢字" * 30), ("[red]", "\x1b[2J"), tuple("abc")]


def hostile() -> list[Evaluated]:
    """Evaluations of a journal from elsewhere."""
    pictures = [{"confusion": c} for c in CONFUSIONS] + [{"labels": found} for found in LABELS]
    numbers = [*itertools.product(DENSITIES, RESIDUALS), (((3,) * 500,) * 500, RESIDUALS[-1])]
    pictures += [
        {"density": d, "residuals": r, "low": low, "high": high, "spread": spread}
        for (d, r), (low, high, spread) in zip(numbers, itertools.cycle(RANGES), strict=False)
    ]
    return [
        Evaluated(at=1.0, split="valid", epoch=1, step=i, loss=NAN, seconds=0.0, scores=scores, accuracy=INF, **picture)
        for (i, picture), scores in zip(enumerate(pictures), itertools.cycle(SCORES), strict=False)
    ]


def started(scores: tuple[tuple[str, str, str], ...], classes: tuple[str, ...]) -> RunState:
    state = RunState()
    (event,) = (event for event in replay.events("regression") if isinstance(event, RunStarted))
    state.apply(dataclasses.replace(event, scores=scores, classes=classes))
    return state


ROOMS = [(1, 1), (20, 6), (56, 14), (78, 17)]


@pytest.mark.parametrize(("width", "height"), ROOMS)
def test_no_numbers_of_a_journal_break_a_picture(width: int, height: int) -> None:
    panel = Outcome(3, "outcome")
    several = (("mae", "lower", ""), ("f1", "higher", "percent"), ("x" * 300, "?", "?"))
    ways = [((), NAMES[0]), (several, NAMES[2]), (several[:1], NAMES[3]), (several, NAMES[4]), (several, NAMES[1])]
    states = itertools.cycle([started(scores, names) for scores, names in ways])
    for seen in hostile():
        state = next(states)
        state.evaluation = seen
        for panel.other in (False, True):
            text = panel.draw(state, width, height).plain
            assert len(text.split("\n")) <= height
            assert all(len(line) <= width for line in text.split("\n")), text
            assert text.replace("\n", "").isprintable(), ascii(text)


@pytest.mark.parametrize("task", TASKS)
def test_a_picture_is_whole_or_says_that_there_is_no_room(task: str) -> None:
    state = RunState()
    for event in replay.events(task):
        state.apply(event)
    panel = Outcome(3, "outcome")
    kind = panel.kind(state)
    assert state.evaluation is not None
    for width, height in itertools.product(range(12, 130, 17), range(3, 40, 5)):
        for other in (False, True):
            text = kind.draw(state.evaluation, state, Room(width, height, other)).content.plain
            assert text.strip()
            if width >= 30:
                assert all(len(line.rstrip()) <= width for line in text.split("\n")), (width, height, text)
            assert len(text.split("\n")) <= height, (width, height, text)


async def test_no_numbers_of_a_journal_break_the_screen(show_run: Show) -> None:
    async with show_run(replay.events("regression")) as shown:
        assert shown.screen is not None
        for seen in hostile()[::6]:
            state = started((("mae", "lower", ""), ("f1", "higher", "percent")), ("a", "b"))
            for step in (1, 2):
                state.apply(dataclasses.replace(seen, step=step, scores={"mae": 1e300 * (-1) ** step, "f1": NAN}))
            shown.screen.state = state
            shown.screen.draw_all()
            await shown.pilot.pause()


def test_no_example_is_lost_when_steps_become_cells() -> None:
    table = [[3, 0, 1], [0, 5, 2], [4, 0, 9]]
    for columns, rows in itertools.product((1, 2, 3, 4, 7, 30), repeat=2):
        cells = resampled(table, columns, rows)
        assert (len(cells), {len(column) for column in cells}) == (columns, {rows})
        assert sum(map(sum, cells)) == pytest.approx(24)
    assert shared_out([1, 2, 3], 3) == [1, 2, 3] and shared_out([4], 2) == [2, 2]
