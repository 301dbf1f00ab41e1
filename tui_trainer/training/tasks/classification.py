"""One class of several: the share that is right, and what is taken for what."""

from typing import Any

import torch
from torch import Tensor

from tui_trainer.run.events import ACCURACY
from tui_trainer.training.data.balance import of_classes
from tui_trainer.training.data.examples import Data
from tui_trainer.training.step.losses import LOSSES, cross_entropy
from tui_trainer.training.tasks import Task

MOST_CLASSES = 1000
"""Classes that the table of what is taken for what is kept for: with 10,000 it would have 100 million cells."""


class Confusion:
    """Counts of [true][predicted], kept on the device; of very many classes only how often they are right."""

    def __init__(self, data: Data, device: torch.device) -> None:
        self._told = len(data.classes) <= MOST_CLASSES
        self._classes = len(data.classes) if self._told else 2
        self._counts = torch.zeros(self._classes**2, dtype=torch.int64, device=device)

    def add(self, outputs: Tensor, y: Tensor) -> None:
        said = outputs.argmax(1)
        if not self._told:
            said, y = said.eq(y).long(), torch.ones_like(y)
        cells = y * self._classes + said
        self._counts.scatter_add_(0, cells, torch.ones_like(y))  # bincount waits for the device

    def figures(self) -> dict[str, Any]:
        counts = self._counts.view(self._classes, self._classes).tolist()
        right = sum(counts[i][i] for i in range(self._classes))
        return {
            "accuracy": right / max(1, sum(map(sum, counts))),
            "confusion": tuple(tuple(row) for row in counts) if self._told else (),
        }


TASK = Task(
    name="classification",
    kind="class",
    losses=LOSSES,
    scores=(ACCURACY,),
    outputs=lambda data: len(data.classes),
    meter=Confusion,
    weights=of_classes,
    weighted={"cross_entropy": cross_entropy},
    probabilities=lambda outputs: outputs.softmax(1),
    said=lambda outputs: outputs.argmax(1),
    meaning="one raw output a class; softmax gives probabilities",
)
