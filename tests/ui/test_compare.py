"""Curves of several runs in one chart: axes in round numbers, a letter on each, nothing that breaks it."""

import pytest

from tui_trainer.runs.comparison import LETTERS, MOST, TRAINING, VALIDATION, Line
from tui_trainer.ui.themes import THEMES
from tui_trainer.ui.widgets.charts import STYLES
from tui_trainer.ui.widgets.compare import CompareChart, short_count, step_ticks, time_ticks


def chart(*lines: Line, width: int = 80, height: int = 20, **modes: object) -> str:
    """What the chart shows of these validation losses."""
    view = CompareChart("chart")
    view.lines = [dict.fromkeys((VALIDATION, TRAINING, "accuracy"), line) for line in lines]
    for name, value in modes.items():
        setattr(view, name, value)
    type(view).content_size = property(lambda _: (width, height))  # type: ignore[assignment, method-assign]
    try:
        return view.render().plain
    finally:
        del type(view).content_size


def line(n: int, start: float = 1.0) -> Line:
    steps = tuple(float(10 * k) for k in range(1, n + 1))
    return Line(steps, tuple(s / 7 for s in steps), tuple(start / k for k in range(1, n + 1)))


def test_there_are_as_many_letters_and_colours_as_runs() -> None:
    assert len(LETTERS) == len(STYLES) == MOST == len(set(STYLES.values()))
    assert len(THEMES) > 0


def test_every_run_has_its_letter_on_its_curve_and_before_its_newest_value() -> None:
    shown = chart(*(line(40, 1 + n) for n in range(8)), width=160, height=40)
    head, *picture = shown.split("\n")
    for letter in LETTERS:
        assert f"{letter} " in head and any(letter in row for row in picture)


@pytest.mark.parametrize("modes", [{}, {"by_time": True}, {"log_scale": False}, {"measure": "accuracy"}])
@pytest.mark.parametrize("size", [(20, 4), (58, 8), (198, 40)])
def test_the_picture_fits_whatever_is_drawn(modes: dict[str, object], size: tuple[int, int]) -> None:
    strange = [
        Line(),
        line(1),
        line(1000),
        Line((5.0, 6.0), (0.0, 0.0), (0.0, -1.0)),
        Line((1.0,), (1.0,), (float("inf"),)),
        Line((1.0, 1e9), (1.0, 1e9), (1e-30, 1e30)),
    ]
    shown = chart(*strange, width=size[0], height=size[1], **modes)
    assert len(shown.split("\n")) <= size[1] and max(map(len, shown.split("\n"))) <= size[0]


def test_a_chart_without_a_point_says_so() -> None:
    assert "none of these runs" in chart(Line(), Line())
    assert "none of these runs" in chart(Line((3.0,), (0.0,), (0.5,)), by_time=True)


@pytest.mark.parametrize("right", [1, 7, 99, 2_532, 84_400, 10**6, 10**9])
@pytest.mark.parametrize("width", [20, 58, 118, 198])
def test_ticks_are_round_and_do_not_run_into_each_other(right: int, width: int) -> None:
    for ticks in (step_ticks(right, width), time_ticks(right, width)):
        assert all(0 < place <= right for place in ticks)
        assert sum(len(text) + 2 for text in ticks.values()) <= width


def test_counts_are_short() -> None:
    shown = [short_count(n) for n in (5, 900, 1_000, 1_500, 20_000, 2_500_000, 3_000_000, 10**9)]
    assert shown == ["5", "900", "1k", "1,500", "20k", "2.5M", "3M", "1G"]
