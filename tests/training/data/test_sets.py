"""torchvision's data sets by their names: read from files in their real formats, held against torchvision's classes."""

import inspect
import json
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision import datasets
from torchvision.transforms.v2.functional import pil_to_tensor

from tests.training.data.set_files import WRITERS, idx, pictures, write
from tests.training.data.test_data import serve  # noqa: F401
from tests.training.plain_loop import only
from tui_trainer.catalog import DATASETS, names_in
from tui_trainer.errors import DataError
from tui_trainer.outlook.data import describe, is_here, lacking, state_of
from tui_trainer.outlook.run import describe_run
from tui_trainer.run.commands import Inbox, Stop
from tui_trainer.run.events import Event, Preparing, RunEnded, RunStarted
from tui_trainer.settings.schema import Settings
from tui_trainer.training.data import fetch, splits
from tui_trainer.training.data.examples import Source, Tensors
from tui_trainer.training.data.readers import download
from tui_trainer.training.loop import fit

LEFT_OUT = {
    "INaturalist": "10,000 species: the table of what is taken for what would have 100 million cells",
    "LFWPeople": "training and test split show different people: made for verification",
    "LFWPairs": "pairs of faces: is it the same person?",
    "PhotoTour": "pairs of patches that match or do not",
    "Kinetics": "videos",
    "HMDB51": "videos",
    "UCF101": "videos",
    "MovingMNIST": "videos without labels",
    "LSUN": "a database of 10 million scenes in lmdb, which torchvision opens but does not download",
    "LSUNClass": "one class of LSUN",
    "ImageFolder": "is folder:PATH",
    "DatasetFolder": "is folder:PATH",
    "VisionDataset": "what the others are made of",
    "wrap_dataset_for_transforms_v2": "a function",
    **dict.fromkeys(("CocoCaptions", "SBU", "Flickr8k", "Flickr30k"), "captions"),
    **dict.fromkeys(("CocoDetection", "VOCDetection", "WIDERFace", "Kitti"), "boxes in images"),
    **dict.fromkeys(("VOCSegmentation", "Cityscapes", "SBDataset"), "a class for each pixel"),
    **dict.fromkeys(("KittiFlow", "Sintel", "FlyingChairs", "FlyingThings3D", "HD1K"), "optical flow"),
    **dict.fromkeys(
        (
            "Kitti2012Stereo",
            "Kitti2015Stereo",
            "CarlaStereo",
            "Middlebury2014Stereo",
            "CREStereo",
            "FallingThingsStereo",
            "SceneFlowStereo",
            "SintelStereo",
            "InStereo2k",
            "ETH3DStereo",
        ),
        "pairs of views with depth",
    ),
}
"""Classes of torchvision.datasets that are no data sets to classify, each with the reason."""

NAMED = [name for name in DATASETS if not name.startswith("fashion-mnist") and name != "fake"]


def read(settings: Settings) -> tuple[Source, list[Event]]:
    reading, events = splits.read(settings), []
    while True:
        try:
            events.append(next(reading))
        except StopIteration as done:
            return done.value, events


def splits_of(source: Source) -> dict[str, Any]:
    return {word: part for word in ("train", "valid", "test") if (part := getattr(source, word)) is not None}


# --- the catalog ---------------------------------------------------------------------------------------------------


def test_every_class_of_torchvision_is_in_the_catalog_or_left_out_for_a_reason() -> None:
    named = {facts.torchvision for facts in DATASETS.values()}
    assert named | set(LEFT_OUT) >= set(datasets.__all__)


