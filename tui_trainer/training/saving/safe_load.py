"""Checkpoints read with care: nothing in a file ever runs, and what is damaged or of another kind gets one sentence."""

import errno
import io
import os
import stat
import zipfile
from collections import OrderedDict
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from tui_trainer.errors import CheckpointError
from tui_trainer.text import clean, size
from tui_trainer.training.saving.pickle_program import foreign, refusal, rehearse

Checkpoint = dict[str, Any]
"""Plain containers and tensors: `epoch`, `model_state_dict`, `optimizer_state_dict`, `loss`, and more."""

LARGEST_PICKLE = 8_000_000
"""Bytes of data.pkl, the part beside the tensors' numbers; one byte of it can become a Python object of 64."""

DEEPEST = 50
"""Containers inside containers; an optimizer's state has five."""

MOST_ITEMS = 1_000_000
"""Items in all containers, counted each time they are met; to walk through more would take seconds."""

_TORCH_BEFORE_1_6 = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"

_OLDER = "Use an older checkpoint."


def load(path: Path) -> Checkpoint:
    """The checkpoint in `path`, its tensors on the CPU.

    Raises:
        CheckpointError: the file is missing, damaged or not a checkpoint; the message says which.
    """
    shown = clean(path)
    return unpack(_content(path, shown), shown)


def unpack(packed: bytes, shown: str) -> Checkpoint:
    """The checkpoint in the bytes of a file, its tensors on the CPU; `shown` names it in messages.

    Raises:
        CheckpointError: the bytes are damaged or not a checkpoint.
    """
    if reason := _other_format(packed):
        raise CheckpointError(f"{shown} {reason}")
    program, parts = _unzip(packed, shown)
    if name := foreign(program):
        raise CheckpointError(f"{shown} {refusal(name)}")
    try:
        rehearse(program, parts)
        content = torch.load(io.BytesIO(packed), map_location="cpu", weights_only=True)
    except RuntimeError as error:
        raise CheckpointError(f"{shown} is damaged (sizes disagree). {_OLDER}") from error
    except Exception as error:  # torch's own words recommend the unsafe way, so they go to the log only
        raise CheckpointError(
            f"{shown} is damaged or holds more than plain numbers; tui-trainer refuses it. {_OLDER}"
        ) from error
    if type(content) not in (dict, OrderedDict) or "model_state_dict" not in content:
        raise CheckpointError(f"{shown} is not a checkpoint of tui-trainer: it has no model_state_dict.")
    if place := not_plain(content):
        raise CheckpointError(f"{shown} holds more than plain numbers: {place}; tui-trainer refuses it.")
    for key in ("model_state_dict", "ema_state_dict"):
        weights = content.get(key)
        if weights is None and key != "model_state_dict":
            continue
        if not _is_state_dict(weights):
            raise CheckpointError(f"{shown} is damaged: its {key} is not a table of tensors by name. {_OLDER}")
        if bad := [name for name, tensor in weights.items() if not _is_finite(tensor)]:
            parts_hold = "1 part of its weights holds" if len(bad) == 1 else f"{len(bad)} parts of its weights hold"
            raise CheckpointError(f"{shown}: {parts_hold} NaN or infinity (first: {clean(bad[0], 80)}). {_OLDER}")
    return dict(content)


def not_plain(value: object) -> str | None:
    """Where in a checkpoint the first thing is that `unpack` would refuse, and what it is; None when all is plain.

    For instance `optimizer_state_dict.param_groups[0].lr (numpy.float64)`. To be asked before saving.
    """
    left = MOST_ITEMS

    def find(value: object, depth: int) -> str | None:
        nonlocal left
        kind = type(value)
        if value is None or kind in (str, float, bool):
            return None
        if isinstance(value, int) and kind is int:
            return " (a number of too many digits)" if value.bit_length() > 2000 else None
        if isinstance(value, Tensor):
            return _tensor_fault(value)
        if not isinstance(value, dict | list | tuple) or kind not in (dict, OrderedDict, list, tuple):
            return f" ({_type_name(value)})"
        left -= len(value)  # a list that holds one list ten times, and so on, would be walked for ever
        if depth > DEEPEST or left < 0:
            return " (too much, or nested too deep)"
        if isinstance(value, dict):
            extra = vars(value) if kind is OrderedDict else {}
            if extra.keys() - {"_metadata"}:
                return f" ({_type_name(value)} with attributes)"
            if (found := find(extra.get("_metadata"), depth + 1)) is not None:
                return f"._metadata{found}"
        items: Iterable[tuple[object, object]] = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            if isinstance(key, dict | list | tuple | Tensor) or find(key, depth + 1) is not None:
                return f" (a key that is a {_type_name(key)})"
            if (found := find(item, depth + 1)) is not None:
                return (f".{clean(key, 60)}" if isinstance(value, dict) else f"[{key}]") + found
        return None

    found = find(value, 0)
    return None if found is None else clean(found.lstrip(". "), 120)


