"""Any of several labels: a yes-or-no question for each, one output a label."""

from typing import Any

import torch
from torch import Tensor

from tui_trainer.run.events import ACCURACY, Score
from tui_trainer.training.data.balance import of_labels
from tui_trainer.training.data.examples import Data
from tui_trainer.training.tasks import Task
from tui_trainer.training.tasks.binary import YES_OR_NO, bce, share


class Labels:
    """Of each label: how often it was given rightly, wrongly, and not at all where it belongs, on the device."""

    def __init__(self, data: Data, device: torch.device) -> None:
        self._counts = torch.zeros(3, len(data.classes), dtype=torch.int64, device=device)
        self._exact = torch.zeros((), dtype=torch.int64, device=device)
        self._examples = 0

    def add(self, outputs: Tensor, y: Tensor) -> None:
        true, said = y > 0.5, outputs > 0  # a probability above a half
        self._counts += torch.stack([(true & said).sum(0), (~true & said).sum(0), (true & ~said).sum(0)])
        self._exact += (true == said).all(1).sum()
        self._examples += len(y)

    def figures(self) -> dict[str, Any]:
        rows = list(zip(*self._counts.tolist(), strict=True))
        labels = tuple(
            (share(right, right + extra), share(right, right + missed), f1(right, extra, missed), right + missed)
            for right, extra, missed in rows
        )
        right, extra, missed = (sum(column) for column in zip(*rows, strict=True))
        answers = self._examples * len(rows)
        return {
            "accuracy": share(answers - extra - missed, answers),
            "labels": labels,
            "scores": {
                "f1": sum(row[2] for row in labels) / len(labels),
                "f1_micro": f1(right, extra, missed),
                "exact_match": share(int(self._exact), self._examples),
            },
        }


def f1(right: int, extra: int, missed: int) -> float:
    """The harmonic mean of precision and recall; 0 when a label is neither there nor given."""
    return share(2 * right, 2 * right + extra + missed)


TASK = Task(
    name="multilabel",
    kind="labels",
    losses=YES_OR_NO,
    scores=(Score("f1"), Score("f1_micro"), ACCURACY, Score("exact_match")),
    outputs=lambda data: len(data.classes),
    meter=Labels,
    weights=of_labels,
    weighted={"bce": bce},
    probabilities=lambda outputs: outputs.sigmoid(),
    meaning="one raw output a label; sigmoid gives its probability",
)
"""`f1` is the mean of the labels' own, `f1_micro` that of all answers together. `accuracy` is the share of all answers,
an answer for each label of each example, that are right; `exact_match` that of examples with no wrong answer."""
