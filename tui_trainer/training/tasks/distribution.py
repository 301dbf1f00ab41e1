"""The share of each class: targets that are distributions, such as the votes of several people."""

from typing import Any

import torch
from torch import Tensor

from tui_trainer.run.events import ACCURACY, Score
from tui_trainer.training.data.examples import Data
from tui_trainer.training.step.losses import LOSSES
from tui_trainer.training.tasks import Task
from tui_trainer.training.tasks.classification import Confusion


class Shares:
    """How far the shares lie from the true ones, and which class is taken for which as the largest, on the device."""

    def __init__(self, data: Data, device: torch.device) -> None:
        self._largest = Confusion(data, device)
        self._variation = torch.zeros((), device=device)
        self._examples = 0

    def add(self, outputs: Tensor, y: Tensor) -> None:
        self._largest.add(outputs, y.argmax(1))
        self._variation += (outputs.float().softmax(1) - y).abs().sum() / 2
        self._examples += len(y)

    def figures(self) -> dict[str, Any]:
        variation = float(self._variation) / max(1, self._examples)
        return self._largest.figures() | {"scores": {"total_variation": variation}}


TASK = Task(
    name="distribution",
    kind="share",
    losses={name: LOSSES[name] for name in ("kl_div", "cross_entropy", "mse", "l1")},
    scores=(ACCURACY, Score("total_variation", "lower", "")),
    outputs=lambda data: len(data.classes),
    meter=Shares,
    probabilities=lambda outputs: outputs.softmax(1),
    said=lambda outputs: outputs.argmax(1),
    meaning="one raw output a class; softmax gives the shares",
)
"""`accuracy` is how often the largest share is that of the right class. `total_variation` is how much of the whole is
given to the wrong classes, 0 to 1, a mean over the examples."""
