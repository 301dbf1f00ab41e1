"""`tui-trainer datasets`, and what the form says of any data set: without torch, whatever is typed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.program import environment, hidden
from tui_trainer.catalog import DATASETS, MODELS
from tui_trainer.cli import main
from tui_trainer.outlook import data
from tui_trainer.outlook.data import describe
from tui_trainer.outlook.run import describe_run
from tui_trainer.settings.schema import Settings


def program(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main.main(["datasets", *words])
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


def test_every_data_set_is_a_line_with_its_state(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = program(capsys)
    assert (code, err) == (0, "") and hidden(out) == set()
    head, *lines = out.splitlines()
    assert head.split() == ["name", "images", "classes", "size", "state", "what"]
    lines, notes = lines[: lines.index("")], lines[lines.index("") + 1 :]
    assert [line.split()[0] for line in lines] == list(DATASETS)
    by_name = {line.split()[0]: line.split("  ") for line in lines}
    told = {name: [part.strip() for part in parts if part.strip()] for name, parts in by_name.items()}
    assert told["cifar10"] == [
        *("cifar10", "60,000", "10", "32 x 32", "downloads 170.5 MB", "small pictures of ten kinds")
    ]
    assert told["mnist"][3] == "28 x 28 grey" and told["food101"][3] == "differs"
    assert told["fashion-mnist-mini"][4] == "part of the program" and told["fake"][4] == "made here"
    assert told["imagenet"][4] == "put there by hand" and told["celeba"][2] == "40 labels"
    assert all(head.index("what") < 84 and len(line) < 140 for line in lines)
    assert notes[0].startswith("Images: of all splits together.")


def test_json_is_an_object_a_data_set_with_the_whole_of_what_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = [json.loads(line) for line in program(capsys, "--json", "cifar10?")[1].splitlines()]
    assert row == {
        "name": "cifar100", "title": DATASETS["cifar100"].title, "kind": "class", "train_examples": 50_000,
        "valid_examples": 0, "test_examples": 10_000, "outputs": 100, "classes": [], "shape": [3, 32, 32],
        "download_bytes": 169_001_437, "torchvision": "CIFAR100", "here": False, "state": "downloads 169.0 MB",
        "lacks": [],
    }  # fmt: skip


@pytest.mark.parametrize(("pattern", "names"), [("EMNIST*", 6), ("caltech", 2), ("digits", 10), ("*of ten kinds*", 2)])
def test_a_pattern_picks_data_sets(capsys: pytest.CaptureFixture[str], pattern: str, names: int) -> None:
    assert len(program(capsys, pattern, "--json")[1].splitlines()) == names


def test_a_set_in_the_data_folder_is_here(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "there" / "cifar-10-batches-py").mkdir(parents=True)
    assert "  here  " in program(capsys, "cifar10", "--data-dir", str(tmp_path / "there"))[1]
    assert "  here  " not in program(capsys, "cifar10", "--data-dir", "no\x00where")[1]


def test_no_match_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = program(capsys, "cifar12\x1b[2J")
    assert (code, out) == (0, "") and err.startswith(f"None of the {len(DATASETS)} data sets match: cifar12\\x1b[2J.")
    assert "Did you mean cifar1" in program(capsys, "cifar12")[2]


def test_torch_is_not_imported_for_it() -> None:
    script = (
        "import sys\nfrom tui_trainer.cli import main as cli\ntry: cli.main(['datasets'])\n"
        "finally: print([name for name in ('torch', 'torchvision', 'numpy', 'textual') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n") and done.stderr == ""


# --- the form's box ------------------------------------------------------------------------------------------------

ODD = (
    *("folder:", "folder:.", "folder:/", "folder:/proc", "folder:nowhere", "folder:~nobody-here/x"),
    *("folder:\x1b[31m[red]", "folder:a\x00b", "folder:" + "x" * 5000, "folder:\udcff", "table:x.csv", "table:"),
    *("mine.py:Data", "a.b:C", "[bold]", "", "no such set", "mnist ", "../x.py:Y"),
)


@pytest.mark.parametrize("name", [*ODD, *DATASETS])
@pytest.mark.parametrize("model", ["mlp", "cnn", "mine.py:Net"])
def test_whatever_data_set_is_named_the_form_says_what_is_known(name: str, model: str) -> None:
    settings = Settings().model_copy(update={"dataset": name, "model": model})
    for some in ({}, {"overfit_batches": 2}, {"valid_fraction": 0.0}, {"pad": 2, "image_size": 8}, {"dry_run": True}):
        seen = describe_run(settings.model_copy(update=some))
        said = [*seen.lines(), *seen.short()]
        assert len(said) == 8 and all(line and line.isprintable() for line in said)
        assert (seen.train_examples is None) == (seen.steps_per_epoch == 0)
    if name in DATASETS and model in MODELS:
        assert seen.parameters and seen.train_examples
    if name in ODD:
        assert "known" in " ".join(seen.lines())


def test_a_folder_is_counted_and_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("train/a", "train/b", "valid/a"):
        (tmp_path / "p" / name).mkdir(parents=True)
        for n in range(5):
            (tmp_path / "p" / name / f"{n}.png").touch()
    settings = Settings(dataset=f"folder:{tmp_path / 'p'}")
    assert describe(settings).text.endswith("/p: 15 images of 2 classes, size known when read")
    seen = describe_run(settings)
    assert (seen.train_examples, seen.valid_examples, seen.test_examples, seen.steps_per_epoch) == (10, 5, 0, 1)
    assert "made 64 x 64" in describe(settings.model_copy(update={"image_size": 64})).text
    monkeypatch.setattr(data, "LONGEST_COUNT", -1.0)
    data._count.cache_clear()
    assert "more than 0 images of 2 classes" in describe(settings).text
    assert describe_run(settings).train_examples is None
