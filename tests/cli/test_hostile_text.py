"""Text that others wrote, such as class names, paths and errors, is shown as it is and does nothing to a terminal."""

import dataclasses
import io
import math
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from rich.console import Console

from tests.cli.program import hidden
from tests.faults.scale import many
from tui_trainer.cli import headless, lines
from tui_trainer.run.commands import Command
from tui_trainer.run.disconnect import AfterDisconnect
from tui_trainer.run.events import (
    BatchTrained,
    CheckpointSaved,
    EpochEnded,
    Evaluated,
    Event,
    LearningRateChanged,
    Preparing,
    RunEnded,
    RunPaused,
    RunResumed,
    RunStarted,
    Warned,
)
from tui_trainer.run.events_json import from_json
from tui_trainer.run.folder import RunFolder
from tui_trainer.run.state import RunState
from tui_trainer.settings.schema import Settings
from tui_trainer.text import LONGEST, clean, clean_lines

HOSTILE = [
    "[red]",
    "[/nope]",
    "[bold]x[/bold]",
    "[@click=app.quit]x[/]",
    "[link=x]y",
    ":smiley:",
    "\\[x]",
    "\x1b[2J",
    "\x1b]0;x\x07",
    "\x1b]52;c;eA==\x07",
    "\x9b31m",
    "\x90q\x9c",
    "a\rb",
    "a\x08b",
    "a\0b",
    "a\tb",
    "\u202egpj.exe",
    "\u2066x\u2069",
    "a\u2028b",
    "\ud800",
    "\udc9b31m",
    "\ufeff",
    "\U000e0041",
]
PLACE: dict[str, Any] = {"epoch": 1, "step": 1}


class Story:
    """A run that tells what it is given to tell."""

    trains_here = False
    after_disconnect = AfterDisconnect()
    read_only = True

    def __init__(self, events: list[Event], folder: str = "runs/it") -> None:
        self.folder: RunFolder | None = RunFolder(Path(folder))
        self._events = events

    def events(self) -> Iterator[Event]:
        return iter(self._events)

    @property
    def earlier(self) -> RunState:
        return RunState()

    def watched(self, yes: bool) -> None:
        raise AssertionError(yes)

    def send(self, command: Command) -> None:
        raise AssertionError(command)


def batch(number: int = 1) -> BatchTrained:
    return BatchTrained(
        epoch=1,
        batch=number,
        batches=9,
        step=number,
        loss=0.5,
        lr=0.1,
        grad_norm=None,
        examples_per_second=10.0,
        data_wait=0.0,
        elapsed=float(number),
    )


def told_by(text: str) -> list[Event]:
    """A whole run, with `text` wherever an event holds text."""
    saved = PLACE | {"seconds": 1.0}
    measured = saved | {"loss": 0.5, "accuracy": 0.5, "confusion": ((1, 0), (0, 1))}
    used = Settings().model_dump() | {"seed": 1, "dataset": text, "model": text, "optimizer": text, "device": text}
    started = RunStarted(
        settings=used,
        classes=(text, text),
        train_examples=2,
        valid_examples=2,
        test_examples=2,
        parameters=1,
        layers=((text, text, 1),),
        device=text,
        data=text,
        resumed_from=text,
    )
    return [
        Preparing(what=text),
        started,
        batch(),
        Evaluated(split="valid", **measured),
        CheckpointSaved(kind="best", path=text, bytes=1, replaces=text, **saved),
        CheckpointSaved(kind=text, path=text + "2", bytes=1, **saved),
        EpochEnded(epoch=1, train_loss=0.5, seconds=1.0),
        LearningRateChanged(lr=0.1, by=text),
        RunPaused(),
        RunResumed(),
        Warned(text=text),
        Evaluated(split="test", **measured),
        RunEnded(reason=text, error=text, exit_code=1, best_epoch=1, best_loss=0.5, best_accuracy=0.5, seconds=1.0),
    ]