@pytest.mark.parametrize("name", NAMED)
def test_facts_fit_what_torchvision_takes_and_add_up(name: str) -> None:
    facts = DATASETS[name]
    recipe, kind = facts.recipe, getattr(datasets, facts.torchvision)
    signature = inspect.signature(kind)
    for given in (recipe.train, recipe.valid, recipe.test):
        if given is not None:
            signature.bind(root="x", **given)
    assert set(recipe.options) <= set(signature.parameters)
    assert bool(facts.classes) != bool(facts.class_count) and len(set(facts.classes)) == len(facts.classes)
    assert bool(recipe.names) == bool(facts.class_count), "names come from the facts or from the data"
    assert facts.train_examples > 0 and facts.reader in names_in("training/data/readers")
    if facts.reader == "torchvision":
        assert (recipe.valid is not None) == bool(facts.valid_examples)
        assert (recipe.test is not None) == bool(facts.test_examples)
        assert recipe.present
    text = (name, facts.title)
    assert all(part.isprintable() for part in (*text, *facts.classes)) and len(facts.title) <= 52


# --- reading -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITERS)
def test_a_set_is_read_as_torchvision_reads_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, facts = tmp_path / "data", DATASETS[name]
    settings = Settings(dataset=name, seed=0)
    assert not is_here(name, str(root))
    WRITERS[name](root, monkeypatch)
    assert is_here(name, str(root)) and state_of(name, str(root)).startswith("here")
    assert f"{name} found in data" in describe(settings).text
    source, _ = read(settings)
    parts, recipe = splits_of(source), facts.recipe
    wanted = {"train": recipe.train, "valid": recipe.valid, "test": recipe.test}
    if facts.reader == "idx":
        wanted = {"train": {"train": True}, "valid": None, "test": {"train": False}}
    assert set(parts) == {word for word, given in wanted.items() if given is not None}
    assert source.kind == facts.kind and all(source.classes) and source.name == name
    shape = facts.shape or (3, 224, 224)
    for word, part in parts.items():
        theirs = getattr(datasets, facts.torchvision)(root=str(root), **wanted[word])
        pairs = [(pil_to_tensor(picture), label) for picture, label in (theirs[n] for n in range(len(theirs)))]
        assert part.shape == shape and len(part) == len(pairs)
        inputs, targets = part.raw(torch.arange(len(part)))
        assert (inputs.dtype, inputs.shape[1:]) == (torch.uint8, shape)
        if facts.kind == "labels":
            assert torch.equal(targets, torch.stack([label for _, label in pairs]).float())
            continue
        assert targets.dtype == torch.int64 and 0 <= int(targets.min()) <= int(targets.max()) < len(source.classes)
        if not recipe.as_on_disk:
            assert targets.tolist() == [int(label) - recipe.first for _, label in pairs]
        if isinstance(part, Tensors):
            same = [picture.transpose(1, 2) if recipe.layout == "NWH" else picture for picture, _ in pairs]
            assert torch.equal(inputs, torch.stack(same))
        else:
            copy = pickle.loads(pickle.dumps(part))  # as a worker that is spawned gets it
            assert torch.equal(copy.raw(torch.tensor([len(part) - 1]))[0], inputs[-1:])
            means = sorted(float(picture.float().mean()) for picture, _ in pairs)
            assert sorted(inputs.float().mean((1, 2, 3)).tolist()) == pytest.approx(means, abs=3.0)


