"""Small data sets in the formats in which torchvision's are downloaded, made of real pixels."""

import bz2
import csv
import hashlib
import json
import pickle
import struct
import sys
import types
from collections.abc import Callable
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from tests.training.plain_loop import mini

Patch = pytest.MonkeyPatch


@cache
def pictures(count: int, side: int = 28, colours: int = 0) -> Any:
    """Real images of clothes: [N, side, side], or [N, side, side, colours]."""
    images = (mini("train")[0][:count, 0] * 255).round().to(torch.uint8).numpy()
    held = [np.asarray(Image.fromarray(image).resize((side, side))) for image in images]
    made = np.stack(held)
    return np.stack([np.roll(made, k, axis=2) for k in range(colours)], axis=3) if colours else made


def idx(values: Any, kind: int = 8) -> bytes:
    return struct.pack(f">{1 + values.ndim}I", kind * 256 + values.ndim, *values.shape) + values.tobytes()


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def image(path: Path, number: int, side: tuple[int, int] = (30, 20), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pictures(20)[number % 20]).convert(mode).resize(side).save(path)


def mnist(root: Path, _: Patch, name: str = "MNIST") -> None:
    for prefix, count in (("train", 20), ("t10k", 10)):
        write(root / name / "raw" / f"{prefix}-images-idx3-ubyte", idx(pictures(count)))
        write(root / name / "raw" / f"{prefix}-labels-idx1-ubyte", idx(np.arange(count, dtype=np.uint8) % 10))


def kmnist(root: Path, patch: Patch) -> None:
    mnist(root, patch, "KMNIST")


def qmnist(root: Path, _: Patch) -> None:
    for split, count in (("train", 20), ("test", 10)):
        labels = np.zeros((count, 8), ">i4")
        labels[:, 0], labels[:, 1] = np.arange(count) % 10, 77
        write(root / "QMNIST" / "raw" / f"qmnist-{split}-images-idx3-ubyte", idx(pictures(count)))
        write(root / "QMNIST" / "raw" / f"qmnist-{split}-labels-idx2-int", idx(labels, 12))


def emnist(split: str, first: int, classes: int) -> Callable[[Path, Patch], None]:
    def make(root: Path, _: Patch) -> None:
        for word, count in (("train", 2 * classes), ("test", classes)):
            begin = root / "EMNIST" / "raw" / f"emnist-{split}-{word}"
            write(begin.with_name(f"{begin.name}-images-idx3-ubyte"), idx(pictures(count).transpose(0, 2, 1).copy()))
            labels = (np.arange(count) % classes + first).astype(np.uint8)
            write(begin.with_name(f"{begin.name}-labels-idx1-ubyte"), idx(labels))

    return make


def cifar(kind: Any, key: str, classes: int) -> Callable[[Path, Patch], None]:
    def make(root: Path, patch: Patch) -> None:
        folder, lists = root / kind.base_folder, {}
        for which in ("train_list", "test_list"):
            lists[which] = []
            for name, _ in getattr(kind, which):
                pixels = pictures(classes, 32, 3).transpose(0, 3, 1, 2).reshape(classes, -1)
                batch = {"data": pixels, key: list(range(classes))}
                lists[which].append([name, md5(write(folder / name, pickle.dumps(batch, protocol=2)))])
            patch.setattr(kind, which, lists[which])
        names = {kind.meta["key"]: [f"kind {n}" for n in range(classes)]}
        meta = write(folder / kind.meta["filename"], pickle.dumps(names))
        patch.setattr(kind, "meta", kind.meta | {"md5": md5(meta)})

    return make


def stl10(root: Path, patch: Patch) -> None:
    folder = root / "stl10_binary"
    for which, word in (("train_list", "train"), ("test_list", "test")):
        count = 20 if word == "train" else 10
        images = pictures(count, 96, 3).transpose(0, 3, 2, 1)
        files = [write(folder / f"{word}_X.bin", images.tobytes())]
        files.append(write(folder / f"{word}_y.bin", (np.arange(count, dtype=np.uint8) % 10 + 1).tobytes()))
        files += [write(folder / "unlabeled_X.bin", b"")] if word == "train" else []
        patch.setattr(datasets.STL10, which, [[file.name, md5(file)] for file in files])


def usps(root: Path, _: Patch) -> None:
    for name, count in (("usps.bz2", 20), ("usps.t.bz2", 10)):
        rows = pictures(count, 16).reshape(count, -1) / 127.5 - 1
        lines = [f"{n % 10 + 1} " + " ".join(f"{k}:{v:.6f}" for k, v in enumerate(r, 1)) for n, r in enumerate(rows)]
        write(root / name, bz2.compress("\n".join(lines).encode()))


