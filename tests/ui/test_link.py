"""The way to the terminal: one request at a time, measured from its answer, and no terminal is waited for in vain."""

import pytest

from tui_trainer.ui.terminal.link import ANSWER, Answers, Link


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def link(clock: Clock) -> Link:
    return Link(clock)


def frames(link: Link, clock: Clock, seconds: float, number: int = 20) -> None:
    """So many frames, each answered after so long."""
    for _ in range(number):
        assert link.asks()
        clock.now += seconds
        link.answered()


def test_at_most_one_request_is_out(link: Link, clock: Clock) -> None:
    assert [link.asks() for _ in range(3)] == [True, False, False]
    clock.now += 0.1
    link.answered()
    assert link.asks()


def test_a_terminal_that_never_answered_is_never_waited_for(link: Link, clock: Clock) -> None:
    for _ in range(100):
        link.asks()
        assert not link.waits and link.round_trip == 0
        clock.now += 1


def test_a_terminal_that_never_answers_is_seldom_asked(link: Link, clock: Clock) -> None:
    asked = 0
    for _ in range(300):
        asked += link.asks()
        clock.now += 1
    assert asked == 10


def test_an_answer_is_waited_for_once_there_has_been_one(link: Link, clock: Clock) -> None:
    frames(link, clock, 0.01, 1)
    assert not link.waits
    assert link.asks() and link.waits
    link.answered()
    assert not link.waits


def test_a_lost_answer_holds_pictures_up_for_five_seconds_and_is_given_up(link: Link, clock: Clock) -> None:
    frames(link, clock, 0.01)
    link.asks()
    clock.now += 4.9
    assert link.waits
    clock.now += 0.2
    assert not link.waits and not link.asks()
    clock.now += 30
    assert link.asks() and link.waits


def test_a_late_answer_counts_with_all_its_time(link: Link, clock: Clock) -> None:
    link.asks()
    clock.now += 8
    link.answered()
    assert link.round_trip == pytest.approx(0.3 * 8)
    assert link.asks()


def test_a_link_of_more_than_five_seconds_is_waited_for_twice_as_long_as_it_takes(link: Link, clock: Clock) -> None:
    frames(link, clock, 12.0)
    link.asks()
    clock.now += 20
    assert link.waits
    clock.now += 5
    assert not link.waits


def test_one_hiccup_is_no_slow_link_and_a_slow_link_is_soon_known(link: Link, clock: Clock) -> None:
    frames(link, clock, 0.02)
    frames(link, clock, 0.9, 1)
    assert link.slowness == 0
    frames(link, clock, 0.9, 2)
    assert link.slowness > 0.3
    frames(link, clock, 0.9)
    assert link.slowness == pytest.approx(0.9, rel=0.01)
    frames(link, clock, 0.02, 4)
    assert link.slowness == 0


def test_what_this_program_took_is_no_property_of_the_link(link: Link, clock: Clock) -> None:
    link.asks()
    clock.now += 3
    link.answered(counts=False)
    assert link.round_trip == 0 and link.asks() and link.waits


def test_an_answer_that_stays_away_is_felt_before_it_comes(link: Link, clock: Clock) -> None:
    frames(link, clock, 0.02)
    link.asks()
    clock.now += 2
    assert link.slowness == pytest.approx(2)


def test_an_answer_that_was_not_asked_for_means_nothing(link: Link, clock: Clock) -> None:
    link.answered()
    assert not link.waits and link.round_trip == 0
    link.asks()
    link.forget()
    clock.now += 9
    link.answered()
    assert link.round_trip == 0


# --- answers among what is typed ---


@pytest.mark.parametrize(
    ("text", "typed"),
    [(ANSWER, ""), (f"a{ANSWER}b", "ab"), (f"\x1b[A{ANSWER}\x1b[B", "\x1b[A\x1b[B"), (f"{ANSWER}\x1b", "\x1b"),
     (f"\x1b[200~x{ANSWER}y\x1b[201~", "\x1b[200~xy\x1b[201~")],
)  # fmt: skip
@pytest.mark.parametrize("expected", [True, False])
def test_an_answer_is_taken_out_of_what_is_typed(text: str, typed: str, expected: bool) -> None:
    answers = Answers()
    assert answers.taken_from(text, expected=expected) == (typed, True)
    assert answers.held == ""


@pytest.mark.parametrize("cut", range(1, 4))
def test_an_answer_in_two_pieces_is_one(cut: int) -> None:
    answers = Answers()
    assert answers.taken_from("a" + ANSWER[:cut], expected=True) == ("a", False)
    assert answers.taken_from(ANSWER[cut:] + "b", expected=True) == ("b", True)


def test_nothing_is_held_back_where_no_answer_is_expected() -> None:
    answers = Answers()
    assert answers.taken_from("\x1b", expected=False) == ("\x1b", False)
    assert answers.held == ""


@pytest.mark.parametrize("rest", ["[A", "[0;5u", "x", "\x1b[0", "[I"])
def test_a_key_that_begins_like_an_answer_stays_whole(rest: str) -> None:
    answers = Answers()
    before, _ = answers.taken_from("\x1b", expected=True)
    after, answered = answers.taken_from(rest, expected=True)
    assert (before + after + answers.released(), answered) == ("\x1b" + rest, False)
    assert answers.held == ""
