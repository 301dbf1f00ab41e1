"""Whatever is given as a checkpoint: it never runs, it gets one clear sentence, and damage is never read as weights."""

import contextlib
import io
import itertools
import os
import pickle
import random
import resource
import socket
import unicodedata
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.faults import corpus
from tests.faults.corpus import BAD, RAN, WHOLE, pack
from tests.faults.rights import without_rights
from tests.faults.scale import many
from tui_trainer.errors import CheckpointError
from tui_trainer.training.saving.safe_load import load, misfit, not_plain, unpack, without_prefix


def same(a: object, b: object) -> bool:
    """Equal in kind, order, names and every number."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(map(same, a.values(), b.values()))
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def stored(value: object) -> dict[int, int]:
    """The bytes of each storage in a checkpoint, by its address."""
    if isinstance(value, torch.Tensor):
        return {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes()}
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return {address: size for item in items for address, size in stored(item).items()}


def assert_clear(message: str) -> None:
    hidden = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert not {ch for ch in message if unicodedata.category(ch) in hidden}
    assert len(message) <= 400 and message.endswith(".") and message.startswith("last.pt")
    assert not any(word in message for word in ("weights_only", "allowlist", "safe_globals", "Traceback"))


def outcome(damaged: bytes) -> str:
    """`refused`, `unchanged` or `other`; any exception but ours fails the test."""
    try:
        read = unpack(damaged, "last.pt")
    except CheckpointError as error:
        assert_clear(str(error))
        return "refused"
    assert sum(stored(read).values()) <= len(damaged)
    return "unchanged" if same(read, CONTENT) else "other"


CONTENT = unpack(WHOLE, "last.pt")


# --- the corpus ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_whole_checkpoint_gets_its_sentence_and_never_runs(tmp_path: Path, name: str) -> None:
    content, sentence = BAD[name]
    path = Path("last.pt")
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as refused:
        load(path)
    assert str(refused.value) == f"last.pt{'' if sentence.startswith(':') else ' '}{sentence}"
    assert_clear(str(refused.value))
    assert refused.value.exit_code == 5 and os.listdir(tmp_path) == ["last.pt"]


def test_torch_itself_is_asked_for_plain_numbers_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    real = torch.load

    def load_noted(*words: object, **more: object) -> object:
        asked.append(more.get("weights_only"))
        return real(*words, **more)

    monkeypatch.setattr(torch, "load", load_noted)
    unpack(WHOLE, "last.pt")
    assert asked == [True]


@pytest.mark.parametrize("payload", [corpus.MakesFolder, corpus.Evaluates])
def test_the_corpus_is_not_harmless_to_the_careless(payload: type) -> None:
    pickle.loads(pickle.dumps(payload()))
    assert Path(RAN).is_dir()


def test_a_whole_one_reads_as_it_was_packed() -> None:
    Path("last.pt").write_bytes(WHOLE)
    read = load(Path("last.pt"))
    assert same(read, corpus.checkpoint())
    assert read["model_state_dict"]._metadata == corpus.WEIGHTS._metadata


def test_rubbish_behind_a_checkpoint_does_no_harm() -> None:
    assert same(unpack(WHOLE + random.Random(0).randbytes(100), "last.pt"), CONTENT)


def test_what_a_model_on_any_device_or_of_any_number_type_holds_is_read() -> None:
    floats = (torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.complex64)
    types = (*floats, torch.uint16, torch.int8, torch.bool)
    weights = {str(kind): torch.ones(3).to(kind) for kind in types} | {"parameter": nn.Parameter(torch.ones(2))}
    weights |= {"empty": torch.empty(0), "scalar": torch.tensor(1.0), "view": torch.ones(4, 4).t()[1:]}
    checkpoint = {"model_state_dict": weights}
    assert not_plain(checkpoint) is None and same(unpack(pack(checkpoint), "last.pt"), checkpoint)


def test_tensors_saved_on_another_device_arrive_on_the_cpu() -> None:
    program = corpus.unzipped(WHOLE)["archive/data.pkl"]
    on_cuda = program.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
    assert on_cuda != program
    assert same(unpack(corpus.with_part(WHOLE, "data.pkl", on_cuda), "last.pt"), CONTENT)


# --- paths ---------------------------------------------------------------------------------------------------------


def test_no_file_a_folder_a_pipe_a_device_a_socket_and_a_link_to_nothing_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("gone")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "text").write_text("a")
    (tmp_path / "huge").touch()
    os.truncate(tmp_path / "huge", 1 << 42)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        said = {
            "gone": ": there is no such file.",
            "link": ": there is no such file (it is a link to a missing file).",
            "folder": " is a folder; give the .pt file inside it.",
            "pipe": " is not a plain file.",
            "socket": " is not a plain file.",
            "/dev/zero": " is not a plain file.",
            "loop": ": Too many levels of symbolic links.",
            "text/last.pt": ": Not a directory.",
            "n" * 300: ": File name too long.",
            "nul\0.pt": " is not a name that a file can have.",
        }
        for name, sentence in said.items():
            with pytest.raises(CheckpointError) as refused:
                load(Path(name))
            shown = name.replace("\0", r"\x00") if len(name) <= 200 else "n" * 199 + "…"
            assert str(refused.value) == shown + sentence
    with pytest.raises(CheckpointError, match=r"^huge has 4398.0 GB; to read it takes 8796.1 GB of memory, and "):
        load(Path("huge"))


def test_a_file_without_rights_says_so() -> None:
    path = Path("last.pt")
    path.write_bytes(WHOLE)
    with without_rights(path), pytest.raises(CheckpointError, match=r"^last\.pt: you may not read this file\.$"):
        load(path)


def test_a_pipe_that_somebody_writes_to_is_refused_as_well(tmp_path: Path) -> None:
    os.mkfifo("last.pt")
    fd = os.open("last.pt", os.O_RDWR)
    os.write(fd, WHOLE[:100])
    with pytest.raises(CheckpointError, match=r"is not a plain file\.$"):
        load(tmp_path / "last.pt")
    os.close(fd)


# --- chance --------------------------------------------------------------------------------------------------------


def test_no_flipped_bit_is_read_as_something_else() -> None:
    generator, outcomes = random.Random(1), Counter[str]()
    parts = b"".join(content for name, content in corpus.unzipped(WHOLE).items() if "data/" in name)
    plain = 0
    count = many(150, 1000)
    for _ in range(count):
        damaged = corpus.flipped(WHOLE, generator.randrange(len(WHOLE)), generator.randrange(8))
        outcomes[outcome(damaged)] += 1
        with contextlib.suppress(Exception):
            plain += not same(dict(torch.load(io.BytesIO(damaged), weights_only=True)), CONTENT)
    print(f"{count} flipped bits: {dict(outcomes)}; torch.load alone read other content from {plain}")
    assert outcomes["other"] == 0 and parts and plain > 0


def test_no_flipped_bit_of_the_content_goes_unnoticed() -> None:
    generator = random.Random(2)
    parts = [content for content in corpus.unzipped(WHOLE).values() if len(content) >= 32]
    count = many(150, 1000)
    noticed = 0
    for _ in range(count):
        part = generator.choice(parts)
        at = WHOLE.index(part) + generator.randrange(len(part))
        noticed += outcome(corpus.flipped(WHOLE, at, generator.randrange(8))) == "refused"
    print(f"{count} flipped bits of content: {noticed} noticed")
    assert noticed == count


def mutated(data: bytes, generator: random.Random) -> bytes:
    """`data` with some bytes changed, cut out, put in, doubled or exchanged."""
    changed = bytearray(data)
    for _ in range(generator.randint(1, 3)):
        a, b = sorted(generator.randrange(len(changed) + 1) for _ in range(2))
        b = min(b, a + generator.choice((1, 4, 50, len(changed))))
        match generator.randrange(6):
            case 0:
                for _ in range(generator.randint(1, 8)):
                    changed[generator.randrange(len(changed))] = generator.randrange(256)
            case 1 if b - a < len(changed):
                del changed[a:b]
            case 2:
                changed[a:a] = generator.randbytes(generator.randint(1, 40))
            case 3:
                changed[a:a] = changed[a:b]
            case 4:
                c = generator.randrange(len(changed) + 1)
                chunk = changed[a:b]
                del changed[a:b]
                changed[min(c, len(changed)) : min(c, len(changed))] = chunk
            case _:
                changed[generator.randrange(len(changed))] ^= 1 << generator.randrange(8)
        changed = changed or bytearray(b"P")
    return bytes(changed)


def test_a_mutated_checkpoint_is_refused_or_reads_as_it_was() -> None:
    generator, outcomes, recomputed = random.Random(3), Counter[str](), Counter[str]()
    count = many(400, 10_000)
    program = corpus.unzipped(WHOLE)["archive/data.pkl"]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for trial in range(count):
        if trial % 3:
            outcomes[outcome(mutated(WHOLE, generator))] += 1
        else:
            damaged = corpus.with_part(WHOLE, "data.pkl", mutated(program, generator))
            recomputed[outcome(damaged)] += 1
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{count} mutations: {dict(outcomes)}; with right checksums: {dict(recomputed)}; {grown} kB more memory")
    assert outcomes["other"] == 0 and outcomes["refused"] > outcomes["unchanged"]
    assert recomputed["refused"] > recomputed["other"]
    assert grown < 50_000


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of memory is read as Linux tells it")
def test_a_large_checkpoint_takes_less_than_three_times_its_size() -> None:
    Path("last.pt").write_bytes(pack({"model_state_dict": {str(i): torch.ones(1 << 20) for i in range(30)}}))
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak is then that from here on
    before = peak()
    load(Path("last.pt"))
    assert peak() - before < 3 * Path("last.pt").stat().st_size


def peak() -> int:
    """The most memory this process has had, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


