"""The list of runs: what a look at both ends of a journal says is what the whole of it says."""

import dataclasses
import json
import os
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.scale import many
from tests.replay import JOURNALS
from tests.run.examples import ended, evaluated, saved, started, trained
from tui_trainer.run.events import BatchTrained, Event, Preparing, RunEnded, RunPaused, RunStarted
from tui_trainer.run.events_json import to_json
from tui_trainer.run.folder import RunFolder
from tui_trainer.run.journal import read
from tui_trainer.run.state import RunState
from tui_trainer.runs import journal_tail, listing
from tui_trainer.runs.comparison import Curves
from tui_trainer.runs.journal_tail import JournalTail
from tui_trainer.runs.listing import LIVE, Summary, holds_runs, list_runs, summarise
from tui_trainer.runs.query import SORTS, ordered, parse

NAMES = ("diverged", "failed", "finished", "out_of_patience", "stopped")
BEGAN = 1_795_433_000.0


def make(name: str, *events: Event, raw: bytes = b"", more: bytes = b"") -> Path:
    """A run folder with these events, or these bytes."""
    path = Path("runs") / name
    path.mkdir(parents=True, exist_ok=True)
    lines = raw or b"".join(to_json(event).encode() + b"\n" for event in events)
    (path / "events.jsonl").write_bytes(lines + more)
    return path


def seen(path: Path) -> Summary:
    summary = summarise(path)
    assert summary is not None
    return summary


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    """Nothing is known from another test."""
    listing._cache.clear()
    yield
    listing._cache.clear()


