"""The data screen: what a look at the data tells, shown as it comes, and a process that ends with the screen."""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.segment import Segment

from tests.ui.conftest import SIZES, Show
from tests.ui.looks import Canned, images, opened, table
from tui_trainer.outlook.preview.facts import Answer, DataFacts, Order, Picture, Sample, Samples
from tui_trainer.outlook.preview.process import PreviewProcess
from tui_trainer.settings.sources import Source, resolve
from tui_trainer.ui.screens import preview
from tui_trainer.ui.screens.data import DataScreen
from tui_trainer.ui.screens.model import ModelScreen
from tui_trainer.ui.widgets.data_sheets import balance
from tui_trainer.ui.widgets.pictures import Pictures, grid

UNEVEN = (5400, 120, 900, 5400, 0, 30, 2000, 2500, 4000, 10)
FEW = ("cat", "dog", "bird")
WEIRD = ("[red]x[/]", "\x1b[2J\x1b[H", "日本語のクラス", "a" * 300, "‮evil", "\n\n")


LOOKS: dict[str, DataFacts] = {
    "images": images(),
    "uneven": images(counts=UNEVEN),
    "colour": images(FEW, (90, 80, 70), (3, 224, 224), changes="", name="folder:pets", source="3 folders in pets"),
    "labels": images(("red", "round", "large, and of a long name"), (300, 20, 100), kind="labels", changes=""),
    "table": table(),
    "table-classes": table("class", 40),
}


LOOKED_AT = [(name, size) for name in ("images", "table") for size in SIZES]
LOOKED_AT += [("uneven", "80x24"), ("colour", "80x24"), ("labels", "120x40"), ("table-classes", "120x40")]


@pytest.mark.parametrize(("name", "size"), LOOKED_AT)
async def test_the_data_looks_as_it_did(
    name: str, size: str, monkeypatch: pytest.MonkeyPatch, same_as_before: Callable[[str, str], None]
) -> None:
    async with opened(monkeypatch, LOOKS[name], SIZES[size], colours="") as (shown, _):
        same_as_before(f"data-{name}-{size}", shown.text)
        if size == "80x24":
            await shown.press("tab")
            same_as_before(f"data-{name}-{size}-other", shown.text)


async def test_it_opens_at_once_and_says_what_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    script = [Answer(preparing="reading images: 1,200 of 50,000")]
    async with opened(monkeypatch, script) as (shown, screen):
        assert isinstance(screen, DataScreen)
        assert "reading images: 1,200 of 50,000 ..." in shown.text
        Canned.made[0].script = [Answer(data=images())]
        Canned.made[0].tell(Answer(data=images()))
        await shown.settle()
        assert "balanced, 5,400 of each" in shown.text and "reading images" not in shown.text


async def test_images_are_pixels_of_their_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch, images(), channels=3) as (_, screen):
        pictures = screen.query_one(Pictures)
        order = Canned.made[0].orders[0]
        shown = pictures.samples.samples[0].seen
        first: Segment = pictures.render_line(0)._segments[0]
        assert first.text == "▀"
        assert first.style.color.triplet == shown.colour(0, 0) and first.style.bgcolor.triplet == shown.colour(0, 1)
        assert order.count == 9 and order.width <= 28


@pytest.mark.parametrize(("colours", "no_color"), [("", False), ("truecolor", True)])
async def test_where_there_are_no_colours_the_images_are_shades(
    colours: str, no_color: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(monkeypatch, images(), colours=colours, no_color=no_color) as (shown, _):
        assert "▀" not in shown.text and all(shade in shown.text for shade in "░▒▓█")


async def test_keys_ask_for_other_images(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch, images()) as (shown, _):
        orders = Canned.made[0].orders
        await shown.press("n", "right", "left")
        assert [o.page for o in orders] == [0, 1, 2, 1]
        await shown.press("space")
        assert orders[-1].epoch == 2 and orders[-1].page == 1 and "epoch 2" in shown.text
        await shown.press("down", "down", "c")
        assert orders[-1].only == 2 and orders[-1].page == 0 and "only Pullover" in shown.text
        await shown.press("down")
        assert orders[-1].only == 3 and "only Dress" in shown.text
        await shown.press("c")
        assert orders[-1].only is None and "only" not in shown.text


async def test_a_shows_the_images_as_they_are_and_as_the_model_sees_them(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch, images()) as (shown, screen):
        pictures = screen.query_one(Pictures)
        seen = pictures.render_line(0)._segments[0].style
        assert "as the model sees them" in shown.text
        await shown.press("a")
        assert "train · original" in shown.text and pictures.render_line(0)._segments[0].style != seen
        await shown.press("a")
        assert pictures.render_line(0)._segments[0].style == seen


async def test_a_key_that_does_nothing_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch, images(changes="")) as (shown, _):
        for key in ("a", "space"):
            await shown.press(key)
            assert "augment is none" in shown.notes[-1]
    async with opened(monkeypatch, table()) as (shown, _):
        for key in ("n", "left", "c"):
            await shown.press(key)
            assert "no images" in shown.notes[-1]