# --- before saving -------------------------------------------------------------------------------------------------


class Number(float):
    """A subclass of a plain type: pickled by its name."""


def unplain() -> dict[str, tuple[object, str]]:
    hooked = torch.ones(1)
    hooked.note = "x"  # type: ignore[attr-defined]
    noted = OrderedDict(a=torch.ones(1))
    vars(noted)["note"] = 1
    return {
        "numpy": ({"a": [1, {"lr": np.float64(1)}]}, "a[1].lr (numpy.float64)"),
        "a subclass": ({"a": (Number(1),)}, "a[0] (tests.faults.test_safe_load.Number)"),
        "a set": ({"a": {1}}, "a (set)"),
        "bytes": ({"a": b""}, "a (bytes)"),
        "a path": ({"optimizer": {"state": {0: Path("x")}}}, "optimizer.state.0 (pathlib.PosixPath)"),
        "a counter": ({"a": Counter()}, "a (collections.Counter)"),
        "a key": ({"a": {np.int64(0): 1}}, "a (a key that is a numpy.int64)"),
        "an empty key": ({"a": {(): 1}}, "a (a key that is a tuple)"),
        "an array": ({"a": np.ones(2)}, "a (numpy.ndarray)"),
        "a device": ({"a": torch.device("cpu")}, "a (torch.device)"),
        "a type": ({"a": torch.float32}, "a (torch.dtype)"),
        "a long number": ({"a": 1 << 5000}, "a (a number of too many digits)"),
        "a sparse tensor": (
            {"a": torch.eye(2).to_sparse()},
            "a (a tensor that is sparse, quantized, nested or without numbers)",
        ),
        "a tensor with a note": ({"a": hooked}, "a (a tensor with attributes)"),
        "a dict with a note": ({"a": noted}, "a (collections.OrderedDict with attributes)"),
        "an expanded tensor": ({"a": torch.ones(1).expand(9)}, "a (a tensor larger than its storage)"),
        "codes": ({"\x1b[2J": {1}}, r"\x1b[2J (set)"),
    }


