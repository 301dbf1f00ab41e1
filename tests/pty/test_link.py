"""A terminal at the end of a slow line gets as many pictures as it can take, and a fast one all of them."""

import os
import re
import time
from pathlib import Path

import pytest

from tests.pty.terminal import Line, Program, until
from tests.pty.test_terminal import LONG, recorded
from tui_trainer.run.events import RunPaused
from tui_trainer.ui.terminal.link import ANSWER, ASK

pytestmark = pytest.mark.xdist_group("processes")  # one after another, in one worker
FIRST_PAINT = 60_000
"""Bytes of the run screen at 120 x 40 painted for the first time, and more."""
FRAME = 32_000
"""Bytes of a frame in which all panels have changed, as after a validation, and more."""


def asked(program: Program) -> int:
    """How often the terminal was asked whether it has drawn everything."""
    return program.raw.count(ASK.encode())


def trains(program: Program, frames: int) -> None:
    """Wait until training is shown, what was written has arrived, and so many frames more were answered."""
    program.wait_for("● training", " left")
    until(lambda: not program.underway, lambda: "the first pictures to arrive")
    program.most_underway = 0
    wanted = asked(program) + frames
    until(lambda: asked(program) >= wanted, lambda: f"{frames} more frames; {program.text}")


def test_a_slow_line_never_has_more_than_a_picture_underway(tmp_path: Path) -> None:
    with Program(tmp_path, "--start", *LONG, line=Line(delay=0.3, speed=12_000)) as program:
        program.wait_for(re.compile(r"slow link \d\.\d s"))  # it is measured
        trains(program, 6)
        assert program.most_underway < FRAME
        before = len(program.underway)
        program.press("space", "❚❚ PAUSED")  # it is behind one picture at most
        assert before < FRAME
        program.journal.wait_for(RunPaused)
        assert "Traceback" not in (program.journal.run / "log.txt").read_text()


def test_a_line_without_answers_fills_up_and_is_why_they_are_asked_for(tmp_path: Path) -> None:
    with Program(tmp_path, "--start", *LONG, line=Line(speed=1_500, answers=False)) as program:
        until(lambda: len(program.underway) > FIRST_PAINT, lambda: f"{len(program.underway)} bytes to become more")
        assert asked(program) == 1


@pytest.mark.parametrize("answers", [True, False])
def test_a_fast_terminal_is_not_slowed_and_one_that_never_answers_neither(answers: bool, tmp_path: Path) -> None:
    with Program(tmp_path, "--start", *LONG, line=Line(answers=answers)) as program:
        program.wait_for("● training", " left")
        seen = set()
        until(lambda: len(seen.add(program.text) or seen) > 6, lambda: f"more pictures than {len(seen)}")
        assert (asked(program) > 2) == answers
        program.wait_for(lambda text: "slow link" not in text)


def test_a_long_line_is_asked_less_often_and_says_how_long_it_is(tmp_path: Path) -> None:
    with Program(tmp_path, "--start", *LONG, size=(80, 24), line=Line(delay=0.9)) as program:
        trains(program, 6)
        program.wait_for(re.compile(r"slow link (0\.[4-9]|1\.\d) s"))


def test_answers_are_no_keys_even_in_pieces_and_among_keys(tmp_path: Path) -> None:
    recorded(tmp_path)
    with Program(tmp_path, "attach", "last", line=Line(answers=False)) as program:
        program.wait_for("✔ finished")
        until(lambda: asked(program), lambda: "the first request")
        answer = ANSWER.encode()
        os.write(program._master, answer[:2])
        time.sleep(0.1)
        os.write(program._master, answer[2:] + b"?" + answer)
        program.wait_for("All keys")
        os.write(program._master, b"\x1b" + answer)
        program.wait_for(lambda text: "All keys" not in text)
        for size in ((100, 30), (120, 40)):  # a parser that had ended would hear nothing more
            program.resize(*size)
        for byte in "é".encode():
            os.write(program._master, bytes([byte]))
            time.sleep(0.05)
        program.press("?", "All keys")
        program.press("escape", lambda text: "All keys" not in text)
        program.press("q")
        assert program.wait() == 0


@pytest.mark.parametrize("delay", [0.0, 0.15, 0.5])
def test_no_answer_is_typed_into_the_shell(tmp_path: Path, delay: float) -> None:
    recorded(tmp_path)
    with Program(tmp_path, "attach", "last", line=Line(delay=delay)) as program:
        program.wait_for("✔ finished")
        until(lambda: asked(program) > 3, lambda: "some requests")
        program.press("q")
        assert program.wait() == 0
        until(lambda: not program._answers and not program.underway, lambda: "the last answer")
        os.write(program._master, b"\n")
        os.set_blocking(program._slave, False)
        assert os.read(program._slave, 100) == b"\n"
        assert program.put_the_terminal_back()