def misfit(model_state: dict[str, Tensor], saved: dict[str, Tensor], shown: str) -> str | None:
    """The sentence for saved weights that are not those of the model; None when they fit."""
    missing = [name for name in model_state if name not in saved]
    too_many = [name for name in saved if name not in model_state]
    reshaped = [name for name in model_state if name in saved and saved[name].shape != model_state[name].shape]
    if not (missing or too_many or reshaped):
        return None
    if reshaped:
        name = reshaped[0]
        file, model = (clean(tuple(state[name].shape), 40) for state in (saved, model_state))
        first = f"{clean(name, 60)}: file {file}, model {model}"
    elif missing:
        first = f"{clean(missing[0], 60)}: not in the file"
    else:
        first = f"{clean(too_many[0], 60)}: not in the model"
    return (
        f"{shown} is from another model: {len(missing)} missing, {len(too_many)} too many, {len(reshaped)} of another "
        f"shape (first: {first})."
    )


def without_prefix(saved: dict[str, Tensor], model_state: Container[str] = ()) -> dict[str, Tensor]:
    """Weights by the names they have outside of DistributedDataParallel, which puts `module.` before each.

    Names that `model_state` has as they are stay so: a model may have a part that is called `module`.
    """
    if not all(name.startswith("module.") and name not in model_state for name in saved):
        return saved
    bare = OrderedDict(saved)
    if metadata := getattr(saved, "_metadata", None):
        vars(bare)["_metadata"] = OrderedDict(metadata)
    consume_prefix_in_state_dict_if_present(bare, "module.")
    return bare


# --- the file ------------------------------------------------------------------------------------------------------


def _content(path: Path, shown: str) -> bytes:
    """The bytes of a plain file; never waits, whatever else `path` is."""
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise CheckpointError(f"{shown} is not a plain file.")
            needed, free = 2 * status.st_size, psutil.virtual_memory().available
            if needed > free:
                raise CheckpointError(
                    f"{shown} has {size(status.st_size)}; to read it takes {size(needed)} of memory, and "
                    f"{size(free)} are free."
                )
            return file.read(status.st_size)
    except OSError as error:
        raise CheckpointError(f"{shown}{_why(error, path)}.") from error
    except ValueError as error:
        raise CheckpointError(f"{shown} is not a name that a file can have.") from error


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)


def _why(error: OSError, path: Path) -> str:
    if error.errno == errno.ENOENT:
        return ": there is no such file" + (" (it is a link to a missing file)" if path.is_symlink() else "")
    if error.errno == errno.EISDIR:
        return " is a folder; give the .pt file inside it"
    if error.errno in (errno.EACCES, errno.EPERM):
        return ": you may not read this file"
    if error.errno in (errno.ENXIO, errno.ENODEV):
        return " is not a plain file"
    return f": {error.strerror or type(error).__name__}"


# --- the bytes -----------------------------------------------------------------------------------------------------