def semeion(root: Path, patch: Patch) -> None:
    rows = np.concatenate([pictures(20, 16).reshape(20, -1) > 127, np.eye(10)[np.arange(20) % 10]], axis=1)
    text = "\n".join(" ".join(f"{value:.4f}" for value in row) for row in rows)
    patch.setattr(datasets.SEMEION, "md5_checksum", md5(write(root / "semeion.data", text)))


def gtsrb(root: Path, _: Patch) -> None:
    base = root / "gtsrb"
    for n in range(43):
        image(base / "GTSRB" / "Training" / f"{n:05d}" / "0.ppm", n)
    rows = [("Filename", "ClassId"), *((f"{n:05d}.ppm", 42 - n) for n in range(5))]
    for name, _n in rows[1:]:
        image(base / "GTSRB" / "Final_Test" / "Images" / str(name), 3)
    with open(base / "GT-final_test.csv", "w") as file:
        csv.writer(file, delimiter=";").writerows(rows)


def food101(root: Path, _: Patch) -> None:
    base = root / "food-101"
    for split, numbers in (("train", (0, 1)), ("test", (2,))):
        listed = {name: [f"{name}/{n}" for n in numbers] for name in ("waffles", "apple_pie")}
        write(base / "meta" / f"{split}.json", json.dumps(listed))
        for paths in listed.values():
            for path in paths:
                image(base / "images" / f"{path}.jpg", int(path[-1]))


def pets(root: Path, _: Patch) -> None:
    base = root / "oxford-iiit-pet"
    for split, count in (("trainval", 3), ("test", 2)):
        names = [(f"{kind}_{split}{n}", k) for k, kind in ((1, "Abyssinian"), (2, "great_dane")) for n in range(count)]
        write(base / "annotations" / f"{split}.txt", "".join(f"{name} {k} 1 1\n" for name, k in names))
        for n, (name, _k) in enumerate(names):
            image(base / "images" / f"{name}.jpg", n)


def dtd(root: Path, _: Patch) -> None:
    base = root / "dtd" / "dtd"
    for partition in (1, 2):
        for number, split in enumerate(("train", "val", "test")):
            names = [f"{kind}/{split}{number}.jpg" for kind in ("woven", "banded")][: 3 - partition]
            write(base / "labels" / f"{split}{partition}.txt", "\n".join(names))
            for name in names:
                image(base / "images" / name, number)


def folders(base: str, *splits: str, names: tuple[str, ...], ending: str = "jpg") -> Callable[[Path, Patch], None]:
    def make(root: Path, _: Patch) -> None:
        for number, split in enumerate(splits):
            for name in names:
                for n in range(3 - number):
                    image(root / base / split / name / f"{n}.{ending}", n + number)

    return make


def aircraft(root: Path, _: Patch) -> None:
    base = root / "fgvc-aircraft-2013b" / "data"
    write(base / "variants.txt", "707-320\nAn 12\n")
    for split in ("train", "val", "test"):
        write(base / f"images_variant_{split}.txt", f"1{split} 707-320\n2{split} An 12\n")
        for number in "12":
            image(base / "images" / f"{number}{split}.jpg", int(number))


def fer2013(root: Path, patch: Patch) -> None:
    rows = ["emotion,pixels,Usage"]
    for n, picture in enumerate(pictures(20, 48)):
        usage = "Training" if n < 14 else "PublicTest"
        rows.append(f"{n % 7},{' '.join(map(str, picture.reshape(-1)))},{usage}")
    path = write(root / "fer2013" / "fer2013.csv", "\n".join(rows))
    known = datasets.FER2013._RESOURCES
    patch.setattr(datasets.FER2013, "_RESOURCES", known | {"fer": ("fer2013.csv", md5(path))})


def caltech101(root: Path, patch: Patch) -> None:
    _scipy(patch)  # torchvision wants it when it gives an image, and is not asked to
    for name in ("BACKGROUND_Google", "ant", "wrench"):
        for n in (1, 2, 3):
            image(root / "caltech101" / "101_ObjectCategories" / name / f"image_{n:04d}.jpg", n, mode="L")


def caltech256(root: Path, _: Patch) -> None:
    for k, name in enumerate(("001.ak47", "002.flag"), 1):
        for n in (1, 2, 3):
            image(root / "caltech256" / "256_ObjectCategories" / name / f"{k:03d}_{n:04d}.jpg", n)