def shown(story: Story, capsys: pytest.CaptureFixture[str], *, json: bool = False) -> tuple[str, str]:
    headless.watch(story, json=json)
    return capsys.readouterr()


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_clean_shows_what_would_otherwise_act(text: str) -> None:
    assert hidden(clean(text), allowed="") == set()
    visible = "".join(ch for ch in text if not hidden(ch, allowed=""))
    assert not hidden(text) or "\\" in clean(text)
    assert all(ch in clean(text) for ch in visible)


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_lines_show_hostile_text_literally_and_without_a_control_byte(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out, err = shown(Story(told_by(text), folder=f"runs/{text}"), capsys)
    assert hidden(out + err) == set()
    for place in (
        f"{clean(text)} · {clean(text)} · {clean(text)} 0.001 · {clean(text)}\n",
        f"\nruns/{clean(text)}\n",
        f"  {clean(text):<12} ",
        f"\ncarries on from {clean(text)}: ",
        f"runs/{clean(text)}/{clean(text)}",
    ):
        assert place in out
    for place in (f"warning: {clean(text)}\n", f"learning rate 0.1 ({clean(text)})\n", f"\n{clean(text)}\n"):
        assert place in err


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_a_progress_line_holds_no_foreign_escape_code(
    text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(Console, "is_terminal", True)
    monkeypatch.setenv("NO_COLOR", "1")
    out, _ = shown(Story([Preparing(what=text)]), capsys)
    assert out == f"\r\x1b[Kpreparing {clean(text)} ..."[:200]


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_json_gives_hostile_text_back_unchanged_and_is_itself_plain_ascii(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = told_by(text)
    out, err = shown(Story(told), capsys, json=True)
    assert out.isascii()
    assert hidden(out + err) == set()
    assert [from_json(line) for line in out.splitlines()] == told


@hypothesis.given(st.text(max_size=300))
@hypothesis.settings(derandomize=True, database=None, deadline=None, max_examples=many(1000, 10_000))
def test_clean_leaves_nothing_hidden_and_keeps_to_its_limit(text: str) -> None:
    assert hidden(clean(text), allowed="") == set()
    assert len(clean(text)) <= LONGEST
    assert hidden(clean_lines(text)) == set()
    if len(text) <= LONGEST and not hidden(text, allowed=""):
        assert clean(text) == text


@hypothesis.given(st.text(min_size=1, max_size=60))
@hypothesis.settings(derandomize=True, database=None, deadline=None, max_examples=many(300, 10_000))
def test_any_warning_is_one_line_on_stderr(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", io.StringIO())
        patch.setattr(sys, "stderr", err := io.StringIO())
        headless.watch(Story([Warned(text=text)]))
    assert err.getvalue() == f"warning: {clean(text, 500)}\n"


def test_every_class_of_hidden_character_is_cleaned() -> None:
    """All of Unicode, once."""
    acting = [ch for ch in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(ch) in ("Cc", "Cf", "Zl", "Zp")]
    assert len(acting) > 200
    assert all(clean(ch).isascii() and clean(ch).startswith("\\") for ch in acting)


# --- what else lines owe to a reader ---


def test_a_pipe_never_gets_an_escape_code_even_when_colour_is_forced(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.setenv(name, "1")
    out, err = shown(Story(told_by("x")), capsys)
    assert hidden(out + err) == set()


def test_a_pipe_is_told_where_the_run_is_after_some_quiet(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    start = told_by("x")[1]
    reports: list[Event] = [batch(1), batch(2), batch(3)]
    assert "batch 1/9" not in shown(Story([start, *reports]), capsys)[0]
    monkeypatch.setattr(lines, "QUIET", 0.0)
    out, _ = shown(Story([start, *reports]), capsys)
    assert [line.split("  ")[1] for line in out.splitlines() if line.startswith("epoch 1/5")] == [
        "batch 1/9",
        "batch 2/9",
        "batch 3/9",
    ]


def test_a_loss_that_is_not_finite_can_be_shown(capsys: pytest.CaptureFixture[str]) -> None:
    told = [
        dataclasses.replace(e, loss=math.nan) if isinstance(e, (BatchTrained, Evaluated)) else e for e in told_by("x")
    ]
    out, err = shown(Story(told), capsys)
    assert "nan" in out
    assert "Traceback" not in err


def test_a_run_that_breaks_off_without_a_goodbye_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    assert headless.watch(Story(told_by("x")[:-1])) == 1
    assert headless.watch(Story([])) == 1
    capsys.readouterr()