@pytest.fixture(params=["whole", "in pieces"])
def small_reads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once as it is, and once with so little read at a time that the journals are long ones."""
    if request.param == "in pieces":
        for name, size in {"HEAD": 2_000, "TAIL": 3_000, "CHUNK": 1_500, "WINDOW": 400}.items():
            monkeypatch.setattr(journal_tail, name, size)


def agree(summary: Summary, state: RunState) -> None:
    """What the summary says is what folding the whole journal says."""
    if not state.is_over:
        state.lose()
    best = state.best
    assert summary.state == state.status
    assert (summary.epoch, summary.step) == (state.epoch, state.step)
    assert (summary.best_epoch, summary.best_loss, summary.best_accuracy) == (
        (best.epoch, best.loss, best.accuracy) if best else (None, None, None)
    )


@pytest.mark.usefixtures("small_reads")
@pytest.mark.parametrize("name", NAMES)
def test_a_summary_says_what_the_whole_journal_says(name: str) -> None:
    data = (JOURNALS / f"{name}.jsonl").read_bytes()
    state = RunState()
    for event in read(JOURNALS / f"{name}.jsonl"):
        state.apply(event)
    summary = seen(make(name, raw=data))
    agree(summary, state)
    assert summary.model == state.settings["model"] and summary.epochs == state.total_epochs
    assert summary.test_accuracy == (state.test.accuracy if state.test else None)
    assert summary.seconds == state.elapsed and summary.parameters == state.parameters
    assert summary.started == next(read(JOURNALS / f"{name}.jsonl")).at
    assert (summary.why != "") == (state.ended is not None and state.ended.error is not None)
    assert 5 < len(summary.losses) <= listing.SAMPLES
    reported = {event.loss for event in read(JOURNALS / f"{name}.jsonl") if isinstance(event, BatchTrained)}
    assert set(summary.losses) <= reported


@pytest.mark.usefixtures("small_reads")
@pytest.mark.parametrize("name", NAMES)
def test_a_journal_cut_anywhere_is_a_lost_run_with_the_best_so_far(name: str) -> None:
    data = (JOURNALS / f"{name}.jsonl").read_bytes()
    for cut in [*range(0, len(data), 1_777), *(i for i in range(len(data) - 400, len(data), 37))]:
        path = make("cut", raw=data[:cut] or b"\n")
        state = RunState()
        for event in read(path / "events.jsonl"):
            state.apply(event)
        listing._cache.clear()
        agree(seen(path), state)


@pytest.mark.usefixtures("small_reads")
@pytest.mark.parametrize("name", NAMES)
def test_a_journal_that_grows_is_read_on_from_where_it_was(name: str) -> None:
    """Nothing is forgotten between two looks, torn lines and all."""
    data = (JOURNALS / f"{name}.jsonl").read_bytes()
    for cut in range(1_000, len(data), 1_313):
        path = make("grows", raw=data[:cut])
        state = RunState()
        for event in read(path / "events.jsonl"):
            state.apply(event)
        agree(seen(path), state)


def again(step: int, **more: object) -> RunStarted:
    """The run goes on from a checkpoint."""
    settings = started(epochs=9, lr=0.25).settings
    return dataclasses.replace(
        started(), settings=settings, resumed_from="checkpoints/last.pt", epoch=1, step=step, **more
    )  # type: ignore[arg-type]


def test_a_run_that_was_carried_on_has_its_new_settings_and_is_not_over() -> None:
    first = [started(), trained(10), evaluated(10, 0.5), saved(10, "best"), ended("stopped")]
    carried = again(10, best_epoch=1, best_loss=0.5, best_accuracy=0.75)
    path = make("it", *first, Preparing(what="torch"))
    assert seen(path).state == "stopped"
    make("it", *first, Preparing(what="torch"), carried, trained(11))
    summary = seen(path)
    assert (summary.state, summary.lr, summary.epochs) == ("lost", 0.25, 9)
    assert (summary.best_epoch, summary.best_loss, summary.step) == (1, 0.5, 11)
    make("it", *first, carried, trained(11), evaluated(20, 0.3, accuracy=0.9), saved(20, "best"))
    assert seen(path).best_accuracy == 0.9
    make("it", *first, carried, ended())
    assert seen(path).state == "finished"


def test_the_settings_of_a_long_journal_are_those_in_run_toml() -> None:
    """A run that was carried on with other settings says so in the middle, where nobody looks."""
    many = [trained(step) for step in range(1, 2_000)]
    path = make("it", started(), *many, ended())
    assert seen(path).lr == 1e-3
    (path / "run.toml").write_text("lr = 0.5\n[provenance]\nhost = 'x'\n")
    listing._cache.clear()
    assert seen(path).lr == 0.5


def test_a_held_run_is_what_it_is_doing() -> None:
    held = [started(), trained(10)]
    cases: dict[str, list[Event]] = {
        "preparing": [Preparing(what="data")],
        "training": held,
        "validating": [*held, Preparing(what="validation")],
        "stopping": [*held, Preparing(what="stop")],
        "paused": [*held, RunPaused()],
    }
    for state, events in cases.items():
        path = make(state, *events)
        path.chmod(0o700)
        with RunFolder(path).lock.hold():
            summary = seen(path)
            assert summary.state == state and summary.is_live and state in LIVE
        assert seen(path).state == "lost"


def test_a_run_that_is_carried_on_and_not_yet_ready_is_preparing() -> None:
    path = make("it", started(), trained(3), ended("stopped"), Preparing(what="torch"))
    path.chmod(0o700)
    assert seen(path).state == "stopped"
    with RunFolder(path).lock.hold():
        make("it", started(), trained(3), ended("stopped"), Preparing(what="torch"), Preparing(what="data"))
        assert seen(path).state == "preparing"


def test_the_newest_run_comes_first() -> None:
    for name, at in (("b", 2.0), ("a", 3.0), ("c", 1.0)):
        make(name, Preparing(what="torch", at=BEGAN + at), ended())
    assert [run.name for run in list_runs("runs")] == ["a", "b", "c"]


def test_what_is_no_run_is_not_listed_and_disturbs_nothing() -> None:
    make("it", started(), ended())
    Path("runs/notes.txt").write_text("mine")
    Path("runs/empty").mkdir()
    Path("runs/link").symlink_to("nowhere")
    assert [run.name for run in list_runs("runs")] == ["it"]
    assert list_runs("no such folder") == [] == list_runs("runs/notes.txt")
    assert holds_runs("runs") and not holds_runs("runs/empty") and not holds_runs("no such folder")


@pytest.mark.parametrize("what", ["pipe", "folder", "missing", "loop"])
def test_a_folder_that_cannot_be_read_is_listed_with_the_reason(what: str) -> None:
    path = make("it", started())
    journal = path / "events.jsonl"
    journal.unlink()
    (path / "run.toml").write_text("lr = 0.1\n")
    if what == "pipe":
        os.mkfifo(journal)
    elif what == "folder":
        journal.mkdir()
    elif what == "loop":
        journal.symlink_to("events.jsonl")
    (summary,) = list_runs("runs")
    assert summary.state == "unreadable" and summary.name == "it"
    wanted = {"missing": "no journal", "loop": "symbolic links"}.get(what, "not a plain file")
    assert wanted in summary.why


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_journal_of_somebody_else_is_listed_with_the_reason() -> None:
    path = make("it", started())
    (path / "events.jsonl").chmod(0)
    assert "Permission denied" in seen(path).why


def test_a_lock_that_is_a_pipe_is_not_waited_for() -> None:
    path = make("it", started(), trained(1))
    os.mkfifo(path / "lock")
    assert seen(path).state == "lost"


@pytest.mark.parametrize(
    "journal",
    [
        b"\n",
        b"\0" * 5_000,
        b"{" * 300_000,
        b'{"event":"RunStarted"}\n{"event":"RunEnded"}\n',
        b'{"event":"BatchTrained","at":null,"loss":"x"}\n"RunEnded"\n"best"\n',
        b'{"event":"RunHandedOver","at":1.0,"pid":3}\n' * 4_000,
        b'{"event":"Preparing","at":1e999,"what":"\\u001b[31m"}\n',
        "näh".encode("latin-1") * 70_000 + b"\n",
        b"\xff\xfe" * 60_000,
    ],
    ids=["blank", "zeros", "nested", "bare", "wrong", "newer", "endless", "latin-1", "binary"],
)
def test_no_journal_is_too_broken_to_be_listed(journal: bytes) -> None:
    make("it", raw=journal)
    (summary,) = list_runs("runs")
    assert summary.state == "lost" and summary.best_loss is None and summary.losses == ()
    assert 0 < summary.started < 1e11 and 0 < summary.last < 1e11


ODD = (b"null", b'"x"', b"-1", b"1e308", b"true", b"[]", b"{}", b"NaN", b"Infinity", b"9" * 30)
_VALUE = re.compile(rb': ?([-\d.e]+|"[^"]*"|null)(?=[,}])')


def damaged(data: bytes, chance: random.Random) -> bytes:
    """A journal with other values, other bytes and missing pieces in up to 100 places."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 3, 10, 100))):
        at = chance.randrange(len(changed))
        value = _VALUE.search(changed, at)
        if value and chance.random() < 0.6:
            changed[value.start(1) : value.end(1)] = chance.choice(ODD)
        elif chance.random() < 0.5:
            changed[at : at + 1] = bytes([chance.randrange(256)])
        else:
            del changed[at : at + chance.randrange(200)]
    return bytes(changed)