async def test_another_size_asks_for_as_many_images_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch, images()) as (shown, _):
        await shown.pilot.resize_terminal(200, 60)
        await shown.settle()
        first, *_, last = Canned.made[0].orders
        assert last.count > first.count and last.width == 28


@pytest.mark.parametrize(
    "shape", [(1, 28, 28), (3, 32, 32), (3, 224, 224), (1, 8, 8), (3, 20, 400), (28, 28), (1, 1, 1)]
)
@pytest.mark.parametrize("room", [(76, 20), (70, 36), (130, 56), (20, 6)])
def test_a_grid_fits_its_room(shape: tuple[int, ...], room: tuple[int, int]) -> None:
    chosen = grid(*room, shape)
    assert 1 <= chosen.width <= 256 and 1 <= chosen.height <= 256
    if room[0] > 20:
        assert chosen.rows * (chosen.lines + 2) - 1 <= room[1]
        assert chosen.columns * (max(chosen.width, 8) + 2) - 2 <= room[0]


async def test_classes_are_scrolled_to(monkeypatch: pytest.MonkeyPatch) -> None:
    many = images(tuple(f"class {i:03}" for i in range(300)), tuple(100 + i % 7 for i in range(300)))
    async with opened(monkeypatch, many) as (shown, _):
        assert "class 000" in shown.text and "class 299" not in shown.text
        await shown.press("end")
        assert "class 299" in shown.text and "of 300" in shown.text
        await shown.press("pageup", "home")
        assert "class 000" in shown.text


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ((10, 10, 10), "balanced, 10 of each"),
        ((10, 12, 11), "balanced, 10 to 12 of each"),
        ((100, 5, 20), "cat has 20 times the examples of dog (100 : 5)"),
        ((100, 0, 20), "dog has no training example"),
        ((100, 0, 0), "2 classes have no training example"),
    ],
)
def test_imbalance_is_told(counts: tuple[int, ...], words: str) -> None:
    assert balance(images(FEW, counts))[0] == words


async def test_hostile_names_are_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = images(WEIRD, (5,) * 6, name="\x1b]0;x\x07[bold]", source="[link=file:///]x\x1b[31m\n" * 9)
    async with opened(monkeypatch, hostile) as (shown, _):
        assert "\x1b" not in shown.text and "[red]x[/]" in shown.text and "\\x1b[2J" in shown.text
        await shown.press("down", "down", "c", "tab", "a")
        assert "only 日本語のクラス" in shown.text
    hostile_table = table().model_copy(update={"classes": ("[b]\x1b[1m",)})
    async with opened(monkeypatch, hostile_table, (80, 24)) as (shown, _):
        await shown.press("tab")
        assert "\x1b" not in shown.text and "[b]" in shown.text


async def test_numbers_beyond_reason_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    inf, nan = float("inf"), float("nan")
    odd = table().model_copy(update={"low": -inf, "high": inf, "mean": nan, "std": nan, "splits": (), "targets": ()})
    async with opened(monkeypatch, odd) as (shown, _):
        assert "-inf to inf" in shown.text
    empty = images((), ()).model_copy(update={"splits": ()})
    async with opened(monkeypatch, empty) as (shown, _):
        await shown.press("c", "down", "end", "pagedown", "tab")


async def test_a_class_without_examples_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch, images(FEW, (5, 0, 5))) as (shown, screen):
        only = Order(only=0)
        screen.class_list.only = 0
        Canned.made[0].tell(Answer(samples=Samples(order=only, pages=0, samples=())))
        await shown.settle()
        assert "no training example is of this class" in shown.text


async def test_images_of_different_sizes_stand_beside_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch, images()) as (shown, _):
        few = [Picture(width=w, height=h, pixels=bytes(w * h)) for w, h in ((3, 9), (20, 5), (1, 1))]
        page = Samples(order=Order(), pages=1, samples=tuple(Sample(label=f"p{p.width}", original=p) for p in few))
        Canned.made[0].tell(Answer(samples=page))
        await shown.settle()
        assert "p3" in shown.text and "p20" in shown.text and "p1" in shown.text


async def test_an_error_is_told_and_r_looks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    error = "train-images is damaged: [bold]it\x1b[0m ends early.\nDelete it, and it is downloaded again."
    async with opened(monkeypatch, [Answer(preparing="data"), Answer(error=error, exit_code=3)]) as (
        shown,
        _,
    ):
        assert "[bold]it\\x1b[0m ends early." in shown.text and "Delete it" in shown.text
        assert "r looks again" in shown.text and "data ..." not in shown.text
        await shown.press("n")
        assert shown.notes[-1] == "There is nothing to see."
        monkeypatch.setattr(Canned, "script", [Answer(data=images())])
        await shown.press("r")
        assert len(Canned.made) == 2 and Canned.made[0].ended
        assert "ends early" not in shown.text and "balanced" in shown.text


