"""Folders of images: what is found in them, what is refused, and that the pixels are those that `predict` sees."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS

from tests.training.data.test_data import loaded
from tests.training.plain_loop import mini, only
from tui_trainer.catalog.image_folder import ENDINGS
from tui_trainer.errors import DataError
from tui_trainer.outlook.data import describe
from tui_trainer.outlook.run import describe_run
from tui_trainer.run.commands import Inbox, Stop
from tui_trainer.run.events import BatchTrained, Evaluated, Preparing, RunStarted, Warned
from tui_trainer.run.folder import RunFolder
from tui_trainer.run.resume import Resume
from tui_trainer.settings.schema import Settings
from tui_trainer.training.data.examples import Tensors
from tui_trainer.training.data.images import read_image
from tui_trainer.training.data.readers import folder
from tui_trainer.training.data.readers.files import Files, Names
from tui_trainer.training.loop import fit
from tui_trainer.training.tasks import classification

pytestmark = pytest.mark.xdist_group("images")
CLASSES = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,000 images of fashion-mnist-mini as PNG files, a folder for each class, three of them broken."""
    root = tmp_path_factory.mktemp("pictures")
    images, labels = mini("train")
    for name in CLASSES:
        (root / name).mkdir()
    for number, (image, label) in enumerate(zip(images[:2000], labels[:2000].tolist(), strict=True)):
        pixels = (image[0].numpy() * 255).round().astype(np.uint8)
        Image.fromarray(pixels).save(root / CLASSES[label] / f"{number:04d}.png", compress_level=1)
    files = sorted(root.glob("*/*.png"))
    chosen = [
        next(f for f in files[k:] if f.parent.name == name) for k, name in ((0, "Bag"), (0, "Coat"), (0, "Dress"))
    ]
    chosen[0].write_bytes(chosen[0].read_bytes()[:150])
    chosen[1].write_bytes(b"")
    chosen[2].write_bytes(b"not an image at all")
    return root


