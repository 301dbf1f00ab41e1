"""What a look tells, made up: answers for the data screen and the model screen without a process and without torch."""

import queue
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from tests.ui.conftest import Shown
from tui_trainer.cli.local_run import local_run
from tui_trainer.outlook.preview.facts import (
    Answer,
    Column,
    DataFacts,
    Histogram,
    Layer,
    Memory,
    ModelFacts,
    Order,
    Picture,
    Row,
    Sample,
    Samples,
    Speed,
    Split,
)
from tui_trainer.settings.schema import Settings
from tui_trainer.settings.sources import resolve
from tui_trainer.ui.app import TrainerApp
from tui_trainer.ui.screens import preview
from tui_trainer.ui.screens.data import DataScreen
from tui_trainer.ui.screens.model import ModelScreen

CLASSES = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


class Canned:
    """Takes the place of `PreviewProcess`: tells `script`, then a page of images for each order, until it is ended."""

    script: list[Answer] = []
    channels = 1
    made: "list[Canned]" = []

    def __init__(self, kind: str, settings: Settings) -> None:
        self.kind, self.settings = kind, settings
        self.orders: list[Order] = []
        self.ended = False
        self.pending = len(self.script)
        """Answers that the screen was not told yet."""
        self._more: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        Canned.made.append(self)

    def answers(self) -> Iterator[Answer]:
        for answer in self.script:
            yield answer
            self.pending -= 1
        if self.script and self.script[-1].error is None and self.script[-1].speed is None:
            for answer in iter(self._more.get, None):
                yield answer
                self.pending -= 1

    def tell(self, answer: Answer) -> None:
        self.pending += 1
        self._more.put(answer)

    def ask(self, order: Order) -> None:
        self.orders.append(order)
        facts = next(a.data for a in self.script if a.data is not None)
        self.tell(Answer(samples=page(order, facts, self.channels)))

    def end(self) -> None:
        self.ended = True
        self._more.put(None)


class Looked(Shown):
    """An app that shows one of the two screens."""

    async def settle(self) -> None:
        """Wait until all answers are told and drawn; what they ask for in turn too."""
        for _ in range(3):
            while any(canned.pending for canned in Canned.made if not canned.ended):
                await self.pilot.pause(0.005)
            await super().settle()


@asynccontextmanager
async def opened(
    monkeypatch: pytest.MonkeyPatch,
    script: list[Answer] | DataFacts | None,
    size: tuple[int, int] = (120, 40),
    kind: str = "data",
    colours: str = "truecolor",
    no_color: bool = False,
    channels: int = 1,
) -> AsyncIterator[tuple[Shown, Any]]:
    """One of the two screens, with these answers in place of a process; None leaves the process. No form beneath it."""
    monkeypatch.setenv("COLORTERM", colours)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    if script is not None:
        monkeypatch.setattr(preview, "PreviewProcess", Canned)
        monkeypatch.setattr(Canned, "script", [Answer(data=script)] if isinstance(script, DataFacts) else script)
    monkeypatch.setattr(Canned, "channels", channels)
    monkeypatch.setattr(Canned, "made", [])
    monkeypatch.setattr(preview, "time", SimpleNamespace(monotonic=lambda: 0.0))
    screen = (DataScreen if kind == "data" else ModelScreen)(Settings())
    app = TrainerApp(resolve([]), begin=local_run)
    monkeypatch.setattr(app, "show_form", lambda: app.push_screen(screen))  # the form takes most of the time
    async with app.run_test(size=size) as pilot:
        shown = Looked(pilot)
        await shown.settle()
        try:
            yield shown, screen
        finally:
            for canned in Canned.made:
                canned.end()


def page(order: Order, facts: DataFacts, channels: int = 1) -> Samples:
    """Images of which no two are alike."""
    samples = []
    for i in range(order.count):
        number = order.page * order.count + i
        label = order.only if order.only is not None else number % max(1, len(facts.classes))
        changed = picture(order, number + order.epoch, channels) if facts.changes else None
        name = facts.classes[label] if facts.classes else f"{number / 10:.1f}"
        samples.append(Sample(label=name, original=picture(order, number, channels), seen=changed))
    return Samples(order=order, pages=7, samples=tuple(samples))


def picture(order: Order, number: int, channels: int) -> Picture:
    """Stripes from dark to light."""
    width, height = order.width, order.height
    pixels = bytes(
        (8 * x + 5 * y * (c + 1) + 40 * number) % 256
        for y in range(height)
        for x in range(width)
        for c in range(channels)
    )
    return Picture(width=width, height=height, pixels=pixels)