@pytest.mark.usefixtures("small_reads")
def test_damaged_journals_are_listed_sorted_and_found() -> None:
    chance = random.Random(0)
    journals = [(JOURNALS / f"{name}.jsonl").read_bytes() for name in NAMES]
    for n in range(many(60, 5_000)):
        path = make("it", raw=damaged(chance.choice(journals), chance))
        if n % 2:
            listing._cache.clear()
        summary = seen(path)
        assert 0 < summary.started < 1e11 and 0 < summary.last < 1e11
        for sort in SORTS:
            ordered([summary, summary], sort)
        assert parse("lr<1 accuracy>0 age>0s")(summary) in (True, False)
        Curves(summary.folder).read()


def test_an_empty_journal_without_run_toml_is_a_lost_run() -> None:
    path = make("it", started())
    (path / "events.jsonl").write_bytes(b"")
    assert seen(path).state == "lost"


def test_events_of_a_newer_program_are_passed_over() -> None:
    newer = b'{"event":"RunHandedOver","at":1795433999.0,"pid":7}\n'
    path = make("it", started(), trained(10), evaluated(10), saved(10, "best"), more=newer)
    summary = seen(path)
    assert (summary.state, summary.step, summary.best_epoch) == ("lost", 10, 1)


def test_text_that_looks_like_an_event_counts_for_nothing() -> None:
    sly = 'x"RunEnded"\n{"event":"RunEnded"} "best" "BatchTrained","loss":7,'
    path = make("it", started(name=sly), trained(10, loss=2.0), RunEnded(**_facts(error=sly)), trained(11, loss=1.0))
    summary = seen(path)
    assert summary.state == "failed" and summary.why == 'x"RunEnded"' and 7 not in summary.losses