@pytest.mark.parametrize("name", unplain())
def test_what_could_not_be_read_again_is_found_before_it_is_saved(name: str) -> None:
    content, place = unplain()[name]
    assert not_plain(content) == place
    checkpoint: Any = {"model_state_dict": {}, "content": content}
    with pytest.raises(CheckpointError):
        unpack(pack(checkpoint), "last.pt")


def test_what_a_run_saves_is_plain() -> None:
    assert not_plain(corpus.checkpoint()) is None
    assert not_plain({"a": [None, True, 1 << 70, -1.5, float("nan"), "\ud800", (), {}, {None: 1}]}) is None


# --- another model -------------------------------------------------------------------------------------------------


def test_weights_of_another_model_are_counted_and_the_first_is_shown() -> None:
    def weights(*widths: int) -> dict[str, torch.Tensor]:
        pairs = itertools.pairwise(widths)
        return nn.Sequential(*(nn.Linear(a, b) for a, b in pairs)).state_dict()

    model = weights(7, 5, 2)
    assert misfit(model, weights(7, 5, 2), "last.pt") is None
    assert misfit(model, weights(7, 4, 2), "last.pt") == (
        "last.pt is from another model: 0 missing, 0 too many, 3 of another shape (first: 0.weight: file (4, 7), model "
        "(5, 7))."
    )
    assert misfit(model, weights(7, 5), "last.pt") == (
        "last.pt is from another model: 2 missing, 0 too many, 0 of another shape (first: 1.weight: not in the file)."
    )
    assert misfit(model, model | {"\x1b": torch.ones(1)}, "last.pt") == (
        "last.pt is from another model: 0 missing, 1 too many, 0 of another shape (first: \\x1b: not in the model)."
    )


def test_the_prefix_of_distributed_training_is_taken_off_when_all_names_have_it() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    wrapped = nn.Module()
    wrapped.module = model
    saved = unpack(pack({"model_state_dict": wrapped.state_dict()}), "last.pt")["model_state_dict"]
    bare = without_prefix(saved)
    assert list(bare) == list(model.state_dict()) and list(saved) == list(wrapped.state_dict())
    assert vars(bare)["_metadata"] == model.state_dict()._metadata  # type: ignore[attr-defined]
    model.load_state_dict(bare)
    assert without_prefix(bare) is bare
    assert without_prefix(saved | {"other": torch.ones(1)}).keys() == saved.keys() | {"other"}
    assert without_prefix(saved, wrapped.state_dict()) is saved
