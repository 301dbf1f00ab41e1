"""Data sets in idx files, as FashionMNIST and MNIST come: found, downloaded where they are not, read and checked."""

import gzip
import hashlib
import http.client
import os
import shutil
import urllib.request
import zlib
from collections.abc import Generator
from math import prod
from pathlib import Path

import numpy as np
import torch

from tui_trainer.catalog import DATASETS, IDX_FILES, find_files, idx_file
from tui_trainer.errors import DataError
from tui_trainer.run.events import Event, Preparing, Warned
from tui_trainer.settings.schema import Settings
from tui_trainer.text import clean, size
from tui_trainer.training.data.examples import Source, Tensors
from tui_trainer.training.data.readers.torchvision import typed


def read(settings: Settings, name: str) -> Generator[Event, None, Source]:
    """The data set `name`; downloaded when it is not on this machine.

    When fashion-mnist cannot be had and the user did not name it, the small one inside the package takes its place,
    loudly.

    Raises:
        DataError: the data is missing or damaged; the message names the file.
    """
    typed(settings, ())
    folder, source = find_files(name, settings.data_dir), ""
    if folder is None:
        try:
            folder = yield from download(name, settings.data_dir)
            source = "downloaded"
        except DataError as error:
            if "dataset" in settings.model_fields_set:
                raise DataError(
                    f"{error}\nNothing was trained. Copy the files there, or use the images inside the program: "
                    "--dataset fashion-mnist-mini"
                ) from error
            name, folder = "fashion-mnist-mini", find_files("fashion-mnist-mini", settings.data_dir)
            yield Warned(
                text=f"{clean(error)} Training on fashion-mnist-mini instead: 5,000 + 1,000 real images of it that are "
                "part of this program. Scores will be lower."
            )
    assert folder is not None
    facts = DATASETS[name]
    train = read_split(folder, *IDX_FILES[:2])
    test = read_split(folder, *IDX_FILES[2:])
    for split, images in (("training", train), ("test", test)):
        if len(images) == 0:
            raise DataError(f"The {split} split in {clean(folder)} has no examples. Replace its files.")
        if images.shape != facts.shape:
            raise DataError(f"The images in {clean(folder)} are {images.shape}, not {facts.shape}.")
        if int(images.targets.min()) < 0 or int(images.targets.max()) >= len(facts.classes):
            label = int(images.targets.max())
            raise DataError(f"Label {label} in {clean(folder)}, but there are {len(facts.classes)} classes.")
    source = source or ("part of the program" if name == "fashion-mnist-mini" else f"found in {clean(folder)}")
    return Source(name=name, source=f"{name} {source}", classes=facts.classes, kind="class", train=train, test=test)


def read_split(folder: Path, images_name: str, labels_name: str) -> Tensors:
    """Images [N, 1, H, W] and labels [N] from a pair of idx files, plain or .gz.

    Raises:
        DataError: a file is missing, cut short or not what its header says.
    """
    images, labels = read_idx(folder, images_name, 3), read_idx(folder, labels_name, 1)
    if len(images) != len(labels):
        raise DataError(f"{clean(folder)}: {len(images):,} images in {images_name}, but {len(labels):,} labels.")
    return Tensors(torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels).long())


def read_idx(folder: Path, name: str, dimensions: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    """The array of bytes in an idx file: 4 bytes of magic, a big-endian length a dimension, then the values."""
    path = idx_file(folder, name)
    if path is None:
        raise DataError(f"{clean(folder / name)}: there is no such file.")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or "the compressed data is cut short or damaged"
        raise DataError(f"{clean(path)}: {reason}. Replace the file.") from error
    header = 4 + 4 * dimensions
    magic = int.from_bytes(content[:4], "big")
    if len(content) < header or magic != 0x800 + dimensions:
        raise DataError(f"{clean(path)}: not an idx file of {dimensions} dimensions (it begins {content[:4].hex()}).")
    shape = tuple(int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(dimensions))
    if len(content) != header + prod(shape):
        raise DataError(
            f"{clean(path)}: expected {header + prod(shape):,} bytes, found {len(content):,}. Replace the file."
        )
    return np.frombuffer(bytearray(content), np.uint8, offset=header).reshape(shape)


def download(dataset: str, data_dir: str) -> Generator[Event, None, Path]:
    """Fetch a data set into its folder, from where torchvision fetches it, checked by torchvision's checksums.

    Raises:
        DataError: no mirror gave a file, or the folder cannot be written.
    """
    from torchvision import datasets  # 0.4 s, and only a download needs its list of files

    facts = DATASETS[dataset]
    kind = getattr(datasets, facts.torchvision)
    folder = Path(data_dir).expanduser() / facts.torchvision / "raw"
    total, done = facts.download_bytes, 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, checksum in kind.resources:
            target = folder / Path(name).stem
            if not target.is_file():
                packed = folder / f"{name}.part"
                yield from _fetch(dataset, kind.mirrors, name, checksum, packed, done, total)
                with gzip.open(packed) as source, open(folder / f"{target.name}.part", "wb") as plain:
                    shutil.copyfileobj(source, plain)
                done += packed.stat().st_size
                os.replace(plain.name, target)
                packed.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"{dataset} cannot be saved in {clean(folder)}: {clean(reason)}.") from error
    return folder


def _fetch(
    dataset: str, mirrors: list[str], name: str, checksum: str, target: Path, done: int, total: int
) -> Generator[Event, None, None]:
    """One file of a download, from the first mirror that has it whole."""
    reasons = []
    before = done
    for mirror in mirrors:
        done = before
        digest = hashlib.md5(usedforsecurity=False)
        try:
            request = urllib.request.Request(mirror + name, headers={"User-Agent": "tui-trainer"})
            with urllib.request.urlopen(request, timeout=20) as answer, open(target, "wb") as file:
                while chunk := answer.read(1 << 18):
                    file.write(chunk)
                    digest.update(chunk)
                    done += len(chunk)
                    yield Preparing(what=f"downloading data: {size(done)} of {size(total)}")
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            reasons.append(f"{mirror}: {clean(getattr(reason, 'strerror', None) or reason, 80)}")
            continue
        if digest.hexdigest() == checksum:
            return
        reasons.append(f"{mirror}: the file has another checksum")
    target.unlink(missing_ok=True)
    raise DataError(f"{dataset} is not on this machine and cannot be downloaded ({'; '.join(reasons)}).")
