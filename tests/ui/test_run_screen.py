"""The run screen steers a run by commands alone, says why a key does nothing, and never obeys foreign text."""

import dataclasses
import threading
from collections.abc import Iterator

import pytest
from rich.style import Style
from textual.widgets import Input

from tests import replay
from tests.ui.conftest import Show
from tui_trainer.run import commands
from tui_trainer.run.commands import Command
from tui_trainer.run.events import BatchTrained, Event, Preparing, RunPaused, RunResumed, RunStarted, Warned
from tui_trainer.run.feed import Feed
from tui_trainer.run.series import Series
from tui_trainer.run.state import RunState
from tui_trainer.ui.screens.dialogs import Ask, Help
from tui_trainer.ui.terminal.pace import Pace
from tui_trainer.ui.widgets.charts import bucketed
from tui_trainer.ui.widgets.confusion import short_names
from tui_trainer.ui.widgets.header import Trouble, spark
from tui_trainer.ui.widgets.keys import bindings_of
from tui_trainer.ui.widgets.outcome import Outcome
from tui_trainer.ui.widgets.panel import View
from tui_trainer.ui.widgets.tables import EventLog

HOSTILE = "[red]x[/nope] \x1b]0;title\x07 \x9b31m \u202egnp [@click=app.quit]go[/]"


@pytest.mark.parametrize(
    ("key", "command"),
    [
        ("space", commands.Pause()),
        ("c", commands.SaveCheckpoint()),
        ("e", commands.Evaluate()),
        ("x", commands.EndEpoch()),
        ("k", commands.Park()),
    ],
)
async def test_a_key_sends_its_command(key: str, command: Command, show_run: Show) -> None:
    async with show_run(replay.training()) as shown:
        await shown.press(key)
        assert shown.run.sent == [command]


async def test_what_was_asked_is_on_the_screen_until_the_run_has_done_it(show_run: Show) -> None:
    async with show_run(replay.training()) as shown:
        await shown.press("space")
        assert "… pausing" in shown.text and "Carry on" in shown.text
        await shown.press("space")
        assert "… carrying on" in shown.text and "space Pause" in shown.text
        assert shown.run.sent == [commands.Pause(), commands.Continue()]
        for event in (RunPaused(), RunResumed()):
            assert shown.screen._asked == commands.Continue()
            shown.screen.feed._deliver([event])
            await shown.settle()
        assert "carrying on" not in shown.text.splitlines()[0] and "● training" in shown.text


async def test_a_run_that_goes_on_has_heard_what_was_asked(show_run: Show) -> None:
    async with show_run(replay.training()) as shown:
        await shown.press("e")
        assert "… to be measured" in shown.text
        reports = [event for event in replay.training() if isinstance(event, BatchTrained)]
        shown.screen.feed._deliver(reports[-2:])
        await shown.settle()
        assert "to be measured" not in shown.text


async def test_space_carries_on_when_paused(show_run: Show) -> None:
    async with show_run(replay.paused()) as shown:
        assert "PAUSED" in shown.text and "Carry on" in shown.text
        await shown.press("space")
        assert shown.run.sent == [commands.Continue()]


@pytest.mark.parametrize("key", ["space", "k"])
async def test_either_key_carries_a_parked_run_on_and_what_must_wait_says_so(key: str, show_run: Show) -> None:
    async with show_run(replay.parked(), (200, 60)) as shown:
        assert "PARKED" in shown.text and "412.6 MB of cuda:0 given back" in shown.text
        assert "space Go on" in shown.text and "k Go on" in shown.text
        await shown.press("e")
        assert shown.run.sent == [] and "is parked" in shown.notes[-1]
        await shown.press(key)
        assert shown.run.sent == [commands.Continue()] and "… carrying on" in shown.text
        shown.screen.feed._deliver([RunPaused(why="parked", text="it cannot go on yet. cuda is out of memory.")])
        await shown.settle()
        assert "PARKED" in shown.text and "it cannot go on yet" in shown.text


async def test_a_paused_run_can_be_parked_but_not_one_that_asks(show_run: Show) -> None:
    async with show_run(replay.paused()) as shown:
        await shown.press("k")
        assert shown.run.sent == [commands.Park()] and "… parking" in shown.text
    async with show_run(replay.asking("diverged", "something is wrong")) as shown:
        await shown.press("escape", "k")
        assert shown.run.sent == [] and "answer that first" in shown.notes[-1]


