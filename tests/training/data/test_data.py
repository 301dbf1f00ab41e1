"""Where data comes from, what is refused, and how it is split and ordered."""

import gzip
import hashlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import FashionMNIST

from tests.training.plain_loop import mini, only
from tui_trainer import catalog
from tui_trainer.catalog import IDX_FILES, MINI_FOLDER, SYSTEM_FOLDER, find_files
from tui_trainer.errors import DataError
from tui_trainer.run import commands
from tui_trainer.run.commands import Inbox
from tui_trainer.run.events import BatchTrained, Event, Preparing, RunStarted, Warned
from tui_trainer.settings.schema import Settings
from tui_trainer.training.data.batches import Order, Resident
from tui_trainer.training.data.examples import Data
from tui_trainer.training.data.readers.idx import read_idx, read_split
from tui_trainer.training.data.splits import load, stratified
from tui_trainer.training.loop import fit

HAS_REAL_FILES = all((SYSTEM_FOLDER / f"{name}.gz").is_file() for name in IDX_FILES)
needs_real_files = pytest.mark.skipif(not HAS_REAL_FILES, reason="needs Debian's dataset-fashion-mnist")
IMAGES, LABELS = IDX_FILES[:2]


def loaded(settings: Settings) -> tuple[Data, list[Event]]:
    """The data of the settings, and what was told on the way."""
    loading, events = load(settings), []
    while True:
        try:
            events.append(next(loading))
        except StopIteration as done:
            return done.value, events


def idx(values: np.ndarray, *, magic: int | None = None) -> bytes:
    """An idx file of bytes, as LeCun's page describes it."""
    return struct.pack(f">{1 + values.ndim}I", magic or 0x800 + values.ndim, *values.shape) + values.tobytes()


def write_set(folder: Path, *, train: int = 20, test: int = 10, labels: int = 10) -> Path:
    """Four small unzipped files in torchvision's layout."""
    folder.mkdir(parents=True)
    for names, count in ((IDX_FILES[:2], train), (IDX_FILES[2:], test)):
        (folder / names[0]).write_bytes(idx(np.full((count, 28, 28), 7, np.uint8)))
        (folder / names[1]).write_bytes(idx(np.arange(count, dtype=np.uint8) % labels))
    return folder


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Torchvision's folder below the data folder of `Settings`."""
    return tmp_path / "data" / "FashionMNIST" / "raw"


@pytest.fixture
def no_system_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "SYSTEM_FOLDER", tmp_path / "nothing here")


# --- splits and order ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_the_held_out_part_has_exactly_the_same_share_of_every_class(tiny: Settings, fraction: float) -> None:
    data, _ = loaded(tiny.model_copy(update={"valid_fraction": fraction}))
    per_class = torch.bincount(mini("train")[1], minlength=10)
    assert torch.bincount(data.valid.targets, minlength=10).tolist() == [round(fraction * int(n)) for n in per_class]
    assert len(data.train) + len(data.valid) == 5000
    assert data.test is not None and len(data.test) == 1000


def test_a_stratified_share_is_exact_for_classes_of_any_size() -> None:
    labels = torch.tensor([0] * 30 + [1] * 9 + [5] * 1 + [2] * 100)[torch.randperm(140)]
    chosen = stratified(labels, 0.3, seed=0)
    assert torch.bincount(labels[chosen], minlength=6).tolist() == [9, 3, 30, 0, 0, 0]


def test_the_held_out_part_is_drawn_by_the_seed_and_shares_nothing_with_the_rest(tiny: Settings) -> None:
    labels = mini("train")[1]
    chosen = stratified(labels, 0.1, seed=0)
    assert torch.equal(chosen, stratified(labels, 0.1, seed=0))
    assert not torch.equal(chosen, stratified(labels, 0.1, seed=1))
    data, _ = loaded(tiny)
    X = mini("train")[0]
    assert torch.equal(data.valid[torch.arange(500)][0], X[chosen])
    assert torch.equal(data.train[torch.arange(4500)][0], X[~chosen])


def test_the_largest_seed_that_can_be_set_is_used(tiny: Settings) -> None:
    largest = 2**63 - 1
    assert only(BatchTrained, fit(tiny.model_copy(update={"seed": largest, "epochs": 1}), Inbox()))
    assert len(list(Order(100, 10, seed=largest))) == 10