def small(root: Path, sizes: dict[str, tuple[int, int]] | None = None, mode: str = "L", each: int = 4) -> Path:
    """Folders a and b with a few images of noise of `sizes` (width, height) for each class."""
    noise = np.random.default_rng(0)
    for name, size in (sizes or {"a": (8, 6), "b": (8, 6)}).items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
            pixels = noise.integers(0, 256, shape, dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


def of(root: Path, **more: object) -> Settings:
    used: dict[str, object] = {"dataset": f"folder:{root}", "device": "cpu", "seed": 0, "epochs": 1}
    return Settings(**(used | {"valid_fraction": 0.25} | more))


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images do not fit in half of the free memory, so they are decoded when they are wanted."""
    monkeypatch.setattr(folder, "free_memory", lambda _: 64)


def refusal(settings: Settings) -> str:
    with pytest.raises(DataError) as refused:
        loaded(settings)
    return str(refused.value)


# --- the whole way -------------------------------------------------------------------------------------------------


def test_broken_files_end_a_run_before_its_first_step_and_are_named(pictures: Path) -> None:
    said = refusal(of(pictures)).split("\n")
    assert said[0] == "3 of 2,000 images cannot be read. Replace or remove them, or go on without them: --skip-broken"
    assert len(said) == 4 and all(str(pictures) in line for line in said[1:])
    assert [line.removeprefix(f"{pictures}/").split("/")[0] for line in said[1:]] == ["Bag", "Coat", "Dress"]


@pytest.mark.parametrize("workers", [0, 2])
def test_without_its_broken_files_a_folder_trains_alike_with_any_number_of_workers(
    pictures: Path, workers: int
) -> None:
    path = {"data_path": "loader", "workers": 2, "mp_context": "fork"} if workers else {}
    events = list(fit(of(pictures, skip_broken=True, limit_train_batches=10, log_interval=1, **path), Inbox()))
    (warned,) = only(Warned, events)
    assert warned.text.startswith("3 of 2,000 images cannot be read and are left out: Bag/")
    assert "reading images: 1,998 of 1,998" in [event.what for event in only(Preparing, events)]
    (started,) = only(RunStarted, events)
    assert (started.shape, started.classes) == ((1, 28, 28), tuple(sorted(CLASSES)))
    assert started.train_examples + started.valid_examples == 1997 and started.test_examples == 0
    losses = [event.loss for event in only(BatchTrained, events)]
    assert losses[-1] < losses[0] and only(Evaluated, events)[0].accuracy > 0.2
    (at,) = {tuple(losses)} | LOSSES.get("all", set())  # memory and workers give the same batches
    LOSSES["all"] = {at}


LOSSES: dict[str, set[tuple[float, ...]]] = {}


@pytest.mark.usefixtures("little_memory")
def test_a_run_over_files_goes_on_exactly_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    root = small(tmp_path / "pictures", mode="RGB", each=24)
    more = {
        "data_path": "loader",
        "workers": 2,
        "mp_context": "fork",
        "batch_size": 4,
        "log_interval": 1,
        "augment": "flip",
    }
    settings = of(root, **more)
    straight = [event.loss for event in only(BatchTrained, fit(settings, Inbox()))]
    inbox, run, losses = Inbox(), RunFolder.create(settings), []
    for event in fit(settings, inbox, run.path):
        if isinstance(event, BatchTrained):
            losses.append(event.loss)
            if len(losses) == 4:
                inbox.send(Stop())
    done = len(losses)
    assert 4 <= done < len(straight)
    losses += [event.loss for event in only(BatchTrained, fit(settings, Inbox(), run.path, Resume()))]
    assert losses == straight


@pytest.mark.skipif(os.environ.get("FAULTS") != "full", reason="each worker imports torch; FAULTS=full")
@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver"])
@pytest.mark.usefixtures("little_memory")
def test_workers_of_every_kind_give_the_same_losses(tmp_path: Path, context: str) -> None:
    root, more = small(tmp_path / "p", mode="RGB", each=24), {"batch_size": 4, "log_interval": 1, "augment": "flip"}
    alone = [event.loss for event in only(BatchTrained, fit(of(root, **more), Inbox()))]
    events = fit(of(root, **more, data_path="loader", workers=2, mp_context=context), Inbox())
    assert [event.loss for event in only(BatchTrained, events)] == alone


@pytest.mark.usefixtures("little_memory")
def test_a_file_that_breaks_later_is_named(tmp_path: Path) -> None:
    root = small(tmp_path / "pictures")
    running = fit(of(root, epochs=3, batch_size=2), Inbox())
    with pytest.raises(DataError) as refused:
        for event in running:
            if isinstance(event, RunStarted):
                for path in root.glob("*/*.png"):
                    path.write_bytes(path.read_bytes()[:60])
    said = str(refused.value)
    assert f"{root}/" in said and ".png: cannot be read" in said and "What was saved before is kept" in said
    assert "DataError" not in said


# --- pixels --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("settings", [{}, {"image_size": 5}, {"pad": 2}, {"image_size": 12, "pad": 1}])
def test_training_sees_the_pixels_that_predict_sees_in_memory_and_file_by_file(
    tmp_path: Path, mode: str, settings: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = small(tmp_path / "pictures", mode=mode)
    held, _ = loaded(of(root, **settings))
    monkeypatch.setattr(folder, "free_memory", lambda _: 64)
    made, _ = loaded(of(root, **settings))
    assert isinstance(held.train, Tensors) and isinstance(made.train, Files)
    size, pad = settings.get("image_size"), settings.get("pad", 0)
    height, width = (size, size) if size else (6, 8)
    assert held.shape == made.shape == (1 if mode == "L" else 3, height + 2 * pad, width + 2 * pad)
    everything = torch.arange(len(held.train))
    for ours, theirs in zip(held.train.raw(everything), made.train.raw(everything), strict=True):
        assert torch.equal(ours, theirs)
    paths = sorted(root.glob("*/*.png"))
    as_predicted = [read_image(str(path), held.shape[0], (height, width)).pixels for path in paths]
    inside = held.train.raw(everything)[0][:, :, pad : pad + height, pad : pad + width]
    assert all(any(torch.equal(image, other) for other in as_predicted) for image in inside)
    assert held.train.raw(everything)[0].sum() == inside.sum(), "the border is black"


def test_sizes_that_differ_become_224_and_one_colour_image_makes_all_of_them_so(tmp_path: Path) -> None:
    small(tmp_path / "p", {"a": (8, 6)})
    small(tmp_path / "p", {"b": (9, 6)}, mode="RGB")
    data, _ = loaded(of(tmp_path / "p"))
    assert data.shape == (3, 224, 224)


def test_a_photograph_on_its_side_is_of_the_size_of_those_that_stand(tmp_path: Path) -> None:
    root = small(tmp_path / "p")
    lying = Image.Exif()
    lying[0x0112] = 6
    Image.new("L", (6, 8), 9).save(root / "a" / "side.jpg", exif=lying)
    assert loaded(of(root))[0].shape == (1, 6, 8)


def test_sixteen_bits_and_palettes_are_read(tmp_path: Path) -> None:
    root = small(tmp_path / "p")
    Image.fromarray(np.full((6, 8), 65535, np.uint16)).save(root / "a" / "deep.png")
    data, _ = loaded(of(root))
    assert data.shape == (1, 6, 8) and max(part.inputs.max() for part in (data.train, data.valid)) == 255
    Image.new("P", (8, 6)).save(root / "b" / "palette.png")
    assert loaded(of(root))[0].shape == (3, 6, 8)


def test_of_very_many_classes_only_the_share_that_is_right_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = small(tmp_path / "p", dict.fromkeys("abc", (8, 6)))
    whole = only(Evaluated, fit(of(root), Inbox()))[0]
    monkeypatch.setattr(classification, "MOST_CLASSES", 2)
    share = only(Evaluated, fit(of(root), Inbox()))[0]
    assert (share.accuracy, share.loss) == (whole.accuracy, whole.loss)
    assert sum(map(sum, whole.confusion)) == 3 and share.confusion == ()


# --- what is found -------------------------------------------------------------------------------------------------


def test_the_endings_are_those_of_torchvision() -> None:
    assert ENDINGS == IMG_EXTENSIONS


@pytest.mark.parametrize("word", ["valid", "val", "validation"])
def test_splits_of_the_folder_are_those_of_the_run(tmp_path: Path, word: str) -> None:
    root = tmp_path / "p"
    for split, each in (("train", 5), (word, 3), ("test", 2)):
        small(root / split, each=each)
    small(root / "extra")
    data, events = loaded(of(root))
    assert (len(data.train), len(data.valid), len(data.test or ())) == (10, 6, 4)
    (warned,) = only(Warned, events)
    assert "extra" in warned.text and "neither train, valid nor test" in warned.text
    seen = describe_run(of(root))
    assert (seen.train_examples, seen.valid_examples, seen.test_examples, seen.measured_on_test) == (10, 6, 4, False)


def test_a_test_split_alone_is_measured_on_when_nothing_is_held_out(tmp_path: Path) -> None:
    for split, each in (("train", 5), ("test", 2)):
        small(tmp_path / "p" / split, each=each)
    data, _ = loaded(of(tmp_path / "p", valid_fraction=0))
    assert (len(data.train), len(data.valid), data.test) == (10, 4, None)
    assert describe_run(of(tmp_path / "p", valid_fraction=0)).measured_on_test


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    data, _ = loaded(of(small(tmp_path / "p", {"train": (8, 6), "plane": (8, 6)})))
    assert data.classes == ("plane", "train")


def test_folders_within_classes_are_read_and_what_is_hidden_is_not(tmp_path: Path) -> None:
    root = small(tmp_path / "p")
    (root / "a" / "deep" / "er").mkdir(parents=True)
    for path in ("a/deep/er/9.PNG", "a/.hidden.png", ".git/1.png", "__MACOSX/a/1.png", "a/.deep/1.png"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / "a" / "0.png", root / path)
    (root / "a" / "notes.txt").write_text("no image")
    os.mkfifo(root / "a" / "pipe.png")
    data, _ = loaded(of(root))
    assert data.classes == ("a", "b") and len(data.train) + len(data.valid) == 9


def test_links_in_a_circle_are_followed_once_and_links_to_nothing_are_broken_files(tmp_path: Path) -> None:
    root = small(tmp_path / "p")
    (root / "a" / "round").symlink_to(root / "a", target_is_directory=True)
    (root / "a" / "up").symlink_to(root, target_is_directory=True)
    (root / "a" / "self").symlink_to("self")
    other = small(tmp_path / "elsewhere", {"c": (8, 6)})
    (root / "c").symlink_to(other / "c", target_is_directory=True)
    data, _ = loaded(of(root))
    assert data.classes == ("a", "b", "c")
    (root / "b" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    said = refusal(of(root))
    assert said.startswith("2 of 22 images") and "gone.png: cannot be read: No such file" in said


def test_names_of_classes_are_made_harmless(tmp_path: Path) -> None:
    red, marked = "\x1b[31mred", "[bold]b"
    root = small(tmp_path / "p", {red: (8, 6), marked: (8, 6)})
    undecodable = os.fsencode(root) + b"/\xff\xfe"
    os.mkdir(undecodable)
    shutil.copy(root / marked / "0.png", undecodable + b"/\xfd.png")
    data, _ = loaded(of(root))
    assert data.classes == ("\\x1b[31mred", marked, "\\udcff\\udcfe")
    (root / red / "x.png").write_bytes(b"")
    assert "\x1b" not in refusal(of(root))


@pytest.mark.usefixtures("little_memory")
def test_a_folder_that_is_moved_is_known_again_and_one_that_has_changed_is_not(tmp_path: Path) -> None:
    root = small(tmp_path / "p")
    before = loaded(of(root))[0].fingerprint()
    (tmp_path / "moved").mkdir()
    root = root.rename(tmp_path / "moved" / "q")
    assert loaded(of(root))[0].fingerprint() == before
    (root / "a" / "0.png").rename(root / "a" / "00.png")
    assert loaded(of(root))[0].fingerprint() != before


def test_paths_are_kept_whole_in_little_memory() -> None:
    paths = ["/r/a/1.png", "/r/b/ü.png", "/r/b/\udcff.png", "/elsewhere/x.png"]
    names = Names(paths, "/r")
    assert [names[n] for n in range(len(names))] == paths


# --- what is refused -----------------------------------------------------------------------------------------------


def lonely(root: Path) -> None:
    shutil.rmtree(root / "b")


def emptied(root: Path) -> None:
    for path in root.glob("b/*"):
        path.unlink()


def flat(root: Path) -> None:
    for path in list(root.glob("a/*.png")):
        path.rename(root / path.name)
    shutil.rmtree(root / "a")
    shutil.rmtree(root / "b")


def imageless(root: Path) -> None:
    for path in root.glob("*/*"):
        path.rename(path.with_suffix(".txt"))


def unknown(root: Path) -> None:
    (root / "train").mkdir()
    for name in "ab":
        (root / name).rename(root / "train" / name)
    small(root / "valid", {"a": (8, 6), "zebra": (8, 6)})


def empty_split(root: Path) -> None:
    unknown(root)
    shutil.rmtree(root / "valid")
    (root / "test").mkdir()


def all_broken(root: Path) -> None:
    for path in root.glob("b/*"):
        path.write_bytes(b"x")


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lonely, "there is one class only, a. At least two can be told apart."),
        (emptied, "there is no image to learn from in b. Put images there, or remove the folder."),
        (flat, "there are 4 images and no folders. Put the images of each class into a folder of its own"),
        (imageless, "there are no images in its folders (.jpg, .jpeg, .png"),
        (unknown, "/valid: zebra is not among the classes of train: a, b."),
        (empty_split, "there are no images in test. Put images there, or remove the folder."),
        (all_broken, "there is no image to learn from in b."),
        (shutil.rmtree, "there is no such folder."),
        (lambda root: shutil.rmtree(root) or root.write_text("x"), "is no folder."),
        (lambda root: shutil.rmtree(root) or root.mkdir(), "there is no folder of images in it. Wanted is"),
    ],
)
def test_what_cannot_be_learned_from_is_refused_with_a_sentence_and_described_on_the_form(
    tmp_path: Path, spoil: Callable[[Path], object], sentence: str
) -> None:
    root = small(tmp_path / "p")
    spoil(root)
    settings = of(root, skip_broken=True)
    said = refusal(settings)
    assert sentence in said and said.startswith(str(root))
    assert describe(settings).text.count("\n") == 0 and describe_run(settings).lines()


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = small(tmp_path / "p")
    real = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert refusal(of(root)) == f"{root}/b: this folder cannot be read: Permission denied."
    assert "Permission denied" in describe(of(root)).text


def test_a_folder_takes_no_arguments(tmp_path: Path) -> None:
    assert "takes no 'x'. It takes none." in refusal(of(small(tmp_path / "p"), dataset_arg="x=1"))