async def test_pausing_does_not_stick_once_the_run_goes_on(show_run: Show) -> None:
    async with show_run([*replay.paused(), RunResumed()]) as shown:
        assert "PAUSED" not in shown.text and "training" in shown.text


async def test_stop_asks_and_then_says_stopping_until_it_has_ended(show_run: Show) -> None:
    async with show_run(replay.training()) as shown:
        await shown.press("s")
        assert isinstance(shown.app.screen, Ask)
        await shown.press("escape")
        assert shown.run.sent == []
        await shown.press("s", "enter")
        assert shown.run.sent == [commands.Stop()]
        assert "stopping" in shown.text
        await shown.press("c")
        assert shown.run.sent == [commands.Stop()]
        assert "stopping already" in shown.notes[-1]


@pytest.mark.parametrize(
    ("keys", "sent"),
    [
        (["q", "c"], []),
        (["q", "escape"], []),
        (["q", "l"], [commands.Stop(save=False)]),
        (["q", "s"], [commands.Stop()]),
    ],
)
async def test_quitting_a_live_run_asks_what_becomes_of_it(
    keys: list[str], sent: list[Command], show_run: Show
) -> None:
    async with show_run(replay.training()) as shown:
        await shown.press(*keys)
        assert shown.run.sent == sent
        assert shown.app._exit is bool(sent)


async def test_a_run_that_does_not_get_on_says_what_it_waits_for(show_run: Show) -> None:
    async with show_run(replay.training()) as shown:
        shown.screen._heard = -129.0  # the clock of the screens stands at 0
        await shown.settle()
        assert "no step for" not in shown.text
        shown.screen._heard = -130.0
        await shown.settle()
        assert "no step for 130 s; log.txt says where it stands" in shown.text
        shown.screen.feed._deliver([Preparing(what="waiting for data: 45 s")])
        await shown.settle()
        assert "waiting for data: 45 s" in shown.text and "no step for" not in shown.text


async def test_the_learning_rate_must_be_a_number_above_0(show_run: Show) -> None:
    async with show_run(replay.training()) as shown:
        await shown.press("l")
        shown.app.screen.query_one(Input).value = "-1"
        await shown.press("enter")
        assert shown.run.sent == [] and "must be above 0" in shown.text
        shown.app.screen.query_one(Input).value = "0.03"
        await shown.press("enter")
        assert shown.run.sent == [commands.SetLearningRate(0.03)]


@pytest.mark.parametrize("key", ["space", "s", "c", "e", "l", "x", "k"])
async def test_a_key_with_nothing_to_steer_says_why(key: str, show_run: Show) -> None:
    async with show_run(replay.events("finished")) as shown:
        await shown.press(key)
        assert shown.run.sent == []
        assert "finished" in shown.notes[-1]


async def test_new_run_is_refused_while_one_trains(show_run: Show) -> None:
    async with show_run(replay.training()) as shown:
        await shown.press("n")
        assert "not over" in shown.notes[-1]


async def test_q_leaves_a_finished_run_without_asking(show_run: Show) -> None:
    async with show_run(replay.events("finished")) as shown:
        await shown.press("q")
        assert shown.app._exit


async def test_help_and_palette_hold_every_key(show_run: Show) -> None:
    async with show_run(replay.training()) as shown:
        keys = [b for b in bindings_of(shown.screen) if b.tooltip]
        titles = {command.title for command in shown.app.get_system_commands(shown.screen)}
        assert {b.description for b in keys if b.action and "palette" not in b.action} <= titles
        await shown.press("question_mark")
        assert isinstance(shown.app.screen, Help)
        assert len(shown.app.screen._rows) == len(keys)


async def test_every_key_that_is_shown_does_something(show_run: Show) -> None:
    """On a run screen no key is without effect: the picture, the commands, a note or a dialog change."""
    async with show_run(replay.training()) as shown:
        for binding in bindings_of(shown.screen):
            if not binding.show or binding.action in ("command_palette",):
                continue
            before = (shown.text, list(shown.run.sent), len(shown.notes), shown.app.screen)
            await shown.press(binding.key.split(",")[0])
            assert (shown.text, list(shown.run.sent), len(shown.notes), shown.app.screen) != before, binding.key
            while shown.app.screen is not shown.screen:
                await shown.press("escape")


