"""What every peer shares: the data, the command line, the clock, and the line of JSON at the end.

Nothing here comes from tui_trainer: a peer must not win or lose by our code.
"""

import argparse
import gzip
import importlib.metadata
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts the four files."""
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
IN_TURN, ASKS = "TUI_TRAINER_BENCHMARK_IN_TURN", "--- may I train an epoch? ---"
"""The environment variable that makes a peer ask before each epoch, and its question; any line is a yes."""
BATCH, LR = 64, 1e-3
"""The tutorial's batch size and learning rate."""


def options(description: str | None, models: tuple[str, ...] = ("mlp", "cnn", "resnet18")) -> argparse.ArgumentParser:
    """The flags that every peer has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", choices=models, default="mlp")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps ...")
    parser.add_argument("--data", type=Path, default=DEBIAN, help="folder of the four files, unzipped or .gz")
    return parser


def plain_options(description: str | None) -> argparse.ArgumentParser:
    """The flags of the plain loops, which convolutional networks are compared with too."""
    parser = options(description)
    parser.add_argument("--pad", type=int, default=0, help="black pixels on every side: 2 makes 32 x 32")
    parser.add_argument("--optimizer", choices=("sgd", "adam"), default="sgd")
    parser.add_argument("--limit-batches", type=int, default=0, help="train on only so many batches an epoch; 0 is all")
    return parser


def read(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images [N, 28, 28] uint8 and labels [N] int64 of `train` or `t10k`."""
    images, labels = (_bytes(folder, name) for name in FILES if name.startswith(split))
    X = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28)
    return X, np.frombuffer(labels, np.uint8, offset=8).astype(np.int64)


def arrays(folder: Path, split: str, pad: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images [N, 1, H, W] float32 in 0 to 1, with a black border of `pad` pixels, and labels [N] int64."""
    X, y = read(folder, split)
    X = np.pad(X, ((0, 0), (pad, pad), (pad, pad)))[:, None]
    return X.astype(np.float32) / 255, y


def unzipped(folder: Path) -> Path:
    """A root folder as torchvision wants it: ROOT/FashionMNIST/raw with the four files unzipped. Made once and kept."""
    root = Path(tempfile.gettempdir()) / "tui-trainer-benchmarks"
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if not (raw / name).exists():
            half = raw / f"{name}.{os.getpid()}"  # whole or not there: another process may look
            half.write_bytes(_bytes(folder, name))
            shutil.move(half, raw / name)
    return root


def _bytes(folder: Path, name: str) -> bytes:
    path = folder / name
    return path.read_bytes() if path.exists() else gzip.decompress((folder / f"{name}.gz").read_bytes())


class Clock:
    """Seconds of each epoch, its evaluation included."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._began = 0.0

    def begin(self) -> None:
        if IN_TURN in os.environ:
            print(f"\n{ASKS}", flush=True)
            sys.stdin.readline()
        self._began = time.perf_counter()

    def end(self) -> None:
        self.seconds.append(time.perf_counter() - self._began)


def say(peer: str, distribution: str, clock: Clock, accuracy: float | None, loss: float | None) -> None:
    """Print the result as the last line of the output. `distribution` is what the version is asked of."""
    result = {
        "peer": peer,
        "version": importlib.metadata.version(distribution),
        "epoch_seconds": [round(s, 4) for s in clock.seconds],
        "accuracy": None if accuracy is None else round(float(accuracy), 4),
        "loss": None if loss is None else round(float(loss), 4),
    }
    print(json.dumps(result), flush=True)