def images(
    classes: tuple[str, ...] = CLASSES,
    counts: tuple[int, ...] = (5400,) * 10,
    shape: tuple[int, ...] = (1, 28, 28),
    kind: str = "class",
    changes: str = "flip_crop",
    name: str = "fashion-mnist",
    source: str = "fashion-mnist found in /usr/share/datasets/fashion-mnist",
) -> DataFacts:
    return DataFacts(
        name=name,
        source=source,
        kind=kind,
        shape=shape,
        classes=classes,
        splits=(
            Split(name="train", examples=sum(counts), counts=counts),
            Split(name="valid", examples=sum(counts) // 9, counts=tuple(n // 9 for n in counts)),
            Split(name="test", examples=10_000, counts=tuple(1000 for _ in counts)),
        ),
        kept="uint8",
        low=0,
        high=255,
        mean=72.94,
        std=90.02,
        looked_at=10_000,
        normalised="less 0.286, over 0.353",
        bytes=54_880_000,
        changes=changes,
    )


def table(kind: str = "number", columns: int = 8) -> DataFacts:
    names = ("MedInc", "HouseAge", "AveRooms", "AveBedrms", "Population", "AveOccup", "Latitude", "Longitude")
    chosen = [names[i] if i < len(names) else f"column {i + 1}" for i in range(columns)]
    return DataFacts(
        name="houses.csv",
        source="20,640 rows of houses.csv",
        kind=kind,
        shape=(columns,),
        classes=("price",) if kind == "number" else ("cheap", "dear"),
        splits=(
            Split(name="train", examples=18_576, counts=() if kind == "number" else (9000, 576)),
            Split(name="valid", examples=2_064, counts=() if kind == "number" else (1000, 64)),
        ),
        kept="float32",
        low=-124.35,
        high=35_682,
        mean=180.2,
        std=612.8,
        looked_at=10_000,
        normalised=f"mean and deviation of each of {columns} columns",
        bytes=660_480,
        columns=tuple(
            Column(name=n, low=-1.5 * i - 1, mean=10.25 * i, high=1000.5 * i + 1, missing=i if i == 3 else 0)
            if i != 4
            else Column(name=n, low=None, mean=None, high=None, values="4 texts: INLAND, ISLAND, NEAR BAY, <1H OCEAN")
            for i, n in enumerate(chosen)
        ),
        rows=tuple(
            Row(values=tuple(f"{0.37 * (r + 1) * (i + 1):.3g}" for i in range(columns)), target=f"{1.5 + 0.1 * r:.1f}")
            for r in range(40)
        ),
        targets=(
            Histogram(
                name="price",
                low=0.15,
                high=5.0,
                mean=2.07,
                bins=(120, 410, 900, 1500, 1900, 2100, 1800, 1400, 1100, 900, 700, 600, 420, 300, 250, 200, 150, 120),
            ),
        )
        if kind == "number"
        else (),
    )


def model(layers: int = 7, name: str = "cnn", frozen: bool = False) -> ModelFacts:
    kinds = ("Conv2d", "ReLU", "MaxPool2d", "Flatten", "Linear", "Dropout", "Linear")
    sizes = (320, 0, 0, 0, 401_536, 0, 1_290)
    rows = tuple(
        Layer(
            name=f"features.{i}",
            type=kinds[i % 7],
            output="32 x 28 x 28" if i % 7 < 3 else "128",
            parameters=sizes[i % 7],
            trainable=0 if frozen and i < layers - 1 else sizes[i % 7],
        )
        for i in range(layers)
    )
    return ModelFacts(
        name=name,
        shape=(1, 28, 28),
        outputs=10,
        layers=rows,
        parameters=sum(row.parameters for row in rows),
        trainable=sum(row.trainable for row in rows),
        loss="cross_entropy",
        task="classification",
    )


MEMORY = Memory(
    batch_size=64,
    weights=1_686_568,
    gradients=1_686_568,
    optimizer=3_373_168,
    activations=20_984_324,
    data=54_880_000,
    optimizer_name="adam",
    free=16_200_000_000,
    device="cpu, 2 threads",
)
SPEED = Speed(
    batches=60,
    left_out=3,
    batch_size=64,
    batches_per_second=20.4,
    examples_per_second=1306.1,
    epoch_batches=844,
    epochs=5,
    epoch_seconds=41.4,
    valid_seconds=1.73,
    cores_used=1.9,
    cores=2,
    waited=0.012,
    data_path="held on cpu, 54.9 MB",
)