async def test_panels_are_chosen_by_number_and_tab_and_zoomed(show_run: Show) -> None:
    async with show_run(replay.training(), (80, 24)) as shown:
        for number, word in enumerate(["training", "best 89", "recall", "accuracy", "best.pt", "started on"], 1):
            await shown.press(str(number))
            assert word in shown.text
        await shown.press("tab")
        assert shown.screen.current.number == 1
        await shown.press("shift+tab")
        assert shown.screen.current.number == 6


async def test_lists_scroll(show_run: Show) -> None:
    async with show_run(replay.events("out_of_patience")) as shown:
        await shown.press("6")
        newest = shown.text
        await shown.press("pageup")
        assert shown.text != newest
        await shown.press("pagedown")
        assert shown.text == newest


@pytest.mark.parametrize("name", ["finished", "stopped", "out_of_patience", "diverged", "failed"])
async def test_the_screen_folds_each_event_once(name: str, show_run: Show) -> None:
    expected = RunState()
    for event in replay.events(name):
        expected.apply(event)
    async with show_run(replay.events(name)) as shown:
        assert shown.screen.state == expected


async def test_foreign_text_is_shown_and_never_obeyed(show_run: Show) -> None:
    events: list[Event] = []
    for event in replay.training():
        if isinstance(event, RunStarted):
            names = (HOSTILE, "[/]", *event.classes[2:])
            event = dataclasses.replace(event, classes=names, device=HOSTILE, data=HOSTILE)
        events.append(event)
    events.append(Warned(text=HOSTILE))
    async with show_run(events, (200, 60)) as shown:
        for key in "123456":
            await shown.press(key)
        assert "[red]x[/nope]" in shown.text
        assert not set(shown.text) & set("\x1b\x07\x9b\u202e")
        shown.screen.say(HOSTILE)
        await shown.settle()
        assert not any("@click" in str(style) for style in _styles(shown.app))


def _styles(app: object) -> Iterator[Style]:
    """The styles on the screen that carry an action."""
    for strip in app.screen._compositor.render_strips(app.size):  # type: ignore[attr-defined]
        for segment in strip:
            if segment.style is not None and segment.style.meta.get("@click"):
                yield segment.style