def test_an_order_gives_every_example_once_by_seed_and_epoch_alone() -> None:
    order = Order(103, 10, seed=4)
    first = torch.cat(list(order))
    assert sorted(first.tolist()) == list(range(103)) and first.tolist() != list(range(103))
    torch.rand(9)  # nobody else's random numbers matter
    assert torch.equal(torch.cat(list(order)), first)
    order.epoch = 2
    assert not torch.equal(torch.cat(list(order)), first)
    assert not torch.equal(torch.cat(list(Order(103, 10, seed=5))), first)
    assert [len(batch) for batch in order] == [10] * 10 + [3] and len(order) == 11 and order.examples == 103


@pytest.mark.parametrize(("limit", "batches", "examples"), [(0, 11, 103), (4, 4, 40), (11, 11, 103), (99, 11, 103)])
def test_a_limit_takes_the_first_batches_of_the_same_order(limit: int, batches: int, examples: int) -> None:
    order, whole = Order(103, 10, seed=4, limit=limit), list(Order(103, 10, seed=4))
    assert (len(order), order.examples) == (batches, examples)
    assert all(torch.equal(one, other) for one, other in zip(order, whole[:batches], strict=True))


def test_without_a_seed_the_order_is_that_of_the_data() -> None:
    assert torch.cat(list(Order(25, 10, seed=None))).tolist() == list(range(25))


def test_batches_hold_what_torchvision_makes_of_an_image(tiny: Settings) -> None:
    from torchvision.transforms.v2.functional import pil_to_tensor, to_dtype, to_pil_image

    data, _ = loaded(tiny.model_copy(update={"valid_fraction": 0.0}))
    X, y = next(iter(Resident(data.train, Order(5000, 16, seed=None), torch.device("cpu"))))
    assert (X.shape, X.dtype, y.shape, y.dtype) == ((16, 1, 28, 28), torch.float32, (16,), torch.int64)
    tensors = [pil_to_tensor(to_pil_image(image)) for image in data.train.inputs[:16]]
    torch.testing.assert_close(X, to_dtype(torch.stack(tensors), torch.float32, scale=True), rtol=0, atol=1e-7)
    assert torch.equal(y, mini("train")[1][:16])


def test_a_part_too_small_to_hold_anything_is_refused(raw: Path) -> None:
    write_set(raw, train=20)
    with pytest.raises(DataError, match=r"valid_fraction 0\.1 leaves no examples on one side of 20"):
        loaded(Settings(valid_fraction=0.1))


@pytest.mark.parametrize(("examples", "batches"), [(1, 1), (2, 1), (7, 1), (8, 1), (9, 2)])
def test_a_data_set_of_few_examples_is_trained_on_in_as_many_batches_as_it_fills(
    raw: Path, examples: int, batches: int
) -> None:
    write_set(raw, train=examples)
    settings = Settings(batch_size=8, valid_fraction=0, epochs=2, device="cpu", seed=0, log_interval=1)
    events = list(fit(settings, Inbox()))
    assert events[-1].reason == "finished"
    assert [event.batches for event in only(BatchTrained, events)] == [batches] * 2 * batches


def test_the_program_holds_5000_and_1000_images_of_ten_even_classes(tiny: Settings) -> None:
    data, events = loaded(tiny)
    assert (data.name, data.source, events) == (
        "fashion-mnist-mini",
        "fashion-mnist-mini part of the program",
        [],
    )
    assert data.shape == (1, 28, 28) and len(data.classes) == 10
    assert torch.bincount(mini("train")[1]).tolist() == [500] * 10
    assert torch.bincount(mini("t10k")[1]).tolist() == [100] * 10


# --- damaged files -------------------------------------------------------------------------------------------------

SMALL = idx(np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4))
"""An idx file of 16 + 24 bytes."""


