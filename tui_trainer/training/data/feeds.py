"""The batches of a run: of its training split in a new order each epoch, of the others in their own."""

from collections.abc import Iterator

import torch
from torch import Tensor

from tui_trainer.settings.schema import Settings
from tui_trainer.training.data import balance
from tui_trainer.training.data.batches import Batches, Order, choose_path, make_batches
from tui_trainer.training.data.examples import Batch, Data, Examples
from tui_trainer.training.models.own import Change

EVALUATION_BATCH = 512
"""Examples measured at once when training batches are smaller: no gradients are kept, so more fit."""


class Feeds:
    """How the splits of a run reach the device, batch by batch."""

    def __init__(self, settings: Settings, splits: Data, device: torch.device, augment: Change | None) -> None:
        """`augment` is the user's own random change of a batch, if there is one."""
        s = self._settings = settings
        self._splits, self._device = splits, device
        self.path = choose_path(s, splits.parts, device)
        """How the data reaches the device, and why."""
        self.order = Order(
            len(splits.train),
            s.batch_size,
            seed=None if s.overfit_batches else s.seed or 0,
            limit=s.limit_train_batches,
            classes=balance.classes_to_draw(s, splits),
        )
        """That of the training examples."""
        self._train = make_batches(self.path, splits, splits.train, self.order, device, s, augment)
        self.valid = self._to_measure(splits.valid)
        self.test = None if splits.test is None else self._to_measure(splits.test)

    def _to_measure(self, images: Examples) -> Batches:
        """A split in its own order, in large batches."""
        size = max(self._settings.batch_size, EVALUATION_BATCH)
        order = Order(len(images), size, seed=None, limit=1 if self._settings.dry_run else 0)
        return make_batches(self.path, self._splits, images, order, self._device, self._settings)

    def train(self, epoch: int, first: int) -> Iterator[Batch]:
        """The training batches of an epoch (from 1), the `first` ones left out."""
        self.order.epoch, self.order.first = epoch, first
        return iter(self._train)

    def inputs_of(self, examples: Examples, indices: Tensor) -> Batch:
        """The examples at `indices` as the model sees them when it is measured, and their targets, on the device."""
        inputs, y = examples.raw(indices)
        return self.valid.as_inputs(inputs.to(self._device)), y.to(self._device)

    def close(self) -> None:
        """End the threads and processes that fetch."""
        for batches in (self._train, self.valid, self.test):
            if batches is not None:
                batches.close()