@pytest.mark.parametrize("name", ["cifar10", "gtsrb", "dtd", "emnist-letters", "celeba"])
def test_a_set_is_trained_on(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    WRITERS[name](tmp_path / "data", monkeypatch)
    small = Settings(dataset=name, device="cpu", seed=0, epochs=1, image_size=16, valid_fraction=0.5)
    events = list(fit(small.model_copy(update={"valid_fraction": 0.0 if name == "gtsrb" else 0.5}), Inbox()))
    assert events[-1].reason == "finished" and only(RunStarted, events)[0].shape[1:] == (16, 16)


@pytest.mark.parametrize("name", ["omniglot", "sun397"])
def test_classes_and_files_are_in_the_same_order_on_every_disk(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WRITERS[name](tmp_path / "data", monkeypatch)
    source, _ = read(Settings(dataset=name))
    assert list(source.classes) == sorted(source.classes)
    assert source.train.targets.tolist() == sorted(source.train.targets.tolist())


def test_a_set_has_the_size_and_border_that_are_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, channels in (("gtsrb", 3), ("usps", 1)):
        WRITERS[name](tmp_path / "data", monkeypatch)
        settings = Settings(dataset=name, image_size=12, pad=2)
        source, _ = read(settings)
        assert source.train.shape == source.test.shape == (channels, 16, 16)
        assert not source.train.raw(torch.tensor([0]))[0][..., :2].any()
        assert "144" not in describe_run(settings).outline and f"{channels * 256}-" in describe_run(settings).outline


def test_an_argument_chooses_another_partition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    WRITERS["dtd"](tmp_path / "data", monkeypatch)
    assert len(read(Settings(dataset="dtd"))[0].classes) == 2
    assert len(read(Settings(dataset="dtd", dataset_arg="partition=2"))[0].classes) == 1
    for wrong in ("partition=9", "partition=x"):
        with pytest.raises(DataError, match=rf"dtd: .*{wrong}"):
            read(Settings(dataset="dtd", dataset_arg=wrong))
    with pytest.raises(DataError, match=r"dtd: takes no 'partitoin'. Did you mean partition\? It takes: partition\."):
        read(Settings(dataset="dtd", dataset_arg="partitoin=2"))
    with pytest.raises(DataError, match=r"cifar10: takes no 'size'. It takes none\."):
        read(Settings(dataset="cifar10", dataset_arg="size=2"))


def test_a_test_split_without_labels_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [" ".join(map(str, picture.reshape(-1))) for picture in pictures(14, 48)]
    base = tmp_path / "data" / "fer2013"
    write(base / "train.csv", "\n".join(["emotion,pixels", *(f"{n % 7},{r}" for n, r in enumerate(rows))]))
    write(base / "test.csv", "\n".join(["pixels", *rows]))
    monkeypatch.setattr(
        "torchvision.datasets.fer2013.check_integrity", lambda path, **_: Path(path).name in ("train.csv", "test.csv")
    )
    source, _ = read(Settings(dataset="fer2013"))
    assert len(source.train) == 14 and source.test is None


def test_noise_is_what_its_arguments_say_and_the_same_each_time() -> None:
    settings = Settings(dataset="fake", dataset_arg="size=30 num_classes=4 image_size=1,9,8")
    first, second = (read(settings)[0] for _ in range(2))
    assert (len(first.train), first.train.shape, first.classes) == (30, (1, 9, 8), ("0", "1", "2", "3"))
    assert set(first.train.targets.tolist()) == {0, 1, 2, 3}
    for ours, theirs in zip(first.train.raw(torch.arange(30)), second.train.raw(torch.arange(30)), strict=True):
        assert torch.equal(ours, theirs)
    seen = describe_run(settings)
    assert (seen.train_examples, seen.valid_examples, seen.parameters) == (27, 3, 72 * 512 + 512 + 513 * 512 + 513 * 4)
    for words, sentence in (
        ("size=x", "size must be a whole number"),
        ("image_size=3,3", "image_size must be channels"),
    ):
        with pytest.raises(DataError, match=sentence):
            read(Settings(dataset="fake", dataset_arg=words))
        assert describe_run(Settings(dataset="fake", dataset_arg=words)).train_examples is None


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.fixture
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    """A download ends at once, without anything."""
    answer = "import json; print(json.dumps({'reason': 'Connection refused'}))"
    monkeypatch.setattr(download, "COMMAND", (sys.executable, "-S", "-c", answer))


@pytest.mark.usefixtures("no_download")
@pytest.mark.parametrize("name", ["cifar10", "semeion", "gtsrb", "food101"])
def test_a_set_that_cannot_be_had_ends_the_run_and_the_folder_for_its_files_is_named(name: str) -> None:
    with pytest.raises(DataError) as refused:
        read(Settings(dataset=name))
    said = str(refused.value)
    assert said.startswith(
        f"{name} is not in data and cannot be downloaded (Connection refused).\nNothing was trained."
    )
    assert DATASETS[name].recipe.present[0] in said and "--dataset fashion-mnist-mini" in said
    assert list(Path("data").iterdir()) == [], "nothing half-written is left"


@pytest.mark.usefixtures("no_download")
def test_damaged_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    WRITERS["usps"](tmp_path / "data", monkeypatch)
    write(tmp_path / "data" / "usps.bz2", b"not packed")
    with pytest.raises(DataError, match=r"usps: its files in data cannot be read \(OSError: .*Remove them, and they"):
        read(Settings(dataset="usps"))
    WRITERS["gtsrb"](tmp_path / "data", monkeypatch)
    path = tmp_path / "data" / "gtsrb" / "GTSRB" / "Training" / "00007" / "0.ppm"
    path.write_bytes(path.read_bytes()[:50])
    source, _ = read(Settings(dataset="gtsrb"))
    with pytest.raises(DataError, match=r"gtsrb/GTSRB/Training/00007/0.ppm: cannot be read"):
        source.train.raw(torch.tensor([6, 7]))
    WRITERS["semeion"](tmp_path / "data", monkeypatch)
    write(tmp_path / "data" / "semeion.data", "cut short")
    with pytest.raises(DataError, match="cannot be downloaded"):  # torchvision's checksum says that it is not there
        read(Settings(dataset="semeion"))


def test_labels_of_other_classes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    WRITERS["emnist-letters"](tmp_path / "data", monkeypatch)
    labels = torch.full((52,), 27, dtype=torch.uint8).numpy()
    write(tmp_path / "data" / "EMNIST" / "raw" / "emnist-letters-train-labels-idx1-ubyte", idx(labels))
    with pytest.raises(DataError, match="the labels of the train split are not those of its 26 classes"):
        read(Settings(dataset="emnist-letters"))


def test_packages_that_torchvision_needs_are_named_before_anything_is_downloaded() -> None:
    missing = [name for name in NAMED if lacking(name, "data")]
    for name in missing:
        if not DATASETS[name].recipe.by_hand or DATASETS[name].recipe.needs:
            with pytest.raises(
                DataError, match=r"torchvision needs .* not installed. Install: pip install .*\nNothing"
            ):
                read(Settings(dataset=name))
            assert "not installed" in describe(Settings(dataset=name)).text
    with pytest.raises(
        DataError, match=r"imagenet is not in data, and torchvision does not download it. Put there: train"
    ):
        read(Settings(dataset="imagenet"))
    assert "must be put there by hand" in describe(Settings(dataset="imagenet")).text
    assert not Path("data").exists()


# --- downloading ---------------------------------------------------------------------------------------------------

CHILD = """
import json, os, sys, time
orders = json.loads(sys.argv[1])
root = orders["root"]
os.makedirs(f"{root}/gtsrb/GTSRB/Training")
open(f"{root}/gtsrb/archive.zip", "wb").write(bytes(1000))
open(f"{root}/gtsrb/new.csv", "w").write("new")
%s
print(json.dumps({"reason": "", "splits": orders["splits"]}), flush=True)
"""


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """What the process that downloads does after it has written a little."""

    def does(code: str) -> None:
        monkeypatch.setattr(download, "COMMAND", (sys.executable, "-S", "-c", CHILD % code))
        monkeypatch.setattr(download, "LOOK", 0.02)

    return does


def fetched(name: str = "gtsrb") -> Iterator[Event]:
    facts = DATASETS[name]
    return download.download(name, facts, Path("data"), [facts.recipe.train], total=facts.download_bytes)


def test_what_is_downloaded_is_moved_when_it_is_whole_and_fills_what_is_there(child: Callable[[str], None]) -> None:
    child("while not os.path.exists('seen'): time.sleep(0.01)")
    write(Path("data/gtsrb/new.csv"), "old")
    write(Path("data/gtsrb/mine.txt"), "mine")
    told = []
    for event in fetched():
        assert isinstance(event, Preparing)
        told.append(event.what)
        if "1.0 kB" in event.what:
            Path("seen").touch()
    assert told[0] == "downloading gtsrb: 0 B of 276.6 MB" and "downloading gtsrb: 1.0 kB of 276.6 MB" in told
    assert {str(path.relative_to("data")) for path in Path("data").rglob("*") if path.is_file()} == {
        "gtsrb/archive.zip",
        "gtsrb/new.csv",
        "gtsrb/mine.txt",
    }
    assert Path("data/gtsrb/new.csv").read_text() == "new" and Path("data/gtsrb/GTSRB/Training").is_dir()


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("sys.exit(3)", r"cannot be downloaded \(the download ended with code 3\)"),
        ("raise ValueError('\\x1b[31m odd')", r"cannot be downloaded \(ValueError: \\x1b\[31m odd\)"),
        ("print('{', flush=True); os._exit(0)", "cannot be downloaded"),
    ],
)
def test_a_download_that_breaks_leaves_nothing(child: Callable[[str], None], code: str, sentence: str) -> None:
    child(code)
    with pytest.raises(DataError, match=sentence):
        list(fetched())
    assert list(Path("data").iterdir()) == []


