"""Wherever a player stands, its state is what folding the journal up to there gives, and going there is cheap."""

import dataclasses
import functools
import random
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import replay
from tests.run.examples import ended, epoch_ended, evaluated, folded, saved, started, trained
from tests.run.test_growth import long_run
from tui_trainer.errors import FolderError
from tui_trainer.run.events import Event, LearningRateChanged, Preparing, RunPaused, RunResumed, Warned
from tui_trainer.run.events_json import to_json
from tui_trainer.run.folder import RunFolder
from tui_trainer.run.state import RunState
from tui_trainer.runs.bookmarks import Bookmark
from tui_trainer.runs.player import SPEEDS, Player, copied

JOURNALS = ("finished", "stopped", "out_of_patience", "diverged", "failed")


def at_times(*pairs: tuple[float, Event]) -> list[Event]:
    return [dataclasses.replace(event, at=at) for at, event in pairs]


def a_second_apart(*events: Event) -> list[Event]:
    return at_times(*((1e9 + second, event) for second, event in enumerate(events)))


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    (tmp_path / "run").mkdir()
    return RunFolder(tmp_path / "run")


def write(folder: RunFolder, events: Iterable[Event], more: str = "") -> None:
    folder.journal.write_text("".join(to_json(event) + "\n" for event in events) + more, "utf-8")


def opened(folder: RunFolder) -> Player:
    player = Player(folder)
    for _ in player.read():
        pass
    player.begin()
    return player


@pytest.fixture
def many_waypoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """States are kept in a small journal too."""
    monkeypatch.setattr(Player, "LEAST", 2_000)


@functools.cache
def states(name: str) -> list[RunState]:
    """The state after none, one, two ... events of a recorded run."""
    state, found = RunState(), [RunState()]
    for event in replay.events(name):
        state.apply(event)
        found.append(copied(state))
    return found


def recorded(name: str, folder: RunFolder) -> Player:
    shutil.copy(replay.JOURNALS / f"{name}.jsonl", folder.journal)
    return opened(folder)


# --- the state ---


@pytest.mark.parametrize("seconds", [0.1, 7.0, 1e6])
@pytest.mark.parametrize("name", JOURNALS)
def test_playing_all_is_folding_all(name: str, seconds: float, folder: RunFolder) -> None:
    player = recorded(name, folder)
    player.speed = 1.0
    seen = [player.position]
    while player.playing:
        if player.advance(seconds):
            seen.append(player.position)
        assert player.state == states(name)[player.position]
    assert seen == sorted(set(seen)) and player.at_end and player.position == len(replay.events(name))
    assert player.state == folded(*replay.events(name))
    assert player.now == player.duration
    player.close()


@pytest.mark.usefixtures("many_waypoints")
@pytest.mark.parametrize("name", JOURNALS)
def test_every_place_has_the_state_of_folding_up_to_there(name: str, folder: RunFolder) -> None:
    player = recorded(name, folder)
    assert len(player._waypoints) > 5
    places = list(range(1, len(player) + 1))
    for position in [*places, *reversed(places), *random.Random(0).sample(places, len(places))]:
        assert player.go_to(position) == states(name)[position] == player.state
        assert player.position == position
    player.close()


@pytest.mark.usefixtures("many_waypoints")
@pytest.mark.parametrize("name", JOURNALS)
def test_any_moves_in_any_order_keep_state_and_place_together(name: str, folder: RunFolder) -> None:
    player = recorded(name, folder)
    move = st.one_of(
        st.tuples(st.just("seek"), st.floats(-10, 1.1 * player.duration)),
        st.tuples(st.just("advance"), st.floats(0, 20)),
        st.tuples(st.just("step"), st.integers(-200, 200)),
        st.tuples(st.sampled_from(["next_bookmark", "previous_bookmark", "faster", "slower", "begin"])),
    )

    @settings(max_examples=60, deadline=None)
    @given(st.lists(move, max_size=20))
    def check(moves: list[tuple[object, ...]]) -> None:
        for what, *values in moves:
            player.playing = player.playing or (what == "advance" and not player.at_end)
            getattr(player, str(what))(*values)
            assert player.state == states(name)[player.position]
            assert 0 <= player.now <= player.duration
            assert player.age <= Player.LONGEST
            assert not (player.playing and player.at_end)

    check()
    player.close()


@pytest.mark.parametrize("name", JOURNALS)
def test_a_copy_of_a_state_shares_nothing_that_is_changed(name: str) -> None:
    events = replay.events(name)
    for cut in range(0, len(events), 10):
        state = folded(*events[:cut])
        twin = copied(state)
        assert twin == state
        for event in events[cut:]:
            twin.apply(event)
        assert twin == folded(*events)
        assert state == folded(*events[:cut])


# --- time ---