def test_an_idx_file_is_read_plain_or_gz_and_can_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(SMALL)
    (tmp_path / "packed.gz").write_bytes(gzip.compress(SMALL))
    for name in ("plain", "packed"):
        array = read_idx(tmp_path, name, 3)
        assert array.shape == (2, 3, 4) and array.ravel().tolist() == list(range(24))
        assert array.flags.writeable, "torch warns of arrays that are not"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (SMALL[:-1], "expected 40 bytes, found 39"),
        (SMALL + b"x", "expected 40 bytes, found 41"),
        (SMALL[:16], "expected 40 bytes, found 16"),
        (SMALL[:15], "not an idx file of 3 dimensions"),
        (b"", "not an idx file of 3 dimensions"),
        (b"<html>please log in</html>", r"not an idx file of 3 dimensions \(it begins 3c68746d\)"),
        (idx(np.zeros((2, 3, 4), np.uint8), magic=0x903), r"not an idx file of 3 dimensions \(it begins 00000903\)"),
        (idx(np.zeros(40, np.uint8)), r"not an idx file of 3 dimensions \(it begins 00000801\)"),
        (struct.pack(">4I", 0x803, 2**32 - 1, 2**32 - 1, 2**32 - 1), "expected 79,228,162,4.*, found 16"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_file_is_named_with_what_was_expected_and_found(
    tmp_path: Path, content: bytes, message: str, packed: bool
) -> None:
    path = tmp_path / ("data.gz" if packed else "data")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DataError, match=message) as refused:
        read_idx(tmp_path, "data", 3)
    assert str(path) in str(refused.value) and refused.value.exit_code == 3


