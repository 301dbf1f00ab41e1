"""`tui-trainer predict`: image files in, classes out; and the run's own examples counted as its evaluation has them."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.cli.program import hidden
from tui_trainer.catalog import IDX_FILES, MINI_FOLDER
from tui_trainer.cli import main, predict
from tui_trainer.cli.console import PipeConsole
from tui_trainer.cli.local_run import local_run
from tui_trainer.run.events import Evaluated
from tui_trainer.run.journal import read
from tui_trainer.settings.schema import Settings
from tui_trainer.training.data.readers.idx import read_split


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on images with a border of 2 pixels."""
    settings = Settings(
        dataset="fashion-mnist-mini",
        epochs=2,
        limit_train_batches=30,
        pad=2,
        ema=0.8,
        seed=0,
        device="cpu",
        name="it",
        output_dir=str(tmp_path_factory.mktemp("predict")),
    )
    run = local_run(settings)
    list(run.events())
    assert run.folder is not None
    return run.folder.path


@pytest.fixture(autouse=True)
def run(trained: Path) -> Path:
    """A copy of that run where runs are looked for."""
    return Path(shutil.copytree(trained, "runs/it"))


def program(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main.main(["predict", *words])
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


def objects(out: str) -> list[dict[str, Any]]:
    return [json.loads(line, parse_constant=pytest.fail) for line in out.splitlines()]


def write_images(folder: str, count: int) -> list[str]:
    """The first images of the test split as PNG files; their paths."""
    os.makedirs(folder)
    images = read_split(MINI_FOLDER, *IDX_FILES[2:]).inputs[:count, 0].numpy()
    paths = [f"{folder}/{i:03}.png" for i in range(count)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    return paths


def measured(run: Path, split: str) -> Evaluated:
    """What the run itself has measured with its best weights."""
    step = torch.load(run / "checkpoints" / "best.pt", weights_only=True)["step"]
    (found,) = (
        e for e in read(run / "events.jsonl") if isinstance(e, Evaluated) and e.split == split and e.step == step
    )
    return found


@pytest.mark.parametrize("split", ["test", "valid"])
def test_the_counts_over_a_split_are_exactly_those_of_the_runs_evaluation(
    split: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = program(capsys, "it", "--split", split, "--json", "--top", "2")
    *examples, summary = objects(out)
    wanted = measured(run, split)
    assert (code, err) == (0, "") and summary["confusion"] == [list(row) for row in wanted.confusion]
    assert summary["accuracy"] == wanted.accuracy and summary["examples"] == len(examples)
    counts = [[0] * 10 for _ in range(10)]
    for i, example in enumerate(examples):
        assert example["example"] == i and len(example["top"]) == 2 and example["top"][0]["class"] == example["class"]
        counts[example["label"]][example["index"]] += 1
    assert counts == summary["confusion"]


def test_images_in_files_get_the_classes_that_they_get_in_the_split(capsys: pytest.CaptureFixture[str]) -> None:
    paths = write_images("images", 150)
    split = objects(program(capsys, "it", "--split", "test", "--json")[1])[:150]
    code, out, err = program(capsys, "it", "images", "--json")
    found = objects(out)
    assert (code, err) == (0, "") and [one["file"] for one in found] == paths
    assert [one["index"] for one in found] == [one["index"] for one in split]
    probabilities = [one["probability"] for one in split]
    assert [one["probability"] for one in found] == pytest.approx(probabilities, abs=2e-6)
    assert len({one["index"] for one in found}) > 3 and all(len(one["top"]) == 3 for one in found)


def test_in_a_pipe_it_is_a_line_an_image_with_tabs_between_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = write_images("images", 2)
    shutil.copy(second, "images/\x1b[31m tab\t.png")
    code, out, err = program(capsys, "it", first, "images", "--top", "1")
    assert (code, err) == (0, "") and hidden(out, "\n\t") == set()
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[0] for row in rows] == [first, "images/\\x1b[31m tab\\t.png", first, second]
    assert all(len(row) == 3 and row[2].endswith(" %") for row in rows)


def test_other_colours_and_sizes_are_fitted_and_told_of_once(capsys: pytest.CaptureFixture[str]) -> None:
    first, *_ = write_images("images", 1)
    os.makedirs("others")
    original = Image.open(first)
    for name in ("a.jpg", "b.png"):
        original.convert("RGB").resize((280, 140)).save(f"others/{name}")
    original.convert("RGB").save("others/c.png")
    Image.fromarray(read_split(MINI_FOLDER, *IDX_FILES[2:]).inputs[0, 0].numpy().astype("uint16") * 257).save(
        "others/deep.tif"
    )
    Path("others/notes.txt").write_text("no image")
    wanted = objects(program(capsys, "it", first, "--json")[1])[0]
    code, out, err = program(capsys, "it", "others", "--json")
    found = objects(out)
    assert code == 0 and [one["file"][7:] for one in found] == ["a.jpg", "b.png", "c.png", "deep.tif"]
    assert err.splitlines() == [
        "4 images were made grey (first: others/a.jpg, RGB 280 x 140)",
        "2 images were resized to 28 x 28 (first: others/a.jpg, RGB 280 x 140)",
    ]
    assert {**found[2], "file": first} == {**found[3], "file": first} == wanted


def test_a_broken_image_is_a_sentence_and_the_rest_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = write_images("images", 2)
    Path("images/0.png").write_bytes(Path(first).read_bytes()[:120])
    Path("text.png").write_text("hello")
    os.makedirs("empty")
    os.mkfifo("pipe")
    words = ["it", "images", "text.png", "gone.png", "x" * 300, "empty", "pipe", second]
    code, out, err = program(capsys, *words)
    assert code == 3 and [line.split("\t")[0] for line in out.splitlines()] == [first, second, second]
    told = err.splitlines()
    assert told[0].startswith("images/0.png: cannot be read: ")
    assert told[1:] == [
        "text.png: is not an image that can be read (PNG, JPEG, WebP, GIF, TIFF, BMP).",
        "gone.png: there is no such file.",
        f"{'x' * 300}: there is no such file.",
        "empty: there is no image in this folder.",
        "pipe: is no file.",
        "6 of 9 could not be read",
    ]
    code, out, _ = program(capsys, *words, "--json")
    assert code == 3 and [sorted(one)[0] for one in objects(out)].count("error") == 6 and len(objects(out)) == 9


@pytest.mark.parametrize("width", [60, 80, 200])
def test_in_a_terminal_each_image_has_a_line_a_class_with_a_bar_and_none_is_too_wide(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def console() -> PipeConsole:
        return PipeConsole(force_terminal=True, width=width, color_system=None, highlight=False, soft_wrap=True)

    monkeypatch.setattr(predict, "on_stdout", console)
    folder = f"images/{'long-' * 12}name"
    write_images(folder, 2)
    code, out, _ = program(capsys, "it", folder)
    head, *lines = out.splitlines()
    assert code == 0 and len(lines) == 6 and max(map(len, out.splitlines())) <= width
    assert head.split() == ["file", "3", "most", "probable"]
    assert "name/000.png  " in lines[0] and "name/001.png  " in lines[3] and not lines[1][:10].strip()
    assert all(" %  " in lines[i] and "█" in lines[i] for i in (0, 3))
    assert len({line.index(" %") for line in lines}) == 1


def test_the_table_of_a_split_has_a_line_a_class_and_the_accuracy(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = program(capsys, "it", "--split", "test")
    head, *lines, total = out.splitlines()
    wanted = measured(run, "test")
    assert (code, err) == (0, "") and head.split() == ["class", "examples", "right", "accuracy", "taken", "for"]
    assert total.split()[-4:] == ["1,000", f"{1000 * wanted.accuracy:.0f}", f"{100 * wanted.accuracy:.1f}", "%"]
    assert len(lines) == 10 and max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["nobody", "a.png"], 2, "There is no run 'nobody'"),
        (["it"], 2, "Give images and folders of images, or else --split valid or --split test"),
        (["it", "a.png", "--split", "test"], 2, "Give images and folders of images, or else"),
        (["it", "--split", "train"], 2, "--split: must be valid or test; found 'train'"),
        (["it", "a.png", "--top", "0"], 2, "--top: must be at least 1, found 0"),
        (["it", "a.png", "--checkpoint", "worst"], 2, "--checkpoint: must be best, last, prev or epoch-N"),
        (
            ["it", "a.png", "--checkpoint", "epoch-7"],
            5,
            "The run it has no checkpoint epoch-7. It has: best, last, prev.",
        ),
        (["it", "a.png", "--device", "cuda:77"], 9, "There is no device cuda:77 here"),
    ],
)
def test_what_cannot_be_done_is_a_sentence_with_its_exit_code(
    words: list[str], code: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = program(capsys, *words)
    assert ended[:2] == (code, "") and sentence in ended[2]


def test_a_damaged_checkpoint_and_one_of_another_model_are_sentences(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = run / "checkpoints" / "best.pt"
    torch.save({"model_state_dict": {"0.weight": torch.zeros(3, 3)}}, best)
    code, out, err = program(capsys, "it", "--split", "test")
    assert (code, out) == (5, "") and "is from another model" in err and "was trained as mlp" in err
    best.write_bytes(b"")
    code, out, err = program(capsys, "it", "--split", "test")
    assert (code, out) == (5, "") and "best.pt is empty" in err and "for --checkpoint: last, prev." in err


def test_a_run_from_a_machine_with_another_device_is_computed_on_the_cpu(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = run / "run.toml"
    manifest.write_text(manifest.read_text().replace('device = "cpu"', 'device = "xpu"', 1))
    (path,) = write_images("images", 1)
    code, out, err = program(capsys, "it", path)
    assert code == 0 and out and err == "xpu, where the run has computed, is not here: computing on the CPU\n"
