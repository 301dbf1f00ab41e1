"""Text from elsewhere on the screens: nothing acts, nothing crashes, and no control character gets to the terminal."""

import random
import unicodedata

from tests.cli.program import hidden
from tests.cli.test_hostile_text import HOSTILE, told_by
from tests.faults.scale import many
from tests.ui.conftest import Show
from tui_trainer.run.state import RunState
from tui_trainer.ui.screens.confirm_changes import Agree
from tui_trainer.ui.screens.dialogs import Ask, Outline

PIECES = [
    *("[", "]", "[/", "[@click=app.quit]", "[red]", "[link=x]", "\\[", "\x1b[31m", "\x1b]0;", "\x07", "\x9b", "\x00"),
    *(
        "\r",
        "\n",
        "\t",
        "\u202e",
        "\u2066",
        "\u2028",
        "\ud800",
        "\ufeff",
        "\U000e0041",
        "é",
        "漢",
        "😀",
        "a",
        " ",
        "{0}",
    ),
]


def strings(count: int) -> list[str]:
    """The known ones, and random ones made of what is known to act."""
    chance = random.Random(0)
    made = ["".join(chance.choices(PIECES, k=chance.randint(1, 12))) for _ in range(count)]
    anything = [chr(n) for n in (chance.randrange(0x110000) for _ in range(count)) if unicodedata.category(chr(n))]
    return [*HOSTILE, *made, *anything][: max(count, len(HOSTILE))]


async def test_no_text_of_a_run_acts_on_the_run_screen(show_run: Show) -> None:
    async with show_run(told_by("x")) as shown:
        assert shown.screen is not None
        for text in strings(many(60, 10_000)):
            state = RunState()
            for event in told_by(text):
                state.apply(event)
            shown.screen.state = state
            shown.screen.draw_all()
            await shown.pilot.pause()
            assert hidden(shown.text, allowed="\n") == set(), ascii(text)


async def test_no_text_acts_in_a_question(show_run: Show) -> None:
    async with show_run(told_by("x")) as shown:
        for text in strings(many(30, 1_000)):
            started = next(event for event in told_by(text) if hasattr(event, "resumed_from"))
            layers = ((text, text, 1),)
            for question in (Agree(started), Ask(text, {"yes": "Yes"}), Outline(text, layers, 1)):
                await shown.app.push_screen(question)
                await shown.pilot.pause()
                assert hidden(shown.text, allowed="\n") == set(), ascii(text)
                shown.app.pop_screen()
