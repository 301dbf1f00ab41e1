"""What is held against what: our program on one side, a peer or a plain loop on the other, and how a side is run."""

import importlib.metadata
import json
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import turns
from peers.fashion import DEBIAN, unzipped
from turns import Side, in_turn

PEERS = Path(__file__).parent / "peers"
QUIET = 0.1
"""Cores that others may keep busy. One busy core of two made an epoch 5 to 20 times as slow here, on either side."""


@dataclass(frozen=True)
class Ours:
    """The real program, headless, with the tutorial's preset and these words."""

    words: tuple[str, ...] = ()

    def side(self, epochs: int, seed: int, data: Path, folder: Path) -> Side:
        words = ["--preset", "tutorial", "--dataset", "fashion-mnist", "--seed", str(seed), "--epochs", str(epochs)]
        words += ["--output-dir", str(folder), *self.words]
        if data != DEBIAN:
            words += ["--data-dir", str(unzipped(data))]
        return turns.ours(words, folder)

    def outcome(self, lines: list[str]) -> dict[str, Any]:
        """Seconds of each epoch, accuracy, loss, and what it warned of."""
        events = [json.loads(line) for line in lines]
        measured = [event for event in events if event["event"] == "Evaluated"][-1]
        return {
            "version": importlib.metadata.version("torch"),
            "epoch_seconds": [round(e["seconds"], 4) for e in events if e["event"] == "EpochEnded"],
            "accuracy": round(measured["accuracy"], 4),
            "loss": round(measured["loss"], 4),
            "warned": [event["text"] for event in events if event["event"] == "Warned"],
        }


@dataclass(frozen=True)
class Peer:
    """A program of `peers/` with these words."""

    script: str
    words: tuple[str, ...] = ()

    def side(self, epochs: int, seed: int, data: Path, folder: Path) -> Side:
        words = ["--epochs", str(epochs), "--seed", str(seed), "--data", str(data), *self.words]
        return turns.peer([str(PEERS / f"{self.script}.py"), *words], folder)

    def outcome(self, lines: list[str]) -> dict[str, Any]:
        """Seconds of each epoch, accuracy and loss."""
        said: dict[str, Any] = json.loads(lines[-1])
        return said


@dataclass(frozen=True)
class Comparison:
    """Our program against something else on the same work."""

    subject: str
    name: str
    title: str
    """What it is held against, as a table says it."""
    theirs: Peer | Ours
    ours: Ours
    least: float | None = None
    """Their seconds divided by ours should be this or more; None when it is only information."""
    distribution: str = "torch"
    """What must be installed for it."""
    epochs: int = 6

    def pair(self, seed: int, data: Path) -> dict[str, dict[str, Any]]:
        """The outcome of both sides, which have trained in turn.

        Raises:
            SideFailed: one of them did not get to its end.
        """
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            sides = (
                self.ours.side(self.epochs, seed, data, Path(one)),
                self.theirs.side(self.epochs, seed, data, Path(other)),
            )
            took = in_turn(*sides)
        return {
            "ours": self.ours.outcome(sides[0].lines) | took[0],
            "theirs": self.theirs.outcome(sides[1].lines) | took[1],
        }

    @property
    def full_name(self) -> str:
        return f"{self.subject}/{self.name}"

    def version(self) -> str | None:
        """The installed version of what it is held against; None when it is not installed."""
        try:
            return importlib.metadata.version(self.distribution)
        except importlib.metadata.PackageNotFoundError:
            return None


def steady(outcome: dict[str, Any]) -> float:
    """Seconds an epoch takes: the median without the first, which includes warming up."""
    seconds = outcome["epoch_seconds"]
    return statistics.median(seconds[1:] or seconds)


def ratio(pair: dict[str, Any]) -> float:
    """How many times as fast ours was: the median over the epochs that followed each other, without the first."""
    epochs = list(zip(pair["theirs"]["epoch_seconds"], pair["ours"]["epoch_seconds"], strict=True))
    return statistics.median(theirs / ours for theirs, ours in epochs[1:] or epochs)


def disturbance(pair: dict[str, Any]) -> float:
    """Cores that other processes kept busy beside the side that had it worse."""
    return max(side["others_cores"] for side in pair.values())


