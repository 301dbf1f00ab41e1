"""A model that was taken away gives what the model gave, or there is no file."""

import dataclasses
import errno
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.faults.rights import without_rights
from tui_trainer import disk
from tui_trainer.catalog import IDX_FILES, MINI_FOLDER
from tui_trainer.cli import main
from tui_trainer.cli.local_run import local_run
from tui_trainer.run.events import CheckpointSaved, Evaluated
from tui_trainer.run.folder import RunFolder
from tui_trainer.run.journal import read
from tui_trainer.settings.schema import Settings
from tui_trainer.training.after import export
from tui_trainer.training.after.export import FORMATS
from tui_trainer.training.after.trained import load_trained
from tui_trainer.training.data.readers.idx import read_split


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of the cnn with a moving average of its weights."""
    settings = Settings(
        dataset="fashion-mnist-mini",
        model="cnn",
        epochs=2,
        limit_train_batches=8,
        ema=0.8,
        save_every=1,
        seed=0,
        device="cpu",
        name="it",
        output_dir=str(tmp_path_factory.mktemp("export")),
    )
    run = local_run(settings)
    list(run.events())
    assert run.folder is not None
    return run.folder.path


@pytest.fixture
def run(trained: Path) -> Path:
    """A copy of that run, to be damaged."""
    return Path(shutil.copytree(trained, "runs/it"))


@pytest.fixture(scope="module")
def images() -> Tensor:
    """The 1,000 real images of the test split, [1000, 1, 28, 28] from 0 to 1."""
    return read_split(MINI_FOLDER, *IDX_FILES[2:]).inputs / 255


def program(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main.main(["export", *words])
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


def plain_model(run: Path, name: str = "best.pt") -> nn.Module:
    """The cnn in plain PyTorch, with the averaged weights of a checkpoint."""
    model = nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(3136, 128), nn.ReLU(), nn.Dropout(0.25), nn.Linear(128, 10)),
    )
    saved = torch.load(run / "checkpoints" / name, weights_only=True)
    assert any(not torch.equal(saved["ema_state_dict"][n], saved["model_state_dict"][n]) for n in model.state_dict())
    model.load_state_dict(saved["ema_state_dict"])
    return model.eval()


def use_safetensors(path: Path, run: Path, X: Tensor) -> tuple[Tensor, dict[str, str]]:
    from safetensors import safe_open

    model = plain_model(run)
    with safe_open(path, "pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        about = file.metadata()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    model.load_state_dict(weights)
    return model(X), about


def use_onnx(path: Path, _run: Path, X: Tensor) -> tuple[Tensor, dict[str, str]]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [node.shape[1:] for node in session.get_inputs()] == [[1, 28, 28]]
    about = dict(session.get_modelmeta().custom_metadata_map)
    return torch.from_numpy(session.run(["outputs"], {"images": X.numpy()})[0]), about


def use_torch_export(path: Path, _run: Path, X: Tensor) -> tuple[Tensor, dict[str, str]]:
    extra: dict[str, Any] = {"metadata.json": ""}
    program = torch.export.load(path, extra_files=extra)
    assert all(not argument.any() for argument in program.example_inputs[0])  # nothing of the data is given away
    return program.module()(X), json.loads(extra["metadata.json"])


USES = {"safetensors": use_safetensors, "onnx": use_onnx, "torch-export": use_torch_export}


@pytest.mark.parametrize("format", FORMATS)
def test_each_format_gives_the_models_outputs_on_1000_real_images_and_says_what_it_is(
    format: str, run: Path, images: Tensor, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = program(capsys, "it", "--format", format)
    path = Path(out.removesuffix("\n"))
    assert code == 0 and path == Path("runs/it/exports") / f"best{FORMATS[format].suffix}" and path.is_file()
    assert "it: best.pt, epoch" in err and "run on 500 examples of the validation split" in err
    assert os.listdir(path.parent) == [path.name]
    with torch.no_grad():
        wanted = plain_model(run)(images)
        for X, y in ((images, wanted), (images[:1], wanted[:1]), (images[:7], wanted[:7])):
            found, about = USES[format](path, run, X)
            assert float((found - y).abs().max() / y.abs().max()) < 1e-4
    saved = torch.load(run / "checkpoints" / "best.pt", weights_only=True)
    measured = [e for e in read(run / "events.jsonl") if isinstance(e, Evaluated) and e.step == saved["step"]]
    assert json.loads(about["labels"])[9] == "Ankle boot" and json.loads(about["input_shape"]) == [1, 28, 28]
    assert json.loads(about["preprocessing"]) == {
        "layout": "NCHW",
        "dtype": "float32",
        "colour": "grey",
        "value_range": [0, 1],
        "resize": [28, 28],
        "pad": 0,
        "normalize": "none",
    }
    assert (about["run"], about["task"], about["weights"]) == ("it", "classification", "moving average")
    assert (json.loads(about["epoch"]), json.loads(about["step"])) == (saved["epoch"], saved["step"])
    assert json.loads(about["score"]) == {
        f"{e.split}_{n}": getattr(e, n) for e in measured for n in ("loss", "accuracy")
    }
    assert {e.split for e in measured} == {"valid", "test"} and about["tui_trainer"]


def test_the_checkpoint_is_the_best_else_the_last_or_the_one_that_is_named(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "checkpoints" / "best.pt").unlink()
    assert program(capsys, "it", "--format", "safetensors")[1] == "runs/it/exports/last.safetensors\n"
    named = program(capsys, "it", "--format", "safetensors", "--checkpoint", "epoch-1", "--output", "one.safetensors")
    assert named[:2] == (0, "one.safetensors\n")
    from safetensors.torch import load_file

    wanted = plain_model(run, "epoch-1.pt").state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in load_file("one.safetensors").items())


def test_a_run_that_is_still_training_is_exported_from_its_last_whole_checkpoint(
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = Settings(dataset="fashion-mnist-mini", limit_train_batches=4, seed=0, device="cpu", name="live")
    training = local_run(settings)
    events = training.events()
    assert next(event for event in events if isinstance(event, CheckpointSaved) and event.kind == "last")
    assert RunFolder(Path("runs/live")).is_held()
    code, out, _ = program(capsys, "live", "--format", "safetensors", "--checkpoint", "last")
    assert (code, out) == (0, "runs/live/exports/last.safetensors\n")
    assert RunFolder(Path("runs/live")).is_held()
    events.close()  # type: ignore[attr-defined]


def test_what_differs_is_no_file_and_leaves_the_one_before(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = FORMATS["safetensors"]

    def wrong(_: export.Trained, example: Tensor, about: dict[str, str]) -> bytes:
        other = load_trained(RunFolder(run))
        with torch.no_grad():
            list(other.model.parameters())[-1][3] += 1e-2
        return kind.pack(other, example, about)

    monkeypatch.setitem(FORMATS, "safetensors", dataclasses.replace(kind, pack=wrong))
    Path("mine.safetensors").write_text("before")
    code, out, err = program(capsys, "it", "--format", "safetensors", "--output", "mine.safetensors", "--force")
    assert (code, out) == (4, "") and "gives other outputs" in err and "The file was removed" in err
    assert Path("mine.safetensors").read_text() == "before"
    assert program(capsys, "it", "--format", "safetensors")[0] == 4 and os.listdir("runs/it/exports") == []


@pytest.mark.usefixtures("run")
def test_a_model_that_an_exporter_cannot_follow_is_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> bytes:
        raise RuntimeError("data-dependent \x1b[31mcontrol flow\nand a thousand lines")

    monkeypatch.setitem(FORMATS, "onnx", dataclasses.replace(FORMATS["onnx"], pack=fails))
    code, out, err = program(capsys, "it", "--format", "onnx")
    assert (code, out) == (4, "") and "\x1b" not in err and "thousand" not in err
    assert "cnn cannot be exported as ONNX: RuntimeError: data-dependent" in err


@pytest.mark.usefixtures("run")
def test_a_missing_package_is_named_with_what_installs_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)  # as if it were not installed
    code, out, err = program(capsys, "it", "--format", "onnx")
    assert (code, out) == (2, "")
    assert err == (
        "--format onnx needs the package onnxscript, which is not installed here.\n"
        "Install with: pip install 'tui-trainer[export]'\n"
    )


@pytest.mark.usefixtures("run")
def test_a_file_that_is_there_is_kept_unless_forced(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine").write_text("before")
    words = ("it", "--format", "safetensors", "--output", "mine")
    code, out, err = program(capsys, *words)
    assert (code, out) == (2, "") and "mine is there already. Overwrite it with --force" in err
    assert Path("mine").read_text() == "before"
    assert program(capsys, *words, "--force")[:2] == (0, "mine\n") and Path("mine").stat().st_size > 1_000_000


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["nobody", "--format", "onnx"], 2, "There is no run 'nobody'"),
        (["it"], 2, "--format: must be one of safetensors, onnx, torch-export\n"),
        (["it", "--format", "onx"], 2, "found 'onx'. Did you mean onnx?"),
        (["it", "--format", "safetensors", "--checkpoint", "../x"], 2, "must be best, last, prev or epoch-N; found"),
        (["it", "--format", "safetensors", "--checkpoint", "epoch-9"], 5, "no checkpoint epoch-9. It has: best, last"),
        (["it", "--format", "safetensors", "--output", "runs"], 2, "runs is a folder. Name a file in it."),
        (["it", "--format", "safetensors", "--output", "no/such/file"], 6, "There is no folder no/such. Make it first"),
        (["it", "--format", "safetensors", "--output", "a" * 300], 6, "cannot be written: File name too long"),
    ],
)
def test_what_cannot_be_done_is_a_sentence_with_its_exit_code(
    words: list[str], code: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = program(capsys, *words)
    assert ended[:2] == (code, "") and sentence in ended[2]
    assert not Path("runs/it/exports").exists()


def test_a_run_without_a_checkpoint_and_a_damaged_one_are_sentences(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = run / "checkpoints" / "best.pt"
    best.write_bytes(best.read_bytes()[:5000])
    code, out, err = program(capsys, "it", "--format", "safetensors")
    assert (code, out) == (5, "") and "best.pt is cut short or damaged" in err
    assert "The run has others, for --checkpoint: last, prev, epoch-1, epoch-2." in err
    shutil.rmtree(run / "checkpoints")
    code, out, err = program(capsys, "it", "--format", "safetensors")
    assert (code, out) == (5, "") and "The run it has saved no checkpoint yet." in err


@pytest.mark.usefixtures("run")
def test_a_full_disk_leaves_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(disk.Disk):
        def write(self, fd: int, content: bytes | memoryview) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(disk, "DISK", Full())
    code, out, err = program(capsys, "it", "--format", "safetensors")
    assert (code, out) == (6, "") and "best.safetensors cannot be written: the disk is full" in err
    assert os.listdir("runs/it/exports") == []


def test_a_folder_that_may_not_be_written_to_is_a_sentence(run: Path) -> None:
    outputs = Path("theirs")
    outputs.mkdir()
    steps = export.export(RunFolder(run), "safetensors", output="theirs/it.safetensors")
    for line in steps:
        if line.startswith("exporting"):
            break
    with (
        pytest.raises(export.FolderError, match=r"theirs/it\.safetensors cannot be written: Permission denied"),
        without_rights(outputs),
    ):
        list(steps)
