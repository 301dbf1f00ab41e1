"""What README and docs show is true: every command runs, every file of settings and piece of Python, every link.

Commands of the program run in this process, in a folder that holds what the pages speak of. Training is cut short, and
a command that opens a screen goes as far as its "no terminal": words, settings, code and run have been judged by then.
"""

import contextlib
import os
import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from textual.binding import Binding

from tests.docs.shell import ROOT, Block, Shell, Wrong, blocks, help_of, install
from tui_trainer import errors
from tui_trainer.catalog import DATASETS
from tui_trainer.cli import export, local_run, models
from tui_trainer.cli import main as cli
from tui_trainer.cli.background import run_by
from tui_trainer.errors import UsageError
from tui_trainer.run import background
from tui_trainer.run import send as sending
from tui_trainer.run.background import Orders
from tui_trainer.run.commands import WORDS, Inbox
from tui_trainer.run.events import Event, RunEnded
from tui_trainer.run.events_json import KINDS
from tui_trainer.run.folder import RunFolder
from tui_trainer.run.resume import Resume
from tui_trainer.settings.schema import Settings
from tui_trainer.settings.sources import Source, resolve
from tui_trainer.training.after.export import FORMATS
from tui_trainer.ui.app import TrainerApp
from tui_trainer.ui.screens.run.screen import RunScreen

DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", *DOCS]
TEXTS = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]

pytestmark = pytest.mark.xdist_group("docs")  # what is trained for the first page serves all


# --- the folder in which they run ---

BRIEF: dict[str, Any] = {
    "epochs": 1,
    "limit_train_batches": 3,
    "save_interval": 0.0,
    "warmup_epochs": 0.0,
    "workers": 0,
    "after": None,
}
"""What cuts a run short, and keeps it in this process."""


def brief() -> Callable[..., Iterator[Event]]:
    """`cli.local_run.fit` for three batches on little data. What would have to be downloaded is not trained on."""
    whole = local_run.fit

    def fit(settings: Settings, inbox: Inbox, checkpoints: Path, resume: Resume | None, *_: object) -> Iterator[Event]:
        if settings.pretrained or (settings.dataset in DATASETS and "fashion-mnist" not in settings.dataset):
            return iter([ended()])
        changed: dict[str, Any] = {} if resume else dict(BRIEF)
        if settings.dataset == "fashion-mnist":
            changed["dataset"] = "fashion-mnist-mini"
        return whole(settings.model_copy(update=changed), inbox, checkpoints, resume)

    return fit


def in_this_process(orders: Orders) -> int:
    """`background.start` that trains at once, and waits for nothing."""
    settings = orders.settings | {"after": None, "when_free": "0"}
    list(run_by(replace(orders, lock=os.dup(orders.lock), settings=settings)).events())
    return os.getpid()


def ended() -> RunEnded:
    return RunEnded(
        reason="finished", error=None, exit_code=0, best_epoch=1, best_loss=0.5, best_accuracy=0.9, seconds=1.0
    )