@pytest.mark.parametrize("damage", ["cut", "flipped", "no gzip", "tail cut"])
def test_a_damaged_gz_file_is_named(tmp_path: Path, damage: str) -> None:
    packed = bytearray(gzip.compress(SMALL * 50))
    content = {
        "cut": packed[: len(packed) // 2],
        "flipped": packed[:-6] + bytes([packed[-6] ^ 1]) + packed[-5:],
        "no gzip": b"no gzip at all",
        "tail cut": packed[:-3],
    }[damage]
    (tmp_path / "data.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"data\.gz: the compressed data is cut short or damaged\. Replace the file"):
        read_idx(tmp_path, "data", 3)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte: there is no such file"):
        read_split(tmp_path, IMAGES, LABELS)


def spoil_labels(folder: Path) -> None:
    (folder / LABELS).write_bytes(idx(np.zeros(19, np.uint8)))


def spoil_shape(folder: Path) -> None:
    (folder / IMAGES).write_bytes(idx(np.zeros((20, 32, 32), np.uint8)))


def spoil_classes(folder: Path) -> None:
    (folder / LABELS).write_bytes(idx(np.full(20, 99, np.uint8)))


def spoil_everything(folder: Path) -> None:
    (folder / IMAGES).write_bytes(idx(np.zeros((0, 28, 28), np.uint8)))
    (folder / LABELS).write_bytes(idx(np.zeros(0, np.uint8)))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_labels, "20 images in train-images-idx3-ubyte, but 19 labels"),
        (spoil_shape, r"images in .*FashionMNIST/raw are \(1, 32, 32\), not \(1, 28, 28\)"),
        (spoil_classes, "Label 99 in .*FashionMNIST/raw, but there are 10 classes"),
        (spoil_everything, "training split in .*FashionMNIST/raw has no examples"),
    ],
)
def test_files_that_do_not_fit_together_are_refused(raw: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(write_set(raw))
    with pytest.raises(DataError, match=message):
        loaded(Settings(valid_fraction=0.5))


# --- where it is looked for ----------------------------------------------------------------------------------------


def test_files_in_the_data_folder_come_before_those_of_the_system(
    tmp_path: Path, raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "SYSTEM_FOLDER", write_set(tmp_path / "system", train=60))
    assert find_files("fashion-mnist", "data") == tmp_path / "system"
    assert len(loaded(Settings(valid_fraction=0.5))[0].train) == 30
    write_set(raw, train=20)
    assert find_files("fashion-mnist", "data") == Path("data/FashionMNIST/raw")
    data, events = loaded(Settings(valid_fraction=0.5))
    assert len(data.train) == 10 and data.source == "fashion-mnist found in data/FashionMNIST/raw"
    assert events == []
    (raw / LABELS).unlink()
    assert find_files("fashion-mnist", "data") == tmp_path / "system", "three of four files are not the data set"
    (raw / f"{LABELS}.gz").write_bytes(gzip.compress(idx(np.arange(20, dtype=np.uint8) % 10)))
    assert find_files("fashion-mnist", "data") == Path("data/FashionMNIST/raw")


@pytest.mark.usefixtures("no_system_folder")
def test_files_found_nowhere_must_be_downloaded() -> None:
    assert find_files("fashion-mnist", "data") is None
    assert find_files("fashion-mnist-mini", "data") == MINI_FOLDER


@needs_real_files
def test_the_real_files_of_the_system_are_read_in_place(tmp_path: Path) -> None:
    data, events = loaded(Settings(seed=0))
    assert (len(data.train), len(data.valid)) == (54_000, 6_000)
    assert data.test is not None and len(data.test) == 10_000
    assert torch.bincount(data.train.targets).tolist() == [5_400] * 10
    assert torch.bincount(data.test.targets).tolist() == [1_000] * 10
    assert (data.source, events) == (f"fashion-mnist found in {SYSTEM_FOLDER}", [])
    assert not (tmp_path / "data").exists(), "nothing is copied or unzipped"
    assert round(float(data.test.inputs.float().mean()) / 255, 4) == 0.2868  # known of FashionMNIST


# --- downloading ---------------------------------------------------------------------------------------------------


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """Serves folders on this machine; gives the address, which ends in /."""
    servers: list[ThreadingHTTPServer] = []

    def start(folder: Path) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Makes torchvision's list of files name other mirrors, with the checksums of the files in `folder`."""
    monkeypatch.setattr(catalog, "SYSTEM_FOLDER", tmp_path / "nothing here")

    def point(*mirrors: str, folder: Path = MINI_FOLDER) -> None:
        sums = [(f"{n}.gz", hashlib.md5((folder / f"{n}.gz").read_bytes()).hexdigest()) for n in IDX_FILES]
        monkeypatch.setattr(FashionMNIST, "mirrors", list(mirrors))
        monkeypatch.setattr(FashionMNIST, "resources", sums)

    return point


@pytest.fixture
def refused_port() -> str:
    """An address where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}/"


def progress(events: list[Event]) -> list[str]:
    return [e.what for e in only(Preparing, events) if e.what.startswith("downloading")]


def bytes_of(folder: Path) -> int:
    return sum((folder / f"{name}.gz").stat().st_size for name in IDX_FILES)


@needs_real_files
def test_a_download_tells_its_progress_and_leaves_what_torchvision_reads(
    tmp_path: Path, raw: Path, serve: Callable[[Path], str], mirror: Callable[..., None]
) -> None:
    mirror(serve(SYSTEM_FOLDER), folder=SYSTEM_FOLDER)
    data, events = loaded(Settings(dataset="fashion-mnist", seed=0))
    told = progress(events)
    assert len(told) > 50 and told == [e.what for e in events]
    assert told[-1] == "downloading data: 30.9 MB of 30.9 MB"
    done = [float(what.split()[2]) for what in told if " MB of" in what]
    assert done == sorted(done)
    assert data.source == "fashion-mnist downloaded" and len(data.train) == 54_000

    assert sorted(path.name for path in raw.iterdir()) == sorted(IDX_FILES), "nothing half-done is left"
    theirs = FashionMNIST(tmp_path / "data", train=False, download=False)
    assert len(theirs) == 10_000 and len(FashionMNIST(tmp_path / "data", train=True, download=False)) == 60_000
    assert torch.equal(theirs.data, data.test.inputs[:, 0]) and torch.equal(theirs.targets, data.test.targets)
    assert find_files("fashion-mnist", "data") == Path("data/FashionMNIST/raw"), "it is found there from now on"


def test_a_download_fetches_only_what_is_missing(
    raw: Path, serve: Callable[[Path], str], mirror: Callable[..., None], tmp_path: Path
) -> None:
    (half := tmp_path / "half").mkdir()
    for name in IDX_FILES[2:]:
        (half / f"{name}.gz").write_bytes((MINI_FOLDER / f"{name}.gz").read_bytes())
    raw.mkdir(parents=True)
    for name in IDX_FILES[:2]:
        (raw / name).write_bytes(gzip.decompress((MINI_FOLDER / f"{name}.gz").read_bytes()))
    mirror(serve(half))
    data, _ = loaded(Settings(dataset="fashion-mnist"))
    assert len(data.train) == 4_500


def test_another_mirror_is_tried_when_one_is_gone_or_gives_other_bytes(
    tmp_path: Path, serve: Callable[[Path], str], mirror: Callable[..., None], refused_port: str
) -> None:
    (other := tmp_path / "other").mkdir()
    for name in IDX_FILES:
        size = (MINI_FOLDER / f"{name}.gz").stat().st_size
        (other / f"{name}.gz").write_bytes(bytes(size))
    mirror(refused_port, serve(tmp_path / "empty"), serve(other), serve(MINI_FOLDER))
    data, events = loaded(Settings(dataset="fashion-mnist"))
    assert (data.source, len(data.train)) == ("fashion-mnist downloaded", 4_500)
    done = [float(what.split()[2]) * {"MB": 1e6, "kB": 1e3, "B": 1}[what.split()[3]] for what in progress(events)]
    assert max(done) <= bytes_of(MINI_FOLDER) * 1.01, "what a bad mirror gave is not progress"


def test_bytes_with_another_checksum_are_refused_and_not_kept(
    raw: Path, tmp_path: Path, serve: Callable[[Path], str], mirror: Callable[..., None]
) -> None:
    (other := tmp_path / "other").mkdir()
    for name in IDX_FILES:
        (other / f"{name}.gz").write_bytes(gzip.compress(b"something else"))
    mirror(serve(other))
    with pytest.raises(DataError, match=r"cannot be downloaded .*the file has another checksum"):
        loaded(Settings(dataset="fashion-mnist"))
    assert list(raw.iterdir()) == []


def test_a_data_set_named_by_the_user_that_cannot_be_had_ends_the_run(
    mirror: Callable[..., None], refused_port: str
) -> None:
    mirror(refused_port)
    with pytest.raises(DataError) as refused:
        list(fit(Settings(dataset="fashion-mnist", device="cpu"), Inbox()))
    message = str(refused.value)
    assert "Connection refused" in message and refused_port in message
    assert "Nothing was trained" in message and "--dataset fashion-mnist-mini" in message
    assert refused.value.exit_code == 3


def test_a_data_set_nobody_named_is_replaced_loudly_when_it_cannot_be_had(
    mirror: Callable[..., None], refused_port: str
) -> None:
    mirror(refused_port)
    events = list(fit(Settings(device="cpu", epochs=1, limit_train_batches=1), Inbox()))
    (warned,) = only(Warned, events)
    assert "Connection refused" in warned.text and "Training on fashion-mnist-mini instead" in warned.text
    (started,) = only(RunStarted, events)
    assert started.settings["dataset"] == "fashion-mnist-mini"
    assert started.train_examples == 4_500 and started.data.startswith(
        "fashion-mnist-mini part of the program, held on cpu"
    )
    assert events[-1].reason == "finished"


def test_a_server_that_speaks_no_http_is_a_mirror_that_failed(mirror: Callable[..., None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            caller, _ = listening.accept()
            with caller:
                caller.recv(4096)
                caller.sendall(b"220 smtp.example.org ready\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        mirror(f"http://127.0.0.1:{listening.getsockname()[1]}/")
        try:
            with pytest.raises(DataError, match="cannot be downloaded"):
                loaded(Settings(dataset="fashion-mnist"))
        finally:
            thread.join()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, mirror: Callable[..., None]) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    mirror("http://127.0.0.1:1/")
    with pytest.raises(DataError, match="fashion-mnist cannot be saved in data/FashionMNIST/raw"):
        loaded(Settings(dataset="fashion-mnist"))


def test_stop_ends_a_download(serve: Callable[[Path], str], mirror: Callable[..., None], raw: Path) -> None:
    mirror(serve(MINI_FOLDER))
    inbox, events = Inbox(), []
    for event in fit(Settings(dataset="fashion-mnist", device="cpu"), inbox):
        events.append(event)
        if progress([event]):
            inbox.send(commands.Stop())
    assert len(progress(events)) == 1
    assert (events[-1].reason, events[-1].exit_code) == ("stopped", 0)
    assert not [path for path in raw.iterdir() if path.suffix != ".part"]
