"""The data sets and models that can be named, as plain facts: enough to say what a run will be without torch."""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod
from pathlib import Path

HOME = Path(__file__).parents[1]


def names_in(folder: str) -> tuple[str, ...]:
    """The names that the files of a folder of this package stand for, without importing one: `kl_div`, `mlp`."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules([str(HOME / folder)]) if m.name[0] != "_"))


Shape = tuple[int, ...]
"""One input without its batch: channels, height, width of an image; the number of columns of a table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a class of torchvision.datasets is made, and where it keeps what it has read."""

    train: Mapping[str, object] = field(default_factory=dict)
    """The constructor's arguments for the training split, beside `root` and `download`."""
    valid: Mapping[str, object] | None = None
    """Those for a validation split; None when it has none."""
    test: Mapping[str, object] | None = None
    files: str = ""
    """Its attribute with the paths of the images, or with pairs of path and target; empty when it keeps none."""
    pixels: str = ""
    """Its attribute with all images in memory: an array, or pairs of image and target; empty for image files."""
    layout: str = "NHW"
    """The dimensions of `pixels`: NHW, NWH (images that lie on their side), NHWC or NCHW."""
    targets: str = "targets"
    """Its attribute with the targets, or with pairs that end in a target."""
    names: str = ""
    """Its attribute with the names of the classes, where the facts do not give them."""
    first: int = 0
    """The label of the first class."""
    as_on_disk: bool = False
    """torchvision lists its files or classes in the order that the disk has them in, which differs between machines."""
    present: tuple[str, ...] = ()
    """Files and folders in the data folder that are all there when it is."""
    needs: tuple[str, ...] = ()
    """Packages that torchvision reads it with, beside its own."""
    download_needs: tuple[str, ...] = ()
    """Packages that torchvision downloads it with."""
    by_hand: str = ""
    """What must be put into the data folder by hand when torchvision does not download it."""
    options: tuple[str, ...] = ()
    """Arguments of the constructor that may be set with dataset_arg."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFacts:
    """A labelled data set, and the splits it comes in."""

    title: str
    shape: tuple[int, int, int] | None
    """Channels, height, width of one image; None when they differ from image to image."""
    classes: tuple[str, ...] = ()
    """Empty when their names come with the data."""
    class_count: int = 0
    """How many classes there are when their names come with the data."""
    train_examples: int
    valid_examples: int = 0
    """0 when there is no validation split: a part of the training examples is held out, or the test split is used."""
    test_examples: int = 0
    """0 when there is no test split."""
    kind: str = "class"
    """What its targets are: class, or labels when an example may have several."""
    download_bytes: int = 0
    """What a download would transfer; 0 when there is nothing to download, or nobody says how much."""
    reader: str = "torchvision"
    """The file in training/data/readers/ that reads it."""
    torchvision: str = ""
    """Its class in torchvision.datasets."""
    recipe: Recipe = field(default_factory=Recipe)
    """What the reader `torchvision` needs to know."""

    @property
    def outputs(self) -> int:
        """How many classes or labels there are."""
        return len(self.classes) or self.class_count


class _Datasets(Mapping[str, DatasetFacts]):
    """Facts by the name of the data set; a file is imported when its facts are asked for."""

    def __init__(self) -> None:
        self._names = tuple(name.replace("_", "-") for name in names_in("catalog/datasets"))

    def __getitem__(self, name: str) -> DatasetFacts:
        if name not in self._names:
            raise KeyError(name)
        module = importlib.import_module(f"tui_trainer.catalog.datasets.{name.replace('-', '_')}")
        facts: DatasetFacts = module.FACTS
        return facts

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


DATASETS = _Datasets()

MINI_FOLDER = HOME / "catalog" / "fashion-mnist-mini"
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

    def parameters(self, shape: Shape, outputs: int) -> int:
        """Trainable numbers for inputs of `shape`, biases included."""
        total = 0
        if self.channels:
            inputs, height, width = shape
            for channels in self.channels:
                total += channels * (inputs * 9 + 1)
                inputs, height, width = channels, height // 2, width // 2
            shape = (inputs, height, width)
        widths = (prod(shape), *self.hidden, outputs)
        return total + sum(outs * (ins + 1) for ins, outs in pairwise(widths))

    def outline(self, shape: Shape, outputs: int) -> str:
        """The widths in reading order: `784-512-512-10`, `conv 32-64, 128-10`."""
        dense = "-".join(str(n) for n in (*self.hidden, outputs))
        if not self.channels:
            return f"{prod(shape)}-{dense}"
        return f"conv {'-'.join(str(n) for n in self.channels)}, {dense}"


MODELS: dict[str, ModelFacts] = {
    "mlp": ModelFacts("the tutorial's fully connected network", (), (512, 512)),
    "cnn": ModelFacts("a small convolutional network", (32, 64), (128,)),
}


def own_models() -> tuple[str, ...]:
    """The models of ours, a file each in training/models/builtin/; those whose facts are known here come first."""
    return (*MODELS, *(name for name in names_in("training/models/builtin") if name not in MODELS))


def padded(shape: tuple[int, int, int], pad: int) -> tuple[int, int, int]:
    """The shape [C, H, W] of images with a border of `pad` pixels."""
    return shape[0], shape[1] + 2 * pad, shape[2] + 2 * pad


def find_files(dataset: str, data_dir: str) -> Path | None:
    """The folder that holds the four idx files of `dataset`, unzipped or .gz, or None when they must be downloaded.

    Looked for in torchvision's layout below `data_dir` first, then where Debian's package puts them.
    """
    if dataset == "fashion-mnist-mini":
        return MINI_FOLDER
    places = [Path(data_dir).expanduser() / DATASETS[dataset].torchvision / "raw"]
    for folder in (*places, SYSTEM_FOLDER) if dataset == "fashion-mnist" else places:
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
