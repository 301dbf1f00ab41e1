"""`tui-trainer replay`: what it says where it cannot play, and that it plays in a real terminal."""

import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.program import in_terminal, run
from tui_trainer.cli import main, screens

JOURNALS = Path(__file__).parents[1] / "journals"


@pytest.fixture
def runs(own_folder: Path) -> Path:
    """A folder of recorded runs."""
    for name in ("finished", "failed"):
        (own_folder / "runs" / name).mkdir(parents=True)
        shutil.copy(JOURNALS / f"{name}.jsonl", own_folder / "runs" / name / "events.jsonl")
    return own_folder


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nope"], "There is no run 'nope' in runs.\n"),
        (["finishd"], "There is no run 'finishd' in runs. Did you mean finished?\n"),
        (["f"], "'f' could be 2 runs: failed, finished. Type more of the name.\n"),
        (["--output-dir", "x"], "There is no run 'last': x holds no runs. Start one with: tui-trainer\n"),
        (["~nobody-here/x"], "There is no run '~nobody-here/x' in runs.\n"),
        (["finished", "failed"], "failed: one word too many.\n"),
        (["--speed", "0"], "--speed: must be above 0 and at most 1,000,000, found 0\n"),
        (["--speed", "-2"], "--speed: must be above 0 and at most 1,000,000, found -2\n"),
        (["--speed", "nan"], "--speed: must be above 0 and at most 1,000,000, found nan\n"),
        (["--speed", "1e7"], "--speed: must be above 0 and at most 1,000,000, found 1e+07\n"),
        (["--speed", "fast"], 'Invalid value for --speed: unable to convert "fast" into float.\n'),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.usefixtures("runs")
def test_2_what_cannot_be_replayed_is_a_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main.main(["replay", *words])
    assert (end.value.code, capsys.readouterr()) == (2, ("", sentence))


def test_2_without_a_terminal_it_says_where_the_events_are_and_imports_no_screen(runs: Path) -> None:
    script = (
        "import sys\nfrom tui_trainer.cli import main as cli\n"
        "try: cli.main(['replay', 'finished'])\n"
        "except SystemExit as end: print(end.code)\n"
        "print(sorted({'torch', 'textual', 'plotext'} & set(sys.modules)))"
    )
    done = run(runs, command=[sys.executable, "-c", script])
    assert done.out == "2\n[]\n"
    assert done.err == (
        "There is no terminal for the screens here. "
        "What the run says is in runs/finished/events.jsonl, one JSON object a line.\n"
    )


def test_2_a_dumb_terminal_is_refused(runs: Path) -> None:
    done = in_terminal(runs, "replay", "finished", env={"TERM": "dumb"})
    assert done.code == 2 and "cannot show the screens" in done.out


@pytest.mark.usefixtures("runs")
def test_6_a_journal_that_may_not_be_read_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = Path.open

    def refused(path: Path, *words: Any, **named: Any) -> Any:
        if path.name == "events.jsonl":
            raise PermissionError(13, "Permission denied")
        return opened(path, *words, **named)

    monkeypatch.setattr(screens, "need_terminal", lambda *_: None)
    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(SystemExit) as end:
        main.main(["replay", "finished"])
    assert end.value.code == 6
    assert capsys.readouterr().err == ("The journal runs/finished/events.jsonl cannot be read: Permission denied.\n")


def test_a_terminal_that_is_closed_ends_it(runs: Path) -> None:
    done = in_terminal(runs, "replay", "finished", "--speed", "50", closed_after="epoch 1")
    assert done.code in (0, 128 + signal.SIGHUP)
    assert [path.name for path in (runs / "runs" / "finished").iterdir()] == ["events.jsonl"], "nothing was written"
