"""A trained model as a file for other programs, read back and held against the model itself before it is done."""

import contextlib
import copy
import importlib
import io
import json
import os
import uuid
import warnings
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim

from tui_trainer import disk
from tui_trainer.errors import FolderError, ModelError, TrainerError, UsageError
from tui_trainer.run.folder import RunFolder
from tui_trainer.settings.places import short
from tui_trainer.text import clean, did_you_mean, number, percent, size
from tui_trainer.training import devices
from tui_trainer.training.after.trained import Trained, load_trained, some, splits
from tui_trainer.training.data.examples import Data
from tui_trainer.training.saving.checkpoint import why_not

TOLERANCE = 1e-4
"""How far outputs may lie apart, as a fraction of the largest output of the model."""
EXAMPLES = 1000
"""Examples of the validation split that are compared."""
LARGEST_ONNX = 2_000_000_000
"""Bytes that fit into one ONNX file: a protobuf message has a length of 31 bits."""
INPUT, OUTPUT = "images", "outputs"
"""What input and output are called in an ONNX file."""
METADATA = "metadata.json"
"""The extra file in a torch-export archive that holds its metadata."""

Outputs = Callable[[Tensor], Tensor]
"""Inputs [N, C, H, W] -> raw outputs [N, C]."""


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of file that a model can be exported as."""

    title: str
    suffix: str
    packages: tuple[str, ...]
    """What must be importable beside torch."""
    pack: Callable[[Trained, Tensor, dict[str, str]], bytes]
    """(model, an example of inputs [2, C, H, W], metadata) -> the bytes of the file."""
    read: Callable[[Path, Trained], Outputs]
    """The model as whoever takes the file away has it."""


def export(
    folder: RunFolder, format: str, *, output: str | None = None, checkpoint: str | None = None, force: bool = False
) -> Generator[str, None, Path]:
    """Write the model of a run to a file; what is done and found, in lines, and the file's path in the end.

    Raises:
        UsageError: there is no such format, a package is missing, or the file is there already.
        CheckpointError, DataError, SettingsError, FolderError: the run, or the place for the file, cannot be used.
        ModelError: the model cannot be exported, or the file does not give what the model gives.
    """
    kind = format_of(format)
    if output is not None:
        _refuse(Path(output).expanduser(), force)
        if not os.path.isdir(parent := Path(output).expanduser().parent):
            raise FolderError(f"There is no folder {clean(parent, 600)}. Make it first, or name another --output.")
    with devices.without_denormals():
        trained = load_trained(folder, checkpoint)
        path = Path(output).expanduser() if output else folder.path / "exports" / f"{trained.checkpoint}{kind.suffix}"
        _refuse(path, force)
        yield told(trained)
        found = yield from splits(trained)
        X = some(trained, found, EXAMPLES)
        yield f"exporting as {kind.title}"
        with _quiet(), _as_sentence(trained, kind):
            example = torch.zeros(2, *X.shape[1:])  # it becomes part of the file: nothing of the data belongs there
            content = kind.pack(trained, example, metadata(trained, found))
        try:
            difference = _write(kind, trained, content, path, X, force)
        except OSError as error:
            why = why_not(error, len(content), path.parent)
            raise FolderError(
                f"{clean(path, 600)} cannot be written: {why}. Say where with --output, or make room."
            ) from error
    yield (
        f"read back and run on {len(X):,} example{'s' if len(X) > 1 else ''} of the validation split: outputs differ "
        f"by at most {number(difference, 2)} of the largest one (allowed {TOLERANCE:.0e})"
    )
    yield f"{size(len(content))} written"
    return path


def format_of(name: str) -> Format:
    """The format called `name`, with all that it needs.

    Raises:
        UsageError: there is none, or a package is missing.
    """
    if name not in FORMATS:
        found = f"; found {clean(repr(name), 60)}.{did_you_mean(name, FORMATS)}" if name else ""
        raise UsageError(f"--format: must be one of {', '.join(FORMATS)}{found}")
    missing = []
    for package in FORMATS[name].packages:
        try:
            importlib.import_module(package)
        except ImportError:
            missing.append(package)
    if missing:
        are = f"package {missing[0]}, which is" if len(missing) == 1 else f"packages {', '.join(missing)}, which are"
        raise UsageError(
            f"--format {name} needs the {are} not installed here.\nInstall with: pip install 'tui-trainer[export]'"
        )
    return FORMATS[name]


def told(trained: Trained) -> str:
    """Which weights these are, as a line."""
    parts = [f"{clean(trained.run)}: {trained.checkpoint}.pt"]
    if trained.epoch is not None:
        parts.append(f"epoch {trained.epoch:,}")
    if trained.step is not None:
        parts.append(f"step {trained.step:,}")
    if (accuracy := trained.scores.get("valid_accuracy")) is not None:
        parts.append(f"validation accuracy {percent(accuracy)}")
    if trained.averaged:
        parts.append(f"moving average of the weights ({number(trained.settings.ema)})")
    return ", ".join(parts)


def metadata(trained: Trained, found: Data) -> dict[str, str]:
    """What a program must know to use the file without the run; every value a text, lists and tables as JSON.

    `found` is the data of the run.
    """
    started, meaning = trained.started, trained.task.meaning
    if trained.probabilities is torch.sigmoid:
        meaning = "one raw output a class; sigmoid gives probabilities"
    facts: dict[str, Any] = {
        "task": trained.task.name,
        "labels": trained.classes,
        "input_shape": trained.shape,
        "preprocessing": trained.preprocessing(found),
        "outputs": meaning,
        "targets": {"mean": started.target_mean, "std": started.target_std} if started.target_mean else None,
        "run": trained.run,
        "model": trained.settings.model,
        "dataset": trained.settings.dataset,
        "checkpoint": trained.checkpoint,
        "weights": "moving average" if trained.averaged else "as trained",
        "epoch": trained.epoch,
        "step": trained.step,
        "score": trained.scores,
        "tui_trainer": version("tui-trainer"),
        "torch": version("torch"),
    }
    return {name: v if isinstance(v, str) else json.dumps(v) for name, v in facts.items() if v is not None}


# --- writing and checking -------------------------------------------------------------------------------------------


def _refuse(path: Path, force: bool) -> None:
    """Refuse a path where no file should be written.

    Raises:
        UsageError: a file is there already, or a folder.
    """
    shown = clean(path, 600)
    if os.path.isdir(path):
        raise UsageError(f"--output: {shown} is a folder. Name a file in it.")
    if os.path.lexists(path) and not force:
        raise UsageError(f"{shown} is there already. Overwrite it with --force, or say where with --output.")


def _write(kind: Format, trained: Trained, content: bytes, path: Path, X: Tensor, force: bool) -> float:
    """Put `content` at `path` once the file gives what the model gives; how far they differ.

    Raises:
        ModelError: they differ by too much, or the file cannot be used; it is gone again.
        OSError: it cannot be written.
    """
    path.parent.mkdir(mode=0o700, exist_ok=True)
    new = path.with_name(f".{path.name[:100]}.{uuid.uuid4().hex}.tmp")
    disk.write_whole(content, new)
    try:
        with _quiet(), _as_sentence(trained, kind):
            difference = difference_of(trained, kind.read(new, trained), X)
        if not difference <= TOLERANCE:
            raise ModelError(
                f"Exported as {kind.title}, the model of {clean(trained.run)} gives other outputs: they differ by "
                f"{number(difference, 2)} of the largest one, allowed is {TOLERANCE:.0e}. The file was removed.\n"
                "Try another --format."
            )
        _refuse(path, force)  # exporting has taken a while
        disk.DISK.replace(new, path)
    except BaseException:
        with contextlib.suppress(OSError):
            disk.DISK.unlink(new)
        raise
    return difference


def difference_of(trained: Trained, outputs: Outputs, X: Tensor) -> float:
    """The largest difference between the model's outputs and `outputs`, as a fraction of the model's largest output.

    The inputs X [N, C, H, W] come one alone, then an odd number, then many. What is not finite differs by infinity.
    The model itself computes in float32, whatever the run has trained in: so does the file.
    """
    model = torch.inference_mode()(trained.model)
    worst = largest = 0.0
    sizes = [1, 13, *[128] * (len(X) // 128 + 1)]
    first = 0
    for batch in sizes:
        part = X[first : first + batch]
        first += batch
        if not len(part):
            break
        wanted, found = model(part), outputs(part)
        if found.shape != wanted.shape or not bool(torch.isfinite(found).all()):
            return float("inf")
        worst = max(worst, float((wanted - found).abs().max()))
        largest = max(largest, float(wanted.abs().max()))
    return worst / largest if largest else worst


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Exporters talk, and warn of their own future: stdout is for the file's path alone."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _as_sentence(trained: Trained, kind: Format) -> Iterator[None]:
    """Whatever an exporter trips over, as a ModelError."""
    try:
        yield
    except (TrainerError, OSError, MemoryError):
        raise
    except Exception as error:
        text = clean(str(error).strip().split("\n")[0], 200)
        raise ModelError(
            f"{clean(short(trained.settings.model), 60)} cannot be exported as {kind.title}: {type(error).__name__}: "
            f"{text}. No file was kept.\nTry another --format."
        ) from error


# --- the formats ----------------------------------------------------------------------------------------------------


def _pack_safetensors(trained: Trained, _example: Tensor, about: dict[str, str]) -> bytes:
    """The weights by their names; two names of one tensor are written twice, as the format wants it."""
    from safetensors.torch import save

    weights = {name: tensor.contiguous().clone() for name, tensor in trained.model.state_dict().items()}
    return save(weights, {"format": "pt"} | about)


def _read_safetensors(path: Path, trained: Trained) -> Outputs:
    from safetensors.torch import load_file

    model = copy.deepcopy(trained.model)
    model.load_state_dict(load_file(path))
    return torch.inference_mode()(model)


def _pack_onnx(trained: Trained, example: Tensor, about: dict[str, str]) -> bytes:
    from onnx.helper import set_model_props

    program = torch.onnx.export(
        trained.model,
        (example,),
        dynamo=True,
        dynamic_shapes=({0: Dim("batch")},),
        input_names=[INPUT],
        output_names=[OUTPUT],
        external_data=False,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    if model.ByteSize() > LARGEST_ONNX:
        raise ModelError(
            f"The model has {size(model.ByteSize())}, and one ONNX file holds {size(LARGEST_ONNX)} at most.\n"
            "Try --format torch-export or safetensors."
        )
    set_model_props(model, about)
    return bytes(model.SerializeToString())


def _read_onnx(path: Path, _trained: Trained) -> Outputs:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda X: torch.from_numpy(session.run([OUTPUT], {INPUT: X.numpy()})[0])


def _pack_torch_export(trained: Trained, example: Tensor, about: dict[str, str]) -> bytes:
    program = torch.export.export(trained.model, (example,), dynamic_shapes=({0: Dim("batch")},))
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={METADATA: json.dumps(about)})
    return buffer.getvalue()


def _read_torch_export(path: Path, _trained: Trained) -> Outputs:
    with open(path, "rb") as file:
        return torch.inference_mode()(torch.export.load(file).module())


FORMATS: dict[str, Format] = {
    "safetensors": Format("safetensors", ".safetensors", ("safetensors",), _pack_safetensors, _read_safetensors),
    "onnx": Format("ONNX", ".onnx", ("onnx", "onnxscript", "onnxruntime"), _pack_onnx, _read_onnx),
    "torch-export": Format("torch.export program", ".pt2", (), _pack_torch_export, _read_torch_export),
}
"""What a model can be exported as, by the name of the option."""