def image(path: Path, shade: int, size: int = 28) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise((size, size), 40).point(lambda value: min(255, value // 2 + shade)).convert("L").save(path)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages speak of: runs, a folder of images, a table, code, and settings that name it."""
    home = tmp_path_factory.mktemp("docs")
    for number in range(12):
        for shade, name in enumerate(("cats", "dogs")):
            image(home / "photos" / name / f"{number}.png", 100 * shade)
    image(home / "photo.jpg", 50)
    image(home / "folder" / "one.png", 80)
    rows = [f"{n % 7},{n % 5 + 0.5},{('old', 'new')[n % 2]},{1000.25 * (n % 7) + n},{n % 11 + 0.75}" for n in range(80)]
    (home / "houses.csv").write_text("rooms,area,state,price,size\n" + "\n".join(rows) + "\n")
    for block in (block for page in PAGES for block in blocks(page)):
        if block.kind == "python" and (named := re.match(r"# (\w+\.py)\n", block.text)):
            (home / named[1]).write_text(block.text)
    settings = Settings(
        dataset="fashion-mnist-mini",
        model_arg="hidden=32,32",
        epochs=2,
        limit_train_batches=8,
        seed=0,
        device="cpu",
    )
    with contextlib.chdir(home):
        for name in ("run-a", "run-b", "my-run"):  # the last one is the newest
            *_, last = local_run.local_run(settings.model_copy(update={"name": name})).events()
            assert isinstance(last, RunEnded) and last.exit_code == 0, last
    return home


@pytest.fixture
def shell(
    template: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shell]:
    """A shell in a folder of its own with all of that, without a terminal."""
    home = tmp_path / "home"
    shutil.copytree(template, home, copy_function=shutil.copy2)
    monkeypatch.chdir(home)
    monkeypatch.setattr(sys, "__stdin__", None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(local_run, "fit", brief())
    monkeypatch.setattr(background, "start", in_this_process)
    monkeypatch.setattr(sending, "send", lambda *_, **__: 0)
    whole = export.export

    def exported(folder: RunFolder, format: str, **more: Any) -> int:
        if format not in FORMATS:
            raise UsageError(f"--format: there is no {format}")
        return whole(folder, format, **more) if format == "safetensors" else 0

    monkeypatch.setattr(export, "export", exported)
    yield Shell(capsys, monkeypatch)
    os.chdir(tmp_path)


def commands(block: Block) -> list[str]:
    """The lines of a block, without those that only say something."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [line for line in lines if shlex.split(line, comments=True)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_runs(page: Path, shell: Shell) -> None:
    problems = []
    for block in blocks(page):
        for line in commands(block) if block.kind == "sh" else ():
            try:
                shell.run(line)
            except Wrong as wrong:
                problems.append(f"{block.place}: {line}\n    {wrong}")
    assert not problems, "\n".join(problems)


def test_there_are_commands_to_run() -> None:
    assert sum(len(commands(block)) for page in PAGES for block in blocks(page) if block.kind == "sh") > 100


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("uv run tui-trainer --no-ui --optimiser adam", "there is no such option. Did you mean --optimizer"),
        ("uv run tui-trainer --start --lr 0", "lr: must be above 0"),
        ("uv run tui-trainer --dataset cifar11", "dataset: must be one of"),
        ("uv run tui-trainer --model other.py:Net --start", "there is no file"),
        ("uv run tui-trainer --no-ui --model net.py:Nett --dataset data.py:load", "Net"),
        ("uv run tui-trainer --no-ui --model net.py:Net --dataset data.py:load --model-arg widht=3", "widht"),
        ("uv run tui-trainer --no-ui --dataset table:houses.csv --target prise", "has no column prise"),
        ("uv run tui-trainer attach their-run", "no run"),
        ("uv run tui-trainer attch", "there is no such command"),
        ("uv run tui-trainer send last puase", "is no command"),
        ("uv run tui-trainer send last lr", "lr takes a number"),
        ("uv run tui-trainer export last --format onxn", "there is no onxn"),
        ("uv run tui-trainer runs 'acuracy>90%'", "acuracy"),
        ("uv run tui-trainer --config theirs.toml --start", "there is no such file"),
        ("TUI_TRAINER_LRR=1 uv run tui-trainer --start", "TUI_TRAINER_LRR"),
        ("uv run --group bensh benchmarks/run.py", "no group bensh"),
        ("uv run benchmarks/run.py --quik", "knows no --quik"),
        ("uv run scripts/chek", "there is no scripts/chek"),
        ("uv run pytest tests/non", "there is no tests/non"),
        ("uv run python -m tests.faults.gard", "there is no module"),
        ("uv pip install '.[exprot]'", "no extra exprot"),
        ("uv pip install -c constraint.txt -e .", "there is no constraint.txt"),
        ("make all", "nobody knows how to run make all"),
    ],
)
def test_a_slip_in_a_command_is_seen(line: str, says: str, shell: Shell) -> None:
    with pytest.raises(Wrong, match=re.escape(says)):
        shell.run(line)


def test_an_option_that_uv_does_not_know_is_seen() -> None:
    if not help_of("uv pip install"):
        pytest.skip("there is no uv here")
    with pytest.raises(Wrong, match="knows no --torch-backed"):
        install(["--torch-backed=cpu", "."], "uv pip install")


# --- the other blocks ---


def test_blocks_are_of_a_kind_that_is_checked() -> None:
    kinds = {block.place: block.kind for page in PAGES for block in blocks(page)}
    assert set(kinds.values()) <= {"sh", "console", "toml", "python", "text"}, kinds
    texts = [block for page in PAGES for block in blocks(page) if block.kind == "text"]
    assert not [block.place for block in texts if re.search(r"^\s*(uv|pip|tui-trainer) ", block.text, re.MULTILINE)]


def test_what_a_command_is_shown_to_say_it_says(shell: Shell) -> None:
    shown = [block for page in PAGES for block in blocks(page) if block.kind == "console"]
    assert shown
    for block in shown:
        command, *said = block.text.splitlines()
        assert command.startswith("$ "), block.place
        with contextlib.suppress(Wrong):
            shell.run(command[2:])
        assert shell.said.splitlines() == said, block.place


def test_files_of_settings_are_settings() -> None:
    shown = [block for page in PAGES for block in blocks(page) if block.kind == "toml"]
    assert shown
    for block in shown:
        resolve([Source(block.place, tomllib.loads(block.text))])


@pytest.mark.usefixtures("shell")
def test_pieces_of_python_run(capsys: pytest.CaptureFixture[str]) -> None:
    """A few names stand for the reader's own objects; what is trained is trained on three batches."""
    data = torch.utils.data.TensorDataset(torch.randn(64, 2), torch.arange(64) % 2)
    own = {
        "model": torch.nn.Linear(2, 2),
        "train_set": data,
        "valid_set": data,
        "focal": lambda outputs, y: torch.nn.functional.cross_entropy(outputs, y),
    }
    shown = [block for page in PAGES for block in blocks(page) if block.kind == "python"]
    assert len(shown) > 5
    for block in shown:
        exec(compile(block.text, block.place, "exec"), own | {"__name__": block.page})
    assert "'accuracy'" in capsys.readouterr().out


# --- words, links, and the README ---


def options() -> set[str]:
    """All options of the program, of every command."""
    app = cli.make_app()
    found = {"--help", "--version"}
    for command in [app, *(app[name] for name in app if not str(name).startswith("-"))]:
        for argument in command.assemble_argument_collection():
            found |= set(argument.names)
    return found


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_options_that_are_spoken_of_exist(page: Path) -> None:
    elsewhere = {"--torch-backend", "--index-url", "--with", "--group", "--quick", "--update-screens"}
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    spoken = {word for span in re.findall(r"`([^`]+)`", text) for word in re.findall(r"(?<![\w-])--[a-z][a-z-]*", span)}
    assert not spoken - options() - elsewhere


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_files_that_are_spoken_of_exist(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    spans = set(re.findall(r"`([\w.-]+/[\w./-]*)`", text))
    ours = {span for span in spans if span.split("/")[0] in ROOMS}
    missing = [span for span in ours if not any((home / span).exists() for home in (ROOT, ROOT / "tui_trainer"))]
    assert not missing


ROOMS = {path.name for home in (ROOT, ROOT / "tui_trainer") for path in home.iterdir() if path.is_dir()}
"""What the path of a file of the repository begins with."""


def anchors(page: Path) -> set[str]:
    """What a link into a page can name, made of its headings as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_links_and_pictures_are_there(page: Path) -> None:
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        to = (page.parent / path).resolve() if path else page
        if "://" in target or not to.exists() or (anchor and anchor not in anchors(to)):
            wrong.append(target)
    assert not wrong


def test_every_page_is_in_the_index_and_in_the_readme() -> None:
    for page in DOCS:
        if page.name != "index.md":
            assert f"({page.name})" in (ROOT / "docs" / "index.md").read_text()
    linked = set(re.findall(r"\(docs/([\w-]+\.md)", (ROOT / "README.md").read_text()))
    assert linked >= {page.name for page in DOCS} - {"cpu-replay.md"}


def test_as_many_data_sets_and_models_are_there_as_is_said() -> None:
    said = {pair for page in PAGES for pair in re.findall(r"(\d+) (data sets|models)", page.read_text())}
    assert said == {(str(len(DATASETS)), "data sets"), (str(len(models.rows())), "models")}


def test_nothing_is_missing_where_a_page_lists_all() -> None:
    files, steering = ((ROOT / "docs" / page).read_text() for page in ("files-and-events.md", "steering.md"))
    assert not {kind for kind in KINDS if f"`{kind}`" not in files}
    assert not {word for word in WORDS if f"`{word}`" not in steering.replace("`lr VALUE`", "`lr`")}
    codes = {int(code) for row in re.findall(r"^\| ([\d ·]+) \|", files, re.MULTILINE) for code in row.split("·")}
    assert codes >= {kind.exit_code for kind in vars(errors).values() if hasattr(kind, "exit_code")} | {0, 1, 2}


def test_pages_name_no_host_but_that_of_an_example() -> None:
    """Where packages come from is the business of whoever installs them."""
    assert {host for page in TEXTS for host in re.findall(r"https?://([\w.-]+)", page.read_text())} <= {"ntfy.sh"}


def test_the_readme_is_read_in_a_minute_and_begins_with_a_picture_and_two_commands() -> None:
    readme = ROOT / "README.md"
    assert len(readme.read_text().splitlines()) <= 150
    assert readme.read_text().index("![") < readme.read_text().index("```")
    first, second = blocks(readme)[:2]
    assert (first.kind, first.text) == ("sh", "pip install uv && uv run tui-trainer\n")
    assert (second.kind, second.text) == ("sh", "pip install uv && uv run scripts/check\n")


def test_the_keys_in_the_readme_are_keys_of_the_run_screen() -> None:
    rows = re.findall(r"^\| (`.+?) \| .* \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    keys = {key for row in rows for key in re.findall(r"`([^`]+)`", row)}
    assert len(keys) > 15
    names = {"?": "question_mark", "1": "1,2,3,4,5,6", "6": "1,2,3,4,5,6"}
    bound = {binding.key for binding in (*RunScreen.BINDINGS, *TrainerApp.BINDINGS) if isinstance(binding, Binding)}
    assert not {key for key in keys if names.get(key, key) not in bound}