async def test_no_color_leaves_the_words(show_run: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with show_run(replay.paused()) as shown:
        assert "PAUSED" in shown.text


@pytest.mark.parametrize("theme", ["cockpit-dark", "cockpit-light", "cockpit-colour-blind"])
async def test_each_theme_shows_every_run(theme: str, show_run: Show) -> None:
    async with show_run(replay.events("failed")) as shown:
        shown.app.theme = theme
        await shown.settle()
        assert "FAILED" in shown.text


def test_at_most_one_nudge_is_on_its_way() -> None:
    arrived, release = threading.Event(), threading.Event()

    class Talkative(replay.ReplayedRun):
        def events(self) -> Iterator[Event]:
            yield from [RunPaused() for _ in range(100)]
            arrived.set()
            release.wait(120)
            yield RunResumed()

    nudges = []
    feed = Feed(Talkative([]), lambda: nudges.append(1))
    feed.start()
    arrived.wait(120)
    assert len(nudges) == 1
    assert len(feed.take()) == 100
    release.set()
    feed.thread.join(120)
    assert len(nudges) == 2 and feed.take()[-1].__class__ is RunResumed


def test_a_screen_that_is_gone_does_not_stop_the_run() -> None:
    def gone() -> None:
        raise RuntimeError("the event loop is closed")

    run = replay.ReplayedRun(replay.events("finished"))
    feed = Feed(run, gone)
    feed.start()
    run.close()
    feed.thread.join(120)
    assert feed.ended is not None and feed.ended.reason == "finished"


def test_a_refresh_that_costs_more_comes_less_often() -> None:
    cheap, dear = Pace(share=0.02, least=0.25), Pace(share=0.02, least=0.25)
    cheap.measured(0.001)
    dear.measured(0.04)
    assert cheap.interval == 0.25
    assert dear.interval == pytest.approx(2.0)
    assert not dear.due(busy=True)


def test_a_chart_never_sees_what_is_not_finite() -> None:
    series = Series()
    for x, y in enumerate([1.0, float("nan"), float("inf"), 2.0]):
        series.add(x, y)
    assert bucketed(series, 10) == ([0.0, 3.0], [1.0, 2.0])


def test_a_chart_has_at_most_a_point_a_column() -> None:
    series = Series(limit=1024)
    for x in range(5000):
        series.add(x, 2.0)
    xs, ys = bucketed(series, 100)
    assert len(xs) <= 100 and set(ys) == {2.0}


def test_reports_of_slow_minutes_are_joined_until_they_weigh_as_much_as_others() -> None:
    series = Series()
    reports = [(100, 1.0)] * 10 + [(10, 0.5), (10, 1.5)] * 20 + [(100, 1.0)] * 10
    step = 0
    for batches, loss in reports:
        step += batches
        series.add(step, loss, batches)
    xs, ys = bucketed(series, 200)
    assert ys == pytest.approx([1.0] * 24) and xs == sorted(xs)


def test_the_loss_before_anything_was_learned_is_drawn() -> None:
    series = Series()
    for step, loss, batches in (
        (1, 2.3, 1),
        (40, 1.0, 39),
        (80, 0.9, 40),
        (102, 0.8, 22),
        (103, 4.0, 1),
        (142, 0.6, 39),
    ):
        series.add(step, loss, batches)
    assert bucketed(series, 200)[1] == pytest.approx([2.3, 1.0, 0.9, 0.8, (4.0 + 39 * 0.6) / 40])


def test_one_report_after_a_gap_joins_no_others() -> None:
    series = Series()
    for x, weight in enumerate([10] * 50 + [400] + [10] * 50):
        series.add(x, 1.0, weight)
    assert len(bucketed(series, 200)[0]) == 101


@pytest.mark.parametrize("name", ["finished", "out_of_patience", "stopped", "diverged", "failed", "regression"])
async def test_a_view_is_drawn_anew_when_anything_that_it_shows_has_changed(name: str, show_run: Show) -> None:
    events = replay.events(name)
    async with show_run(events, (200, 60)) as shown:
        assert shown.screen is not None
        state = RunState()
        for event, following in zip(events, [*events[1:], events[-1]], strict=True):
            state.apply(event)
            if isinstance(event, BatchTrained) and isinstance(following, BatchTrained):
                continue
            for view in shown.screen.query(View):
                if view.display and view.content_size.area and type(view) is not Trouble:
                    view.show(state)
                    fresh = view.draw(state, *view.content_size)
                    assert view._picture.plain == fresh.plain, f"{type(view).__name__} after {event}"


def test_the_sparkline_spans_the_blocks() -> None:
    assert spark([1.0, 2.0, 4.0, 8.0], 10)[0] == "▁"
    assert spark([1.0, 2.0, 4.0, 8.0], 10)[-1] == "█"
    assert spark([3.0] * 5, 3) == "▁▁▁"
    assert spark([], 3) == ""


def test_short_names_are_told_apart() -> None:
    names = ("Shirt", "Sheet", "Shoe", "Sh", "S-h", "日本", "")
    short = short_names(names, 2)
    assert len(set(short)) == len(names)


async def test_a_table_too_large_says_so(show_run: Show) -> None:
    async with show_run(replay.training(), (60, 15)) as shown:
        await shown.press("3")
        assert shown.screen.query_one(Outcome).display
        assert "too small for 10 classes" in shown.text


async def test_the_newest_event_is_in_sight(show_run: Show) -> None:
    async with show_run([*replay.training(), Warned(text="the newest of all")], (120, 40)) as shown:
        assert shown.screen.query_one(EventLog).display
        assert "the newest of all" in shown.text


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
async def test_a_slow_link_is_said_in_the_line_of_figures_and_pushes_nothing_off_it(
    columns: int, show_run: Show
) -> None:
    async with show_run(replay.training(), (columns, 40)) as shown:
        assert "slow link" not in shown.text
        shown.screen._slow = 0.84
        await shown.settle()
        line = shown.text.splitlines()[2]
        assert line.endswith("slow link 0.8 s") and "lr 0.00" in line and len(line) <= columns