def test_a_long_gap_is_soon_over_and_a_clock_that_was_set_back_costs_nothing(folder: RunFolder) -> None:
    night = 40_000.0
    events = at_times(
        (100, started()),
        (101, trained(1)),
        (101 + night, trained(2)),
        (50, trained(3)),
        (52, trained(4)),
        (float("nan"), trained(5)),
        (53, trained(6)),
        (60, ended()),
    )
    write(folder, events)
    player = opened(folder)
    limit = Player.LONGEST
    assert list(player._times) == [0, 1, 1 + limit, 1 + limit, 3 + limit, 3 + limit, 4 + limit, 4 + 2 * limit]
    player.close()


def test_the_moment_that_is_shown_follows_the_clock_of_the_run(folder: RunFolder) -> None:
    write(folder, at_times((1000, started()), (1003, trained(1)), (9000, trained(2)), (9001, ended())))
    player = opened(folder)
    for now, at, age in [(0, 1000, 0), (2, 1002, 2), (3, 1003, 0), (7.5, 1007.5, 4.5), (8, 9000, 0), (9, 9001, 0)]:
        player.seek(now)
        assert (player.at, player.age) == (at, age)
    player.close()


@pytest.mark.parametrize(
    ("seconds", "speed"),
    [(0.1, 1), (30, 1), (44, 2), (60, 2), (150, 5), (300, 10), (3_600, 100), (86_400, 2_000), (1e8, 100_000)],
)
def test_a_whole_run_takes_about_half_a_minute(seconds: float, speed: float, folder: RunFolder) -> None:
    write(folder, a_second_apart(started(), ended()))
    player = opened(folder)
    player._times[-1] = seconds
    player.begin()
    assert player.speed == speed in SPEEDS and player.playing and player.now == 0
    player.begin(0.3)
    assert player.speed == 0.3
    player.close()


def test_speeds_go_up_and_down_by_steps_and_end_somewhere(folder: RunFolder) -> None:
    write(folder, a_second_apart(started(), ended()))
    player = opened(folder)
    player.speed = 3.0
    player.faster()
    assert player.speed == 5
    player.slower()
    player.slower()
    assert player.speed == 1
    for _ in SPEEDS:
        player.faster()
    assert player.speed == SPEEDS[-1] == 100_000
    for _ in SPEEDS:
        player.slower()
    assert player.speed == SPEEDS[0] == 0.1
    player.close()


def test_playing_stops_at_the_end_and_standing_still_does_not_advance(folder: RunFolder) -> None:
    write(folder, a_second_apart(started(), trained(1), ended()))
    player = opened(folder)
    assert player.playing and player.advance(1.0) and not player.advance(0.5)
    player.step(-1)
    assert (player.position, player.now, player.playing) == (1, 0.0, False)
    assert not player.advance(10)
    player.playing = True
    assert player.advance(10) and not player.playing and player.at_end
    player.close()


# --- what is on the disk ---


def test_an_empty_journal_has_no_length(folder: RunFolder) -> None:
    write(folder, [])
    player = opened(folder)
    assert (len(player), player.duration, player.position, player.at, player.bookmark_text) == (0, 0, 0, 0, "")
    assert not player.playing and player.at_end and not player.next_bookmark() and not player.previous_bookmark()
    player.step(1)
    player.seek(5)
    assert player.position == 0 and player.state.status == "lost"
    player.close()


@pytest.mark.usefixtures("many_waypoints")
def test_lines_that_are_torn_damaged_or_unknown_are_passed_over(folder: RunFolder) -> None:
    events = a_second_apart(started(), *(trained(step) for step in range(1, 60)), ended())
    damaged = ["{", "null", '{"event": "FromTheFuture", "at": 1}', "\x00\x00", '{"event": "Warned"}', ""]
    chance = random.Random(0)
    lines = []
    for event in events:
        lines += [*chance.choices(damaged, k=chance.randint(0, 2)), to_json(event)]
    folder.journal.write_text("\n".join([*lines, "{", to_json(events[3])[:40]]), "utf-8")
    player = opened(folder)
    assert len(player) == len(events)
    for position in range(len(events), 0, -1):
        assert player.go_to(position) == folded(*events[:position])
    player.close()


def test_what_is_written_after_it_was_opened_is_not_played(folder: RunFolder) -> None:
    events = a_second_apart(started(), trained(1), trained(2), trained(3))
    with folder.lock.hold():
        write(folder, events[:2], more=to_json(events[2])[:20])
        player = Player(folder)
        write(folder, events)
        list(player.read())
        player.seek(100)
        assert len(player) == 2 and player.state == folded(*events[:2]), "it trains on, so it is not lost"
        player.close()


def test_a_run_without_an_end_is_lost_at_its_end_and_not_before(folder: RunFolder) -> None:
    write(folder, a_second_apart(started(), trained(1), trained(2)))
    player = opened(folder)
    assert player.seek(100).status == "lost"
    assert player.step(-1).status == "training"
    assert player.step(1).status == "lost"
    player.close()


def test_a_journal_that_cannot_be_read_is_a_sentence(folder: RunFolder) -> None:
    with pytest.raises(FolderError, match=r"The journal .*events.jsonl cannot be read: No such file"):
        Player(folder)


# --- marks ---