async def test_what_an_ended_look_still_says_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch, images()) as (shown, screen):
        first = Canned.made[0]
        await shown.press("r")
        screen.post_message(screen.Told(first, Answer(error="too late", exit_code=1)))
        await shown.settle()
        assert "too late" not in shown.text


async def test_the_form_opens_both_screens_and_is_as_it_was_after_them(
    show_form: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "PreviewProcess", Canned)
    monkeypatch.setattr(Canned, "script", [Answer(preparing="data")])
    monkeypatch.setattr(Canned, "made", [])
    async with show_form((120, 40)) as shown:
        screen = shown.app.screen
        assert "f6 Data  f7 Model" in shown.text
        screen.form.fields["epochs"].set_text("9")
        await shown.settle()
        for key, kind in (("f6", DataScreen), ("f7", ModelScreen)):
            await shown.press(key)
            assert isinstance(shown.app.screen, kind) and Canned.made[-1].settings.epochs == 9
            await shown.press("escape", "escape")
            assert shown.app.screen is screen and screen.form.fields["epochs"].text == "9" and Canned.made[-1].ended
        await shown.press("f1")
        assert "Look at the data: counts, classes, images." in shown.text
        await shown.press("escape")
        screen.form.fields["lr"].set_text("-1")
        await shown.settle()
        await shown.press("f6")
        assert shown.app.screen is screen and "must be above 0" in shown.notes[-1] and len(Canned.made) == 2


# --- the process itself ---


def program(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str) -> None:
    """A Python program in place of the process that looks."""
    path = folder / "looks.sh"
    (folder / "looks.py").write_text(text)
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{folder / "looks.py"}"\n')
    path.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(path))


RUBBISH = "print('nonsense')\nprint('[1, 2]')\nprint('{\"data\": 5}')\nprint(chr(27) + '[2J', flush=True)\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "was killed, often for want of memory"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "was ended by SIGSEGV"),
        ("raise SystemExit('no \\x1b[31mmodule named torch')", "It said last: no \\x1b[31mmodule named torch"),
        ("", "exit code 0 and without a result"),
        (RUBBISH, "exit code 0 and without a result"),
        ("while True: print('nonsense')", "cannot be read; it was given up"),
    ],
)
def test_a_process_that_tells_nothing_is_an_error_in_words(
    text: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program(monkeypatch, tmp_path, text)
    *_, last = PreviewProcess("data", resolve([]).settings).answers()
    assert last.error is not None and words in last.error


def test_rubbish_between_the_answers_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    facts = Answer(data=images())
    program(monkeypatch, tmp_path, f"{RUBBISH}print({facts.line().decode()!r})")
    assert list(PreviewProcess("data", resolve([]).settings).answers()) == [facts]


def test_a_program_that_cannot_be_started_is_an_error_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    (answer,) = PreviewProcess("data", resolve([]).settings).answers()
    assert answer.error == "No process could be started: No such file or directory."


def test_the_settings_arrive_as_they_were_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program(monkeypatch, tmp_path, "import sys; print(sys.stdin.readline(), file=open('got', 'w'), flush=True)")
    secret = "https://user:password@example.org/x"
    settings = resolve([Source("flag", {"epochs": "7", "notify_url": secret}, text=True)]).settings
    list(PreviewProcess("data", settings).answers())
    assert (tmp_path / "got").read_text().strip() == '{"epochs": 7}'


HANGS = (
    "import subprocess, sys, time, os\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "open('child', 'w').write(str(child.pid))\n"
    'print(\'{"preparing": "hanging"}\', flush=True)\n'
    "print('on stderr', file=sys.stderr, flush=True)\n"
    "time.sleep(600)\n"
)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


async def gone(*pids: int) -> bool:
    for _ in range(500):
        if not any(is_alive(pid) for pid in pids):
            return True
        await asyncio.sleep(0.01)
    return False


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks at processes in /proc")
@pytest.mark.parametrize(("kind", "leave"), [("data", "escape"), ("model", "ctrl+q"), ("data", "r")])
async def test_leaving_kills_a_process_that_hangs_and_what_it_has_started(
    kind: str, leave: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program(monkeypatch, tmp_path, HANGS)
    async with opened(monkeypatch, None, kind=kind) as (shown, screen):
        while "hanging ..." not in shown.text:
            await shown.pilot.pause(0.01)
        assert "on stderr" not in shown.text
        pids = screen.looking.pid, int((tmp_path / "child").read_text())
        assert all(map(is_alive, pids))
        await shown.press(leave)
        if leave != "ctrl+q":
            assert await gone(*pids)
    assert await gone(*pids)