def sun397(root: Path, _: Patch) -> None:
    write(root / "SUN397" / "ClassName.txt", "/a/abbey\n/c/cafe/indoor\n")
    for path in ("a/abbey/sun_2.jpg", "a/abbey/sun_1.jpg", "c/cafe/indoor/sun_3.jpg"):
        image(root / "SUN397" / path, 1)


def imagenet(root: Path, _: Patch) -> None:
    folders("", "train", "val", names=("n01", "n02"), ending="JPEG")(root, _)
    torch.save(({"n01": ("tench", "Tinca tinca"), "n02": ("goldfish",)}, ["n01"]), root / "meta.bin")


def places365(root: Path, patch: Patch) -> None:
    kind = datasets.Places365
    categories = write(root / "categories_places365.txt", "/a/airfield 0\n/z/zoo 1\n")
    patch.setattr(kind, "_CATEGORIES_META", (categories.name, md5(categories)))
    lists = {}
    for split, name, folder in (
        ("train-standard", "places365_train_standard.txt", "data_256_standard"),
        ("val", "places365_val.txt", "val_256"),
    ):
        path = write(root / name, "/a/airfield/1.jpg 0\n/z/zoo/2.jpg 1\n")
        lists[split] = (name, md5(path))
        for image_path in ("a/airfield/1.jpg", "z/zoo/2.jpg"):
            image(root / folder / image_path, 1, (256, 256))
    patch.setattr(kind, "_FILE_LIST_META", kind._FILE_LIST_META | lists)


def omniglot(root: Path, patch: Patch) -> None:
    base = root / "omniglot-py"
    for alphabet in ("Zulu", "Arcadian"):
        for character in ("character02", "character01"):
            for n in (2, 1):
                image(base / "images_background" / alphabet / character / f"{n:04d}.png", n, (105, 105), "1")
    packed = write(base / "images_background.zip", b"packed")
    patch.setattr(datasets.Omniglot, "zips_md5", {"images_background": md5(packed)})


def clevr(root: Path, _: Patch) -> None:
    base = root / "clevr" / "CLEVR_v1.0"
    for split in ("train", "val"):
        scenes = [{"image_filename": f"{n}.png", "objects": [0] * (3 + n)} for n in range(8)]
        write(base / "scenes" / f"CLEVR_{split}_scenes.json", json.dumps({"scenes": scenes}))
        for scene in scenes:
            image(base / "images" / split / str(scene["image_filename"]), 1, (480, 320))


def celeba(root: Path, patch: Patch) -> None:
    base, names = root / "celeba", [f"{n:06d}.jpg" for n in range(6)]
    attributes = [f"attribute{k}" for k in range(40)]
    tables = {
        "list_eval_partition.txt": [f"{name} {n // 2}" for n, name in enumerate(names)],
        "identity_CelebA.txt": [f"{name} 1" for name in names],
        "list_bbox_celeba.txt": ["6", "image_id x_1 y_1 width height", *(f"{name} 1 1 1 1" for name in names)],
        "list_landmarks_align_celeba.txt": ["6", "a b", *(f"{name} 1 1" for name in names)],
        "list_attr_celeba.txt": [
            "6",
            " ".join(attributes) + " ",
            *(" ".join([name, *("1" if k % 6 == n else "-1" for k in range(40))]) for n, name in enumerate(names)),
        ],
    }
    listed = [("", md5(write(base / name, "\n".join(rows))), name) for name, rows in tables.items()]
    patch.setattr(datasets.CelebA, "file_list", listed)
    for n, name in enumerate(names):
        image(base / "img_align_celeba" / name, n, (178, 218))


def _module(patch: Patch, name: str, **values: Any) -> None:
    """A module of that name, in place of one that may not be installed."""
    made: Any = types.ModuleType(name)
    made.__spec__ = ModuleSpec(name, None)
    for key, value in values.items():
        setattr(made, key, value)
    patch.setitem(sys.modules, name, made)
    parent, _, child = name.rpartition(".")
    if parent:
        patch.setattr(sys.modules[parent], child, made, raising=False)


def _scipy(patch: Patch) -> None:
    """A scipy whose MATLAB files are pickles: what is tested is what is made of their arrays."""
    _module(patch, "scipy")
    _module(patch, "scipy.io", loadmat=lambda path, **_: pickle.loads(Path(path).read_bytes()))


