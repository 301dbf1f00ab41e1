"""The process that looks, as the screens start it."""

import os
import threading
from pathlib import Path

import pytest

from tui_trainer.looked import Order
from tui_trainer.run.looking import Looking
from tui_trainer.settings import Settings


def test_a_look_at_the_data_from_end_to_end() -> None:
    """Asked for images, it gives them; ended, it and its thread are gone."""
    looking = Looking("data", Settings(dataset="fashion-mnist-mini", augment="crop"))
    answers = looking.answers()
    facts = next(answer.data for answer in answers if answer.data is not None)
    assert [split.examples for split in facts.splits] == [4500, 500, 1000]
    for order in (Order(count=3), Order(count=2, page=1, only=5)):
        looking.ask(order)
        page = next(answers).samples
        assert page is not None and len(page.samples) == order.count and page.order == order
    pid = looking.pid
    assert pid is not None
    looking.end()
    assert list(answers) == [] and looking.pid is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_it_ends_when_nobody_is_left_to_listen(tmp_path: Path) -> None:
    """Whoever started it was killed: the end of its input ends it, though it waits for orders."""
    looking = Looking("data", Settings(dataset="fashion-mnist-mini"))
    answers = looking.answers()
    next(answer for answer in answers if answer.data is not None)
    process = looking._process
    assert process is not None and process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=60) == 0
    assert list(answers) == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("look-")]