def _other_format(packed: bytes) -> str | None:
    """What the bytes are when they do not begin as a checkpoint does; None when they do."""
    if not packed:
        return f"is empty (0 bytes); a save was probably cut off. {_OLDER}"
    if packed.count(0) == len(packed):
        return f"is filled with zeros; the disk lost the data. {_OLDER}"
    if b"PK\x03\x04".startswith(packed[:4]):
        return None
    start = packed[:1000].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        return "is a web page, not a checkpoint (a download that needed a login?)."
    if start.startswith(b"version https://git-lfs."):
        return "is a Git LFS pointer, not the checkpoint itself; run `git lfs pull`."
    if name := foreign(packed[:LARGEST_PICKLE]):
        return refusal(name)
    if packed.startswith(_TORCH_BEFORE_1_6):
        return "is in the format of PyTorch before 1.6; load it there and save it again with a newer PyTorch."
    if b"PK\x05\x06" in packed[-65557:]:  # the end of a zip file, and after it at most a comment
        return f"is damaged: it does not begin as a checkpoint. {_OLDER}"
    if all(byte >= 32 or byte in b"\t\n\f\r" for byte in start):
        return f"is a {'JSON ' if start[:1] in (b'{', b'[') else ''}text, not a checkpoint."
    return "is not a checkpoint."


def _unzip(packed: bytes, shown: str) -> tuple[bytes, Container[str]]:
    """data.pkl, and the names of all parts after the folder they are in; every part is whole.

    Raises:
        CheckpointError: the zip file is cut, damaged, or packed as torch never packs one.
    """
    cut = f"{shown} is cut short or damaged ({len(packed):,} bytes). {_OLDER}"
    try:
        archive = zipfile.ZipFile(io.BytesIO(packed))
        entries = archive.infolist()
    except Exception as error:
        raise CheckpointError(cut) from error
    folder = entries[0].filename.split("/")[0] + "/" if entries else ""
    names = {entry.filename.removeprefix(folder): entry for entry in entries}
    if "data.pkl" not in names:
        raise CheckpointError(f"{shown} is a zip file but not a checkpoint.")
    # torch inflates what is compressed, however large; leaves a part marked as a folder unread in memory; and takes
    # a name in capitals for the same part again
    if (
        any(entry.compress_type or entry.file_size != entry.compress_size for entry in entries)
        or any(entry.external_attr & 0x10 or not entry.filename.startswith(folder) for entry in entries)
        or len({name.lower() for name in names}) < len(entries)
        or sum(entry.file_size for entry in entries) > len(packed)
        or names["data.pkl"].file_size > LARGEST_PICKLE
    ):
        raise CheckpointError(
            f"{shown} is packed in a way tui-trainer never writes (possible zip bomb); tui-trainer refuses it."
        )
    try:
        damaged = archive.testzip()  # torch.load itself checks no checksum
    except Exception as error:
        raise CheckpointError(cut) from error
    if damaged:
        part = clean(damaged.removeprefix(folder), 80)
        raise CheckpointError(f"{shown} is damaged, part {part} fails its checksum. {_OLDER}")
    if "constants.pkl" in names:
        raise CheckpointError(f"{shown} {refusal('TorchScript')}")
    return archive.read(names["data.pkl"]), names.keys()


# --- the content ---------------------------------------------------------------------------------------------------


def _type_name(value: object) -> str:
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return clean(name, 80)


def _tensor_fault(tensor: Tensor) -> str | None:
    """What keeps a tensor from being saved and read as plain numbers."""
    if type(tensor) not in (Tensor, torch.nn.Parameter):
        return f" ({_type_name(tensor)})"
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_nested or tensor.device.type == "meta":
        return " (a tensor that is sparse, quantized, nested or without numbers)"
    if vars(tensor) or tensor._backward_hooks or tensor.is_conj() or tensor.is_neg():
        return " (a tensor with attributes)"
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return " (a tensor larger than its storage)"
    return None


def _is_state_dict(weights: object) -> bool:
    if not isinstance(weights, dict):
        return False
    metadata = getattr(weights, "_metadata", {})  # the versions of a model's parts
    return (
        all(type(name) is str and isinstance(tensor, Tensor) for name, tensor in weights.items())
        and isinstance(metadata, dict)
        and all(type(name) is str and isinstance(part, dict) for name, part in metadata.items())
    )


def _is_finite(tensor: Tensor) -> bool:
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    if tensor.element_size() == 1:  # the norm knows no 8-bit numbers
        tensor = tensor.float()
    return bool(torch.isfinite(torch.linalg.vector_norm(tensor.detach(), torch.inf)))
