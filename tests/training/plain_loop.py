"""The tutorial's loop in plain PyTorch, written without tui_trainer's own: what a run is held against."""

import gzip
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from tui_trainer.catalog import MINI_FOLDER
from tui_trainer.run.commands import Command, Inbox
from tui_trainer.run.events import BatchTrained, Event
from tui_trainer.settings.schema import Settings
from tui_trainer.training.before.prepare import prepare
from tui_trainer.training.course import Course
from tui_trainer.training.data.batches import Order
from tui_trainer.training.loop import fit

NARROW = {
    "mlp": {"model": "mlp", "model_arg": "hidden=32,32"},
    "cnn": {"model": "cnn", "model_arg": "channels=4,8 hidden=16"},
    "resnet18": {"model": "resnet18", "model_arg": ""},
}
"""Settings of models that take next to no time, where there are such."""


class NeuralNetwork(nn.Module):
    """The tutorial's model, as the tutorial writes it, as narrow as that of `tiny`."""

    width = 32

    def __init__(self) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.linear_relu_stack = nn.Sequential(
            nn.Linear(28 * 28, self.width), nn.ReLU(), nn.Linear(self.width, self.width), nn.ReLU(),
            nn.Linear(self.width, 10),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_relu_stack(self.flatten(x))


class Tutorial(NeuralNetwork):
    """The tutorial's model to the letter."""

    width = 512


class Convolutional(nn.Module):
    """The cnn as its catalog entry describes it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, kernel_size=3, padding=1)
        self.linear1 = nn.Linear(64 * 7 * 7, 128)
        self.dropout = nn.Dropout(0.25)
        self.linear2 = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(self.conv1(x).relu(), 2)
        x = nn.functional.max_pool2d(self.conv2(x).relu(), 2)
        return self.linear2(self.dropout(self.linear1(x.flatten(1)).relu()))


def mini(split: str) -> tuple[Tensor, Tensor]:
    """The embedded images [N, 1, 28, 28] in 0 to 1 and labels [N] of `train` or `t10k`, read by nothing of ours."""
    images = gzip.decompress((MINI_FOLDER / f"{split}-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((MINI_FOLDER / f"{split}-labels-idx1-ubyte.gz").read_bytes())[8:]
    X = np.frombuffer(images, np.uint8).reshape(-1, 1, 28, 28).astype(np.float32) / 255
    return torch.from_numpy(X), torch.from_numpy(np.frombuffer(labels, np.uint8).astype(np.int64))


@dataclass
class Plain:
    """What a plain run went through."""

    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    """Length of each gradient, before clipping."""
    evaluated: list[tuple[float, float, list[list[int]]]] = field(default_factory=list)
    """Loss, accuracy and confusion on the test split after each epoch."""
    weights: list[Tensor] = field(default_factory=list)


def plain_loop(
    loss_fn: Callable[[Tensor, Tensor], Tensor],
    make_optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
    *,
    model: type[nn.Module] = NeuralNetwork,
    seed: int = 0,
    epochs: int = 2,
    batches: int = 8,
    batch_size: int = 64,
    clip: float = 0,
    before: Callable[[int, torch.optim.Optimizer], None] | None = None,
) -> Plain:
    """Train on the first `batches` of each epoch's order, validating on the test split as the tutorial does.

    `before` is called ahead of each optimizer step, with its number from 1.
    """
    X_train, y_train = mini("train")
    torch.manual_seed(seed)
    network, done = model(), Plain()
    optimizer = make_optimizer(network.parameters())
    order = Order(len(y_train), batch_size, seed=seed, limit=batches)
    for epoch in range(1, epochs + 1):
        order.epoch = epoch
        network.train()
        for indices in order:
            loss = loss_fn(network(X_train[indices]), y_train[indices])
            optimizer.zero_grad()
            loss.backward()
            done.losses.append(loss.item())
            done.norms.append(sum(float(p.grad.pow(2).sum()) for p in network.parameters()) ** 0.5)
            if clip:
                nn.utils.clip_grad_norm_(network.parameters(), clip)
            if before:
                before(len(done.losses), optimizer)
            optimizer.step()
        done.evaluated.append(measure(network, loss_fn, *mini("t10k")))
    done.weights = [p.detach().clone() for p in network.parameters()]
    return done


def measure(
    network: nn.Module, loss_fn: Callable[[Tensor, Tensor], Tensor], X: Tensor, y: Tensor
) -> tuple[float, float, list[list[int]]]:
    """Loss, accuracy and confusion of `network` on a split, counted one by one."""
    network.eval()
    with torch.no_grad():
        outputs = network(X)
        loss = loss_fn(outputs, y).item()
    guesses, confusion = outputs.argmax(1).tolist(), [[0] * 10 for _ in range(10)]
    for true, guess in zip(y.tolist(), guesses, strict=True):
        confusion[true][guess] += 1
    return loss, sum(confusion[i][i] for i in range(10)) / len(y), confusion


class Orders(Inbox):
    """An inbox whose orders were all sent beforehand: to wait for one that will never come fails the test."""

    def wait(self) -> Command:
        command = self.take()
        assert command is not None, "the run waits, though the order it waits for was already sent"
        return command


def steered(settings: Settings, orders: dict[int, list[Command]], folder: object = None) -> Iterator[Event]:
    """A run that gets `orders[step]` while its report of that step is looked at."""
    inbox = Orders()
    for event in fit(settings, inbox, folder):
        if isinstance(event, BatchTrained):
            for command in orders.pop(event.step, []):
                inbox.send(command)
        yield event


def prepared(settings: Settings, inbox: Inbox | None = None) -> Course:
    """The parts of a run just before its first step."""
    preparing = prepare(settings, inbox or Inbox(), None)
    while True:
        try:
            next(preparing)
        except StopIteration as done:
            return done.value


def only(kind: type[Event], events: Iterable[Event]) -> list:
    """The events of one kind."""
    return [event for event in events if isinstance(event, kind)]
