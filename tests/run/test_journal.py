"""The journal is append-only, read while it grows, and outlives a torn line and a full disk."""

import contextlib
import errno
import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.run.examples import EVERY_KIND, epoch_ended, trained
from tui_trainer.run.events import BatchTrained, Event, Warned
from tui_trainer.run.events_json import to_json
from tui_trainer.run.journal import Journal, follow, read


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    journal = Journal(path)
    yield journal
    journal.close()


@contextlib.contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """No file may grow past `size` bytes: what fits is written, and then comes the error, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def lines(events: list[Event]) -> bytes:
    return b"".join(to_json(event).encode() + b"\n" for event in events)


def test_every_kind_of_event_is_read_back_as_it_was_written(journal: Journal, path: Path) -> None:
    assert [journal.append(event) for event in EVERY_KIND] == [None] * len(EVERY_KIND)
    assert path.read_bytes() == lines(list(EVERY_KIND)), "each is on the disk as soon as append returns"
    assert list(read(path)) == list(EVERY_KIND)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_journal_opened_again_is_carried_on(journal: Journal, path: Path) -> None:
    journal.append(trained(1))
    again = Journal(path)
    again.append(trained(2))
    again.close()
    assert [event.step for event in read(path)] == [1, 2]


def test_a_torn_last_line_waits_for_its_rest_wherever_it_is_torn(path: Path) -> None:
    first, last = trained(1), epoch_ended(1)
    whole = lines([first])
    line = lines([last])
    for cut in range(len(line)):
        path.write_bytes(whole + line[:cut])
        assert list(read(path)) == [first]
        with path.open("rb") as reader, path.open("ab", buffering=0) as writer:
            assert list(follow(reader)) == [first]
            assert list(follow(reader)) == []
            writer.write(line[cut:])
            assert list(follow(reader)) == [last], f"torn after byte {cut}"
            assert list(follow(reader)) == []


def test_a_reader_follows_a_journal_as_it_grows(journal: Journal, path: Path) -> None:
    with path.open("rb") as reader:
        for step in range(1, 200):
            journal.append(trained(step))
            if step % 3 == 0:
                assert [event.step for event in follow(reader)] == [step - 2, step - 1, step]


GARBAGE = {
    "an empty line": b"\n",
    "a traceback": b"RuntimeError: CUDA\n",
    "zeros": bytes(4096) + b"\n",
    "not UTF-8": b"\xff\xfe\xfd\n",
    "another JSON": b"[1, 2]\n",
    "fields missing": b'{"event": "Evaluated", "at": 1.0}\n',
    "a kind of the future": b'{"event": "FromTheFuture", "at": 1.0}\n',
    "half a line and a whole one": lines([trained(9)])[:40] + lines([trained(9)]),
    "brackets without end": b"[" * 100_000 + b"\n",
    "a number too large": b'{"event": "LearningRateChanged", "by": "you", "lr": 1' + b"0" * 400 + b"}\n",
}


@pytest.mark.parametrize("name", GARBAGE)
def test_a_line_that_is_no_event_is_passed_over(path: Path, name: str) -> None:
    path.write_bytes(lines([trained(1)]) + GARBAGE[name] + lines([trained(2)]))
    assert [event.step for event in read(path) if isinstance(event, BatchTrained)] == [1, 2]


def test_a_full_disk_is_one_warning_and_its_lines_are_written_when_there_is_room(journal: Journal, path: Path) -> None:
    events = [trained(step) for step in range(1, 12)]
    assert journal.append(events[0]) is None
    with files_end_at(path.stat().st_size + 50):
        answers = [journal.append(event) for event in events[1:9]]
    (first, *others) = answers
    assert isinstance(first, Warned) and "cannot be written (File too large)" in first.text
    assert others == [None] * 7, "said once, not with every event"
    assert path.read_bytes() == lines(events)[: len(lines(events[:1])) + 50], "the next line is torn in its middle"
    assert list(read(path)) == events[:1]

    assert journal.append(events[9]) is None
    assert list(read(path)) == events[:10]
    assert journal.append(events[10]) is None
    assert path.read_bytes() == lines(events)


def test_a_disk_that_fills_up_again_is_told_again(journal: Journal, path: Path) -> None:
    for _ in range(2):
        with files_end_at(path.stat().st_size):
            assert isinstance(journal.append(trained(1)), Warned)
        assert journal.append(trained(2)) is None


def test_no_space_left_is_told_by_its_name(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(_fd: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        warned = journal.append(trained(1))
    assert warned is not None and "(No space left on device)" in warned.text


def test_lines_kept_in_memory_are_bounded_and_the_torn_one_is_still_finished(
    journal: Journal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Journal, "KEPT", 3)
    with files_end_at(40):
        for step in range(1, 11):
            journal.append(trained(step))
    journal.append(trained(11))
    assert [event.step for event in read(path)] == [1, 8, 9, 10, 11]