def test_stop_ends_a_download_at_once_and_leaves_nothing(child: Callable[[str], None]) -> None:
    child("time.sleep(600)")
    inbox, events = Inbox(), []
    for event in fit(Settings(dataset="gtsrb", device="cpu"), inbox):
        events.append(event)
        if isinstance(event, Preparing) and "1.0 kB" in event.what:
            inbox.send(Stop())
    assert isinstance(events[-1], RunEnded) and events[-1].reason == "stopped"
    assert list(Path("data").iterdir()) == []


def test_what_a_killed_download_left_is_removed_and_that_of_another_machine_is_not(
    child: Callable[[str], None],
) -> None:
    child("")
    dead, other = Path(f"data/.food101-{socket.gethostname()}-999999999.part"), Path("data/.food101-elsewhere-1.part")
    for path in (dead, other):
        path.mkdir(parents=True)
    list(fetched())
    assert not dead.exists() and other.exists()


def test_a_download_that_does_not_fit_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(DataError, match=r"gtsrb takes 276\.6 MB to download, and data has 1\.0 kB free"):
        list(fetched())
    assert list(Path("data").iterdir()) == []


def test_a_data_folder_that_cannot_be_written_is_named() -> None:
    write(Path("data"), "a file where the folder should be")
    with pytest.raises(DataError, match="gtsrb cannot be saved in data: File exists"):
        list(fetched())