def svhn(root: Path, patch: Patch) -> None:
    _scipy(patch)
    known = {}
    for split, count in (("train", 20), ("test", 10)):
        arrays = {
            "X": pictures(count, 32, 3).transpose(1, 2, 3, 0),
            "y": (np.arange(count, dtype=np.uint8) % 10 + 1)[:, None],
        }
        path = write(root / f"{split}_32x32.mat", pickle.dumps(arrays))
        known[split] = ["", path.name, md5(path)]
    patch.setattr(datasets.SVHN, "split_list", datasets.SVHN.split_list | known)


def flowers102(root: Path, patch: Patch) -> None:
    _scipy(patch)
    base = root / "flowers-102"
    labels = write(base / "imagelabels.mat", pickle.dumps({"labels": np.array([1, 1, 2, 2, 3, 102])}))
    ids = {"trnid": np.array([1, 3, 5]), "valid": np.array([2, 4]), "tstid": np.array([5, 6])}
    setid = write(base / "setid.mat", pickle.dumps(ids))
    known = {"label": (labels.name, md5(labels)), "setid": (setid.name, md5(setid))}
    patch.setattr(datasets.Flowers102, "_file_dict", datasets.Flowers102._file_dict | known)
    for n in range(1, 7):
        image(base / "jpg" / f"image_{n:05d}.jpg", n)


def cars(root: Path, patch: Patch) -> None:
    _scipy(patch)
    base = root / "stanford_cars"
    write(base / "devkit" / "cars_meta.mat", pickle.dumps({"class_names": np.array(["Acura", "BMW"])}))
    for path, split in (("devkit/cars_train_annos.mat", "train"), ("cars_test_annos_withlabels.mat", "test")):
        rows = [{"fname": f"{n}.jpg", "class": n} for n in (1, 2)]
        write(base / path, pickle.dumps({"annotations": rows}))
        for n in (1, 2):
            image(base / f"cars_{split}" / f"{n}.jpg", n)


def pcam(root: Path, patch: Patch) -> None:
    class File(dict[str, Any]):
        def __init__(self, path: Path) -> None:
            super().__init__(pickle.loads(Path(path).read_bytes()))

        def __enter__(self) -> "File":
            return self

        def __exit__(self, *_: object) -> None:
            """Nothing is open."""

    _module(patch, "h5py", File=File)
    for split, count in (("train", 6), ("valid", 4), ("test", 2)):
        begin = root / "pcam" / f"camelyonpatch_level_2_split_{split}"
        write(begin.with_name(f"{begin.name}_x.h5"), pickle.dumps({"x": pictures(count, 96, 3)}))
        labels = (np.arange(count, dtype=np.uint8) % 2).reshape(-1, 1, 1, 1)
        write(begin.with_name(f"{begin.name}_y.h5"), pickle.dumps({"y": labels}))


WRITERS: dict[str, Callable[[Path, Patch], None]] = {
    "mnist": mnist,
    "kmnist": kmnist,
    "qmnist": qmnist,
    "emnist-letters": emnist("letters", 1, 26),
    "emnist-digits": emnist("digits", 0, 10),
    "emnist-mnist": emnist("mnist", 0, 10),
    "emnist-balanced": emnist("balanced", 0, 47),
    "emnist-bymerge": emnist("bymerge", 0, 47),
    "emnist-byclass": emnist("byclass", 0, 62),
    "cifar10": cifar(datasets.CIFAR10, "labels", 10),
    "cifar100": cifar(datasets.CIFAR100, "fine_labels", 100),
    "stl10": stl10,
    "usps": usps,
    "semeion": semeion,
    "svhn": svhn,
    "fer2013": fer2013,
    "gtsrb": gtsrb,
    "food101": food101,
    "oxford-iiit-pet": pets,
    "dtd": dtd,
    "eurosat": folders("eurosat", "2750", names=tuple(f"{n}" for n in range(10))),
    "country211": folders("country211", "train", "valid", "test", names=("AD", "ZW")),
    "rendered-sst2": folders("rendered-sst2", "train", "valid", "test", names=("negative", "positive"), ending="png"),
    "imagenette": folders("imagenette2-320", "train", "val", names=("n01440764", "n03888257"), ending="jpeg"),
    "imagenette-160": folders("imagenette2-160", "train", "val", names=("n01440764", "n03888257"), ending="jpeg"),
    "imagenette-full": folders("imagenette2", "train", "val", names=("n01440764", "n03888257"), ending="jpeg"),
    "fgvc-aircraft": aircraft,
    "caltech101": caltech101,
    "caltech256": caltech256,
    "sun397": sun397,
    "imagenet": imagenet,
    "places365": places365,
    "omniglot": omniglot,
    "clevr": clevr,
    "celeba": celeba,
    "flowers102": flowers102,
    "stanford-cars": cars,
    "pcam": pcam,
}