def all_comparisons(quick: bool) -> list[Comparison]:
    """Every comparison; quick ones train fewer batches and epochs."""
    cpu = ("--device", "cpu")
    ours = Ours(cpu)

    def epoch(
        name: str, title: str, least: float | None, distribution: str = "torch", script: str | None = None
    ) -> Comparison:
        peer = Peer(script or f"with_{name}", cpu)
        return Comparison("epoch", name, title, peer, ours, least, distribution, 2 if quick else 6)

    def network(name: str, title: str, batches: int, epochs: int) -> Comparison:
        words = ("--model", name, "--pad", "2", "--optimizer", "adam", *cpu)
        theirs = Peer("bare", (*words, "--limit-batches", str(batches)))
        us = Ours((*words, "--limit-train-batches", str(batches)))
        return Comparison("conv", name, f"{title}, {batches} batches", theirs, us, 0.95, epochs=epochs)

    def loading(name: str, title: str, workers: int, model: str, batches: int, whole: bool = True) -> Comparison:
        words = ("--workers", str(workers), "--model", model, *cpu)
        theirs = (*words, *(["--whole-batches"] if whole else []), "--limit-batches", str(batches))
        us = ("--data-path", "loader", *words, "--limit-train-batches", str(batches))
        return Comparison("loader", name, title, Peer("loader", theirs), Ours(us), 0.9, epochs=2 if quick else 4)

    def graphics(
        name: str, title: str, theirs: Peer | Ours, least: float | None, words: tuple[str, ...] = (), epochs: int = 6
    ) -> Comparison:
        return Comparison("gpu", name, title, theirs, Ours((*words, *gpu)), least, epochs=2 if quick else epochs)

    gpu = ("--device", "cuda")
    resnet = ("--model", "resnet18", "--pad", "2", "--optimizer", "adam")
    batches = ("--limit-train-batches", "200")
    small = (*resnet, "--batch-size", "512", "--channels-last")
    wide = ("--model", "cnn", "--model-arg", "channels=256,512", "--pad", "2", "--batch-size", "256", "--channels-last")
    few = 100 if quick else 0
    return [
        epoch("tutorial", "the tutorial's script", 3.8, script="tutorial"),
        epoch("bare", "bare loop over tensors in memory", 0.95, script="bare"),
        epoch("floor", "matrix products alone, no evaluation", 1 / 1.6, script="floor"),
        epoch("skorch", "skorch, on arrays", 1.5, "skorch"),
        epoch("keras", "Keras on torch, on arrays", None, "keras"),
        epoch("ignite", "Ignite", None, "pytorch-ignite"),
        epoch("fastai", "fastai", None, "fastai"),
        epoch("lightning", "Lightning", None, "lightning"),
        network("cnn", "small convolutional net at 32 x 32", *((50, 2) if quick else (100, 6))),
        network("resnet18", "ResNet-18 at 32 x 32", *((10, 2) if quick else (20, 6))),
        loading("whole-0", "whole batches, no workers, the tutorial's model", 0, "mlp", few),
        loading("whole-2", "whole batches, 2 workers, the tutorial's model", 2, "mlp", few),
        loading("items-2", "one image at a time, 2 workers, the tutorial's model", 2, "mlp", few, whole=False),
        loading("cnn-1", "whole batches, 1 worker, small convolutional net", 1, "cnn", 50 if quick else 200),
        graphics("tutorial", "the tutorial's script", Peer("tutorial", gpu), 30, epochs=3),
        graphics("bare", "bare loop over tensors on the GPU", Peer("bare", gpu), 0.95),
        graphics("graph", "CUDA graph on against off, the tutorial's model", Ours(("--cuda-graph", "off", *gpu)), 1),
        graphics(
            "graph-resnet18",
            "CUDA graph on against off, ResNet-18, batch 64, 200 batches",
            Ours((*resnet, *batches, "--cuda-graph", "off", *gpu)),
            1,
            (*resnet, *batches),
            epochs=4,
        ),
        graphics(
            "bf16",
            "bf16 against float32, convolutions of 256 and 512 channels, batch 256, channels last",
            Ours((*wide, *gpu)),
            1,
            (*wide, "--amp", "bf16"),
        ),
        graphics(
            "bf16-resnet18",
            "bf16 against float32, ResNet-18, batch 512, channels last",
            Ours((*small, *gpu)),
            None,
            (*small, "--amp", "bf16"),
            epochs=4,
        ),
    ]