def test_the_process_that_downloads_fetches_what_torchvision_fetches(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    serve: Callable[[Path], str],  # noqa: F811
) -> None:
    WRITERS["semeion"](tmp_path / "there", monkeypatch)
    monkeypatch.setattr(datasets.SEMEION, "url", f"{serve(tmp_path / 'there')}semeion.data")
    assert fetch.fetch("SEMEION", str(tmp_path / "here"), [{}]) == ""
    assert (tmp_path / "here" / "semeion.data").read_bytes() == (tmp_path / "there" / "semeion.data").read_bytes()
    monkeypatch.setattr(datasets.SEMEION, "url", f"{serve(tmp_path / 'there')}gone.data")
    assert "not found" in fetch.fetch("SEMEION", str(tmp_path / "other"), [{}]).lower()


def test_a_download_ends_with_the_process_that_wanted_it() -> None:
    orders = json.dumps({"kind": "SEMEION", "root": "data", "splits": [{}]})
    child = subprocess.Popen([*download.COMMAND, orders], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert child.stdin is not None
    child.stdin.close()  # as when that process is killed
    assert child.wait(240) == 1


def test_without_a_network_the_real_process_says_so_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(DataError, match=r"semeion is not in data and cannot be downloaded \(Connection refused\)"):
            read(Settings(dataset="semeion"))
    assert list(Path("data").iterdir()) == []