def _facts(**more: object) -> dict[str, object]:
    known = {"reason": "failed", "error": None, "exit_code": 1, "best_epoch": None, "best_loss": None}
    return known | {"best_accuracy": None, "seconds": 1.0} | more


def test_words_are_made_harmless() -> None:
    bad = "\x1b[31mred\u202e"
    path = make(f"a{bad}", started(model=bad, dataset=bad), RunEnded(**_facts(error=f"{bad}\nmore")))
    summary = seen(path)
    for text in (summary.name, summary.model, summary.dataset, summary.why):
        assert "\x1b" not in text and "\u202e" not in text and "\n" not in text


def test_numbers_that_are_not_finite_are_none() -> None:
    line = to_json(ended()).replace("0.5", "null").replace("0.75", "null")
    summary = seen(make("it", started(), raw=b"", more=line.encode() + b"\n"))
    assert summary.best_loss is None and summary.best_accuracy is None


def test_a_journal_that_did_not_change_is_not_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        make(name, raw=(JOURNALS / f"{name}.jsonl").read_bytes())
    opened: list[Path] = []
    enter = JournalTail.__init__

    def counted(self: JournalTail, path: Path) -> None:
        opened.append(path)
        enter(self, path)

    monkeypatch.setattr(JournalTail, "__init__", counted)
    first = list_runs("runs")
    assert len(opened) == len(NAMES)
    assert list_runs("runs") == first and len(opened) == len(NAMES)
    make("failed", started(), ended())
    list_runs("runs")
    assert len(opened) == len(NAMES) + 1
    shutil.rmtree("runs/failed")
    assert len(list_runs("runs")) == len(NAMES) - 1 == len(listing._cache)


def test_little_of_a_long_journal_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    many = b"".join(to_json(trained(step)).encode() + b"\n" for step in range(1, 1_000)) * 40
    path = make("it", raw=to_json(started()).encode() + b"\n" + many, more=to_json(ended()).encode() + b"\n")
    count = 0
    pread = os.pread

    def counted(fd: int, size: int, offset: int) -> bytes:
        nonlocal count
        count += size
        return pread(fd, size, offset)

    monkeypatch.setattr(os, "pread", counted)
    summary = seen(path)
    assert summary.state == "finished" and len(summary.losses) == listing.SAMPLES
    assert count < 200_000 < (path / "events.jsonl").stat().st_size / 20


def test_a_line_longer_than_the_head_is_still_read() -> None:
    long = dataclasses.replace(started(), layers=tuple(("Linear", "512", 262_656) for _ in range(4_000)))
    path = make("it", long, *(trained(step) for step in range(1, 600)))
    summary = seen(path)
    assert summary.model == "mlp" and summary.parameters == 12
    assert json.dumps(summary.settings)
