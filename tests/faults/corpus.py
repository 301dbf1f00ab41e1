"""Files that are no checkpoint, each with the sentence it must get. What would run in one makes a folder, no more."""

import argparse
import collections
import datetime
import io
import json
import os
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

OLDER = "Use an older checkpoint."
RAN = "it ran"
"""The folder that exists after any of these files ran."""


def pack(content: object) -> bytes:
    """What torch itself would save, whatever it is."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


class MakesFolder:
    """Runs when unpickled by anybody careless."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (RAN,)


class Evaluates:
    """The same by way of `eval`."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return eval, (f"__import__('os').mkdir({RAN!r})",)


class Calls:
    """A call of what torch itself takes for harmless."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def checkpoint() -> dict[str, Any]:
    """A small one with all kinds of content: weights, Adam's moments, random numbers, settings."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
        optimizer = torch.optim.Adam(model.parameters())
        model(torch.rand(3, 4)).sum().backward()
        optimizer.step()
        rng = {"torch": torch.get_rng_state(), "python": [3, list(range(40)), None], "cuda": []}
    return {
        "format": 1,
        "epoch": 2,
        "model_state_dict": model.state_dict(),
        "ema_state_dict": None,
        "optimizer_state_dict": optimizer.state_dict(),
        "loss": 0.25,
        "done": False,
        "rng": rng,
        "settings": json.dumps({"lr": 1e-3}),
    }


def unzipped(packed: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        return {entry.filename: archive.read(entry) for entry in archive.infolist()}


def zipped(files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    with zipfile.ZipFile(buffer := io.BytesIO(), "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return buffer.getvalue()


def with_part(packed: bytes, name: str, content: bytes) -> bytes:
    """The same checkpoint with another part under this name, all checksums right."""
    return zipped(unzipped(packed) | {f"archive/{name}": content})


def pickled(program: bytes) -> bytes:
    """A checkpoint with this pickle in it."""
    return with_part(pack({"model_state_dict": {}}), "data.pkl", program)


def flipped(packed: bytes, at: int, bit: int) -> bytes:
    return packed[:at] + bytes([packed[at] ^ 1 << bit]) + packed[at + 1 :]


def before_1_6(content: object) -> bytes:
    torch.save(content, buffer := io.BytesIO(), _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def in_protocol_4(content: object) -> bytes:
    torch.save(content, buffer := io.BytesIO(), pickle_protocol=4)
    return buffer.getvalue()


def nested(depth: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


def laughing(times: int) -> list[Any]:
    """Few bytes; walked in full, 10 to the power of `times` lists."""
    inner: list[Any] = []
    for _ in range(times):
        inner = [inner] * 10
    return inner


def copying() -> bytes:
    """A pickle that copies a dict of 1,000 entries 1,000 times."""
    program = b"\x80\x02]q\x00(" + b"".join(b"K\x00M%b\x86" % i.to_bytes(2, "little") for i in range(1000)) + b"e0"
    program = program[:-1] + b"ccollections\nOrderedDict\nq\x01"
    return program + b"(" + b"h\x01h\x00\x85R" * 1000 + b"l."


def refused(name: str) -> str:
    return (
        f"holds a Python object ({name}) and not only numbers; tui-trainer refuses it. "
        "Export the weights as a state dict."
    )


WHOLE = pack(checkpoint())
WEIGHTS = checkpoint()["model_state_dict"]

_BOMB_WAY = "is packed in a way tui-trainer never writes (possible zip bomb); tui-trainer refuses it."
_NO_TRAINER = "is not a checkpoint of tui-trainer: it has no model_state_dict."
_UNPLAIN = f"is damaged or holds more than plain numbers; tui-trainer refuses it. {OLDER}"


def _cut(packed: bytes) -> tuple[bytes, str]:
    return packed, f"is cut short or damaged ({len(packed):,} bytes). {OLDER}"


def _holding(value: object) -> bytes:
    return pack(checkpoint() | {"extra": value})


def _folder_in_zip() -> bytes:
    entry = WHOLE.index(b"PK\x01\x02", WHOLE.rindex(b"archive/byteorder"))
    assert WHOLE[entry + 46 :].startswith(b"archive/data/0")
    return flipped(WHOLE, entry + 38, 4)


def _twice() -> bytes:
    files = unzipped(WHOLE)
    return zipped(files | {"archive/DATA/0": files["archive/data/0"]})


def _in_data(bit: int) -> bytes:
    return flipped(WHOLE, WHOLE.index(next(iter(WEIGHTS.values())).numpy().tobytes()) + 5, bit)


BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", f"is empty (0 bytes); a save was probably cut off. {OLDER}"),
    "three bytes": _cut(WHOLE[:3]),
    **{f"cut to {part} %": _cut(WHOLE[: len(WHOLE) * part // 100]) for part in (1, 10, 50, 99)},
    "last byte missing": _cut(WHOLE[:-1]),
    "zeros": (bytes(5000), f"is filled with zeros; the disk lost the data. {OLDER}"),
    "a bit of the data": (_in_data(3), f"is damaged, part data/0 fails its checksum. {OLDER}"),
    "a bit of the pickle": (
        flipped(WHOLE, WHOLE.index(b"model_state_dict"), 0),
        f"is damaged, part data.pkl fails its checksum. {OLDER}",
    ),
    "a bit of the first byte": (flipped(WHOLE, 0, 0), f"is damaged: it does not begin as a checkpoint. {OLDER}"),
    "a text": (b"epoch: 1\n", "is a text, not a checkpoint."),
    "a text that begins as a pickle": (b"config\nmodel\nlr: 1\n", "is a text, not a checkpoint."),
    "JSON": (b'{"model_state_dict": {}}', "is a JSON text, not a checkpoint."),
    "random bytes": (random.Random(0).randbytes(3000), "is not a checkpoint."),
    "a web page": (
        b"\n<!DOCTYPE html><html><body>Log in",
        "is a web page, not a checkpoint (a download that needed a login?).",
    ),
    "Git LFS": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "is a Git LFS pointer, not the checkpoint itself; run `git lfs pull`.",
    ),
    "a zip file": (zipped({"readme.txt": b"hello"}), "is a zip file but not a checkpoint."),
    "an empty zip file": (zipped({}), f"is damaged: it does not begin as a checkpoint. {OLDER}"),
    "code": (_holding(MakesFolder()), refused("posix.mkdir")),
    "code in place of the checkpoint": (pack(MakesFolder()), refused("posix.mkdir")),
    "code, protocol 4": (in_protocol_4({"model_state_dict": MakesFolder()}), refused("posix.mkdir")),
    "code, bare pickle": (pickle.dumps(MakesFolder()), refused("posix.mkdir")),
    "code, bare pickle, protocol 2": (pickle.dumps(MakesFolder(), protocol=2), refused("posix.mkdir")),
    "code, bare pickle, protocol 0": (pickle.dumps(MakesFolder(), protocol=0), refused("posix.mkdir")),
    "code, before 1.6": (before_1_6({"model_state_dict": MakesFolder()}), refused("posix.mkdir")),
    "eval": (_holding(Evaluates()), refused("builtins.eval")),
    "eval, bare pickle": (pickle.dumps(Evaluates(), protocol=0), refused("builtins.eval")),
    "numbers, before 1.6": (
        before_1_6(checkpoint()),
        "is in the format of PyTorch before 1.6; load it there and save it again with a newer PyTorch.",
    ),
    "a whole model": (pack(nn.Linear(2, 2)), refused("torch.nn.modules.linear.Linear")),
    "a Namespace": (_holding(argparse.Namespace(lr=1)), refused("argparse.Namespace")),
    "a Path": (_holding(Path("x")), refused("pathlib.PosixPath")),
    "a datetime": (_holding(datetime.datetime(2026, 1, 1)), refused("datetime.datetime")),
    "a defaultdict": (_holding(collections.defaultdict(int)), refused("collections.defaultdict")),
    "a number of numpy": (_holding(np.float64(1)), refused("numpy._core.multiarray.scalar")),
    "numpy's random numbers": (_holding(np.random.get_state()), refused("numpy._core.multiarray._reconstruct")),
    "a set": (_holding({1}), refused("builtins.set")),
    "TorchScript": (with_part(WHOLE, "constants.pkl", b"\x80\x02)."), refused("TorchScript")),
    "bare weights": (pack(WEIGHTS), _NO_TRAINER),
    "a list": (pack([1, 2]), _NO_TRAINER),
    "a tensor": (pack(torch.ones(3)), _NO_TRAINER),
    "weights that are a number": (
        pack({"model_state_dict": 1}),
        f"is damaged: its model_state_dict is not a table of tensors by name. {OLDER}",
    ),
    "weights without names": (
        pack({"model_state_dict": {0: torch.ones(1)}}),
        f"is damaged: its model_state_dict is not a table of tensors by name. {OLDER}",
    ),
    "data shorter than the tensor": (with_part(WHOLE, "data/0", bytes(8)), f"is damaged (sizes disagree). {OLDER}"),
    "a part is missing": (
        zipped({name: part for name, part in unzipped(WHOLE).items() if name != "archive/data/0"}),
        _UNPLAIN,
    ),
    "NaN": (
        pack({"model_state_dict": {"0.weight": torch.tensor([1, float("nan")]), "0.bias": torch.ones(1)}}),
        f": 1 part of its weights holds NaN or infinity (first: 0.weight). {OLDER}",
    ),
    "a zip bomb": (zipped(unzipped(pack({"model_state_dict": {"w": torch.zeros(1 << 20)}})), 8), _BOMB_WAY),
    "a part that is a folder": (_folder_in_zip(), _BOMB_WAY),
    "one part in two spellings": (_twice(), _BOMB_WAY),
    "a part in another folder": (zipped(unzipped(WHOLE) | {"other/data/0": b""}), _BOMB_WAY),
    "a pickle of 9 MB": (pickled(b"\x80\x02" + b"N0" * 4_500_000 + b"N."), _BOMB_WAY),
    "4 TiB": (
        pack({"model_state_dict": {"w": torch.ones(1).expand(1 << 20, 1 << 20)}}),
        "holds more than plain numbers: model_state_dict.w (a tensor larger than its storage); tui-trainer refuses it.",
    ),
    "1 GB": (_holding(Calls(bytearray, 10**9)), refused("builtins.bytearray")),
    "4 GB": (_holding(Calls(torch.FloatTensor, 10**9)), refused("torch.FloatTensor")),
    "4 GB in a storage": (pickled(b"\x80\x02ctorch.storage\nUntypedStorage\nJ\xff\xff\xff\x7f\x85R."), _UNPLAIN),
    "a dict copied over and over": (pickled(copying()), _UNPLAIN),
    "deep": (
        _holding(nested(100)),
        f"holds more than plain numbers: extra{'[0]' * 38}…; tui-trainer refuses it.",
    ),
    "a billion laughs": (
        _holding(laughing(9)),
        "holds more than plain numbers: extra[0][0][0][8][9][9][8][6] (too much, or nested too deep); "
        "tui-trainer refuses it.",
    ),
    "a sparse tensor": (_holding(torch.eye(2).to_sparse()), refused("torch._utils._rebuild_sparse_tensor")),
    "markup and codes in a name": (
        pickled(b"\x80\x02cevil[red]\x1b]0;title\x07\nName[/nope]\n)R."),
        refused(r"evil[red]\x1b]0;title\x07.Name[/nope]"),
    ),
    "codes in a name of a tensor": (
        pack({"model_state_dict": {"\x1b[2J": torch.tensor(float("inf"))}}),
        rf": 1 part of its weights holds NaN or infinity (first: \x1b[2J). {OLDER}",
    ),
    "codes in a name of a part": (
        zipped(unzipped(WHOLE) | {"archive/\x1b[2J": b"marker"}).replace(b"marker", b"market"),
        rf"is damaged, part \x1b[2J fails its checksum. {OLDER}",
    ),
}
"""What is in the file, and all of the sentence after the name of the file."""