def test_marks_are_the_places_worth_a_jump_and_say_why(folder: RunFolder) -> None:
    rest = dataclasses.replace(started(), resumed_from="checkpoints/last.pt", epoch=3, batch=0, step=20)
    events = a_second_apart(
        Preparing(what="torch"),
        started(),
        trained(10),
        evaluated(10),
        saved(10, "best"),
        saved(10),
        epoch_ended(1),
        trained(15),
        evaluated(15),
        saved(15, "best"),
        LearningRateChanged(lr=5e-4, by="you"),
        trained(20),
        epoch_ended(2),
        Warned(text="hot\x1b[31m"),
        RunPaused(why="disk", text="no room"),
        RunResumed(),
        ended("interrupted"),
        Preparing(what="checkpoint"),
        rest,
        RunPaused(),
        evaluated(50, split="test", accuracy=0.8125),
        ended("failed", error="OSError: gone"),
    )
    write(folder, events)
    player = opened(folder)
    found = []
    while player.next_bookmark():
        found.append((player.position, Bookmark(player._mark_kinds[len(found)]), player.bookmark_text))
    assert found == [
        (2, Bookmark.STARTED, "started"),
        (7, Bookmark.BEST, "epoch 1 ended, the best"),
        (10, Bookmark.BEST, "the best so far, step 15"),
        (11, Bookmark.RATE, "learning rate 0.0005 (you)"),
        (13, Bookmark.EPOCH, "epoch 2 ended"),
        (14, Bookmark.WARNED, "hot\\x1b[31m"),
        (15, Bookmark.PAUSED, "paused: no room"),
        (16, Bookmark.WENT_ON, "carries on"),
        (17, Bookmark.ENDED, "interrupted"),
        (19, Bookmark.WENT_ON, "carries on in epoch 3"),
        (20, Bookmark.PAUSED, "paused"),
        (21, Bookmark.TESTED, "tested: 81.2 %"),
        (22, Bookmark.FAILED, "failed"),
    ]
    back = [player.position]
    while player.previous_bookmark():
        back.append(player.position)
        assert not player.playing
    assert back == [position for position, _, _ in reversed(found)]
    player.step(1)
    assert player.bookmark_text == "started", "the newest that was passed"
    player.close()


def test_marks_are_found_by_their_time(folder: RunFolder) -> None:
    write(folder, a_second_apart(started(), trained(1), RunPaused(), RunResumed(), trained(2), ended()))
    player = opened(folder)
    assert player.bookmarks_between(0, 2) == bytes([Bookmark.STARTED])
    assert player.bookmarks_between(2, 4) == bytes([Bookmark.PAUSED, Bookmark.WENT_ON])
    assert player.bookmarks_between(4, float("inf")) == bytes([Bookmark.ENDED])
    assert player.last_bookmark(2, 4) == 3 and player.last_bookmark(0.5, 2) is None
    player.close()


# --- long runs ---


def long_and_slow() -> Iterator[Event]:
    for second, event in enumerate(long_run(6_000)):
        yield dataclasses.replace(event, at=1e9 + second)


@pytest.fixture(scope="module")
def long_journal(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = RunFolder(tmp_path_factory.mktemp("long"))
    write(folder, long_and_slow())
    return folder


def test_a_seek_in_a_long_run_folds_a_small_part_of_it(
    long_journal: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    player = opened(long_journal)
    applied = 0
    apply = RunState.apply

    def counted(state: RunState, event: Event) -> None:
        nonlocal applied
        applied += 1
        apply(state, event)

    monkeypatch.setattr(RunState, "apply", counted)
    chance = random.Random(0)
    for _ in range(50):
        applied = 0
        player.seek(chance.random() * player.duration)
        assert applied <= 1.1 * len(player) / Player.WAYPOINTS
    player.speed, player.playing = 1e6, True
    applied = 0
    player.seek(0)
    player.advance(1.0)
    assert player.at_end and applied <= 1.1 * len(player) / Player.WAYPOINTS, "a leap forwards too"
    player.close()
    monkeypatch.undo()
    expected = folded(*long_and_slow())
    expected.lose()
    assert player.state == expected


def test_of_a_long_run_few_states_and_few_bytes_an_event_are_kept(long_journal: RunFolder) -> None:
    player = opened(long_journal)
    assert len(player) > 30_000
    assert 32 < len(player._waypoints) <= Player.WAYPOINTS + 1
    arrays = (player._times, player._clock, player._starts)
    assert sum(array.itemsize * len(array) for array in arrays) <= 24 * len(player) + 8
    assert all(not isinstance(value, list) or name == "_waypoints" for name, value in vars(player).items())
    player.close()


def test_keys_can_be_answered_while_a_long_run_is_read(long_journal: RunFolder) -> None:
    player = Player(long_journal)
    parts = []
    for part in player.read():
        parts.append(part)
        if len(parts) in (3, 9):
            player.seek(random.Random(0).random() * player.duration)
    assert len(parts) == len(player) // Player.BUNCH and parts == sorted(parts) and 0 < parts[0] < parts[-1] <= 1
    whole = opened(long_journal)
    assert (player._times, player._starts, player._mark_ends) == (whole._times, whole._starts, whole._mark_ends)
    whole.close()
    player.close()
