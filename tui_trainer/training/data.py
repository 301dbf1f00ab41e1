"""Data sets as tensors of bytes: found, read, checked and split."""

import gzip
import hashlib
import http.client
import os
import shutil
import urllib.request
import zlib
from collections.abc import Generator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from tui_trainer.catalog import DATASETS, IDX_FILES, find_files, idx_file, padded
from tui_trainer.errors import DataError
from tui_trainer.run.events import Event, Preparing, Warned
from tui_trainer.settings import Settings
from tui_trainer.text import clean, size

Batch = tuple[Tensor, Tensor]
"""X [B, C, H, W] float32 in 0 to 1, y [B] int64 class indices."""


class Images(Dataset[Batch]):
    """Labelled images, held as bytes and given out a whole batch at a time.

    `images` [N, C, H, W] uint8, `labels` [N] int64.
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, indices: Tensor) -> Batch:
        """The examples at `indices` [B], scaled to 0 to 1 as torchvision's ToTensor does."""
        return self.images[indices].float().div_(255), self.labels[indices]

    def none(self) -> Batch:
        """A batch of no examples."""
        return torch.empty(0, *self.images.shape[1:]), torch.empty(0, dtype=torch.int64)

    def part(self, indices: Tensor) -> "Images":
        return Images(self.images[indices], self.labels[indices])

    def to(self, device: torch.device) -> "Images":
        return Images(self.images.to(device), self.labels.to(device))

    def padded(self, pad: int) -> "Images":
        """The images with a black border of `pad` pixels."""
        return Images(F.pad(self.images, [pad] * 4), self.labels) if pad else self


@dataclass(frozen=True, slots=True)
class Data:
    """The splits of a run."""

    name: str
    """The data set really used; not the one asked for when that could not be had."""
    source: str
    """Where it came from, as a phrase."""
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    """Channels, height, width."""
    train: Images
    valid: Images
    test: Images | None
    """None when validation already uses the test split."""

    def fingerprint(self) -> dict[str, int]:
        """What tells whether these are the examples that a run has learned from: their numbers, and a checksum."""
        crc = 0
        for images in (self.train, self.valid):
            for tensor in (images.images, images.labels):
                crc = zlib.crc32(tensor.contiguous().numpy().data, crc)
        return {"train examples": len(self.train), "validation examples": len(self.valid), "checksum": crc}


def load(settings: Settings) -> Generator[Event, None, Data]:
    """The data set of the settings, split; downloaded when it is not on this machine.

    When it cannot be had and the user did not name it, the small one inside the package takes its place, loudly.

    Raises:
        DataError: the data is missing or damaged; the message names the file.
    """
    name, folder, source = settings.dataset, find_files(settings.dataset, settings.data_dir), ""
    if folder is None:
        try:
            folder = yield from download(Path(settings.data_dir).expanduser() / "FashionMNIST" / "raw")
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
        if tuple(images.images.shape[1:]) != facts.shape:
            raise DataError(f"The images in {clean(folder)} are {tuple(images.images.shape[1:])}, not {facts.shape}.")
        if int(images.labels.min()) < 0 or int(images.labels.max()) >= len(facts.classes):
            label = int(images.labels.max())
            raise DataError(f"Label {label} in {clean(folder)}, but there are {len(facts.classes)} classes.")
    train, test = train.padded(settings.pad), test.padded(settings.pad)
    held_out: Images | None = test
    if settings.overfit_batches:
        few = torch.arange(min(len(train), settings.overfit_batches * settings.batch_size))
        train = valid = train.part(few)
    elif settings.valid_fraction > 0:
        chosen = stratified(train.labels, settings.valid_fraction, settings.seed or 0)
        if chosen.all() or not chosen.any():
            raise DataError(
                f"valid_fraction {settings.valid_fraction:g} leaves no examples on one side of {len(train):,}. "
                "Choose another."
            )
        train, valid = train.part(~chosen), train.part(chosen)
    else:
        valid, held_out = test, None
    source = source or ("part of the program" if name == "fashion-mnist-mini" else f"found in {clean(folder)}")
    return Data(name, f"{name} {source}", facts.classes, padded(facts.shape, settings.pad), train, valid, held_out)


def stratified(labels: Tensor, fraction: float, seed: int) -> Tensor:
    """A mask [N] that is true for `fraction` of the examples of every class, drawn by `seed`."""
    generator = torch.Generator().manual_seed(seed % 2**63)
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label in torch.unique(labels):
        members = (labels == label).nonzero()[:, 0]
        shuffled = members[torch.randperm(len(members), generator=generator)]
        chosen[shuffled[: round(fraction * len(members))]] = True
    return chosen


def read_split(folder: Path, images_name: str, labels_name: str) -> Images:
    """Images [N, 1, H, W] and labels [N] from a pair of idx files, plain or .gz.

    Raises:
        DataError: a file is missing, cut short or not what its header says.
    """
    images, labels = read_idx(folder, images_name, 3), read_idx(folder, labels_name, 1)
    if len(images) != len(labels):
        raise DataError(f"{clean(folder)}: {len(images):,} images in {images_name}, but {len(labels):,} labels.")
    return Images(torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels).long())


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


def download(folder: Path) -> Generator[Event, None, Path]:
    """Fetch FashionMNIST into `folder`, from where torchvision fetches it, checked by torchvision's checksums.

    Raises:
        DataError: no mirror gave a file, or the folder cannot be written.
    """
    from torchvision.datasets import FashionMNIST  # 0.4 s, and only a download needs its list of files

    total, done = DATASETS["fashion-mnist"].download_bytes, 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, checksum in FashionMNIST.resources:
            target = folder / Path(name).stem
            if not target.is_file():
                packed = folder / f"{name}.part"
                yield from _fetch(FashionMNIST.mirrors, name, checksum, packed, done, total)
                with gzip.open(packed) as source, open(folder / f"{target.name}.part", "wb") as plain:
                    shutil.copyfileobj(source, plain)
                done += packed.stat().st_size
                os.replace(plain.name, target)
                packed.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"fashion-mnist cannot be saved in {clean(folder)}: {clean(reason)}.") from error
    return folder


def _fetch(
    mirrors: list[str], name: str, checksum: str, target: Path, done: int, total: int
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
    raise DataError(f"fashion-mnist is not on this machine and cannot be downloaded ({'; '.join(reasons)}).")
