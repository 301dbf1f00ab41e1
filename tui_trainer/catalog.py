"""The data sets and models that can be named, as plain facts: enough to say what a run will be without torch."""

from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """A labelled set of images that come in a training and a test split."""

    title: str
    shape: tuple[int, int, int]
    """Channels, height, width of one image."""
    classes: tuple[str, ...]
    train_examples: int
    test_examples: int
    download_bytes: int
    """What a download would transfer; 0 when the data is part of the package."""


_FASHION = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")

DATASETS: dict[str, DatasetFacts] = {
    "fashion-mnist": DatasetFacts("FashionMNIST", (1, 28, 28), _FASHION, 60_000, 10_000, 30_878_645),
    "fashion-mnist-mini": DatasetFacts("5,000 + 1,000 images of FashionMNIST", (1, 28, 28), _FASHION, 5_000, 1_000, 0),
}

MINI_FOLDER = Path(__file__).parent / "data" / "fashion-mnist-mini"
SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package `dataset-fashion-mnist` puts the real files."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model of ours: what it is in one line, and the widths it is built from."""

    title: str
    channels: tuple[int, ...]
    """Output channels of its 3x3 convolutions, each followed by a 2x2 pooling."""
    hidden: tuple[int, ...]
    """Widths of its hidden linear layers."""

    def parameters(self, shape: tuple[int, int, int], classes: int) -> int:
        """Trainable numbers for images of `shape` [C, H, W], biases included."""
        inputs, height, width = shape
        total = 0
        for outputs in self.channels:
            total += outputs * (inputs * 9 + 1)
            inputs, height, width = outputs, height // 2, width // 2
        widths = (prod((inputs, height, width)), *self.hidden, classes)
        return total + sum(outs * (ins + 1) for ins, outs in pairwise(widths))

    def outline(self, shape: tuple[int, int, int], classes: int) -> str:
        """The widths in reading order: `784-512-512-10`, `conv 32-64, 128-10`."""
        dense = "-".join(str(n) for n in (*self.hidden, classes))
        if not self.channels:
            return f"{prod(shape)}-{dense}"
        return f"conv {'-'.join(str(n) for n in self.channels)}, {dense}"


@dataclass(frozen=True, slots=True)
class ResNetFacts:
    """A residual network of torchvision: how many blocks of two 3x3 convolutions each of its stages has."""

    title: str
    blocks: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512)
    """Output channels of each stage."""

    def parameters(self, shape: tuple[int, int, int], classes: int) -> int:
        """Trainable numbers for images of `shape` [C, H, W]: convolutions without biases, each with a normalisation."""
        inputs = self.widths[0]
        total = inputs * (shape[0] * 49 + 2)
        for stage, (width, blocks) in enumerate(zip(self.widths, self.blocks, strict=True)):
            for block in range(blocks):
                total += width * (inputs * 9 + 2) + width * (width * 9 + 2)
                if stage and not block:
                    total += width * (inputs + 2)  # the shortcut past a block that halves the image
                inputs = width
        return total + classes * (inputs + 1)

    def outline(self, shape: tuple[int, int, int], classes: int) -> str:
        """The widths in reading order."""
        return f"{'-'.join(str(n) for n in self.widths)}, {classes}"


MODELS: dict[str, ModelFacts | ResNetFacts] = {
    "mlp": ModelFacts("the tutorial's fully connected network", (), (512, 512)),
    "cnn": ModelFacts("a small convolutional network", (32, 64), (128,)),
    "resnet18": ResNetFacts("torchvision's ResNet-18", (2, 2, 2, 2)),
}


def padded(shape: tuple[int, int, int], pad: int) -> tuple[int, int, int]:
    """The shape [C, H, W] of images with a border of `pad` pixels."""
    return shape[0], shape[1] + 2 * pad, shape[2] + 2 * pad


def find_files(dataset: str, data_dir: str) -> Path | None:
    """The folder that holds the four files of `dataset`, unzipped or .gz, or None when they must be downloaded.

    Looked for in torchvision's layout below `data_dir` first, then where Debian's package puts them.
    """
    if dataset == "fashion-mnist-mini":
        return MINI_FOLDER
    for folder in (Path(data_dir).expanduser() / "FashionMNIST" / "raw", SYSTEM_FOLDER):
        if all(idx_file(folder, name) for name in IDX_FILES):
            return folder
    return None


IDX_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def idx_file(folder: Path, name: str) -> Path | None:
    """`name` or `name.gz` in `folder`, whichever is there."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    return None
