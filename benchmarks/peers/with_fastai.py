"""fastai: DataLoaders of PyTorch's loaders and a Learner, as its guide for PyTorch users shows; no bar, no log."""

import torch
from fastai.callback.core import Callback
from fastai.callback.progress import ProgressCallback  # noqa: F401  its import gives Learner `no_bar`
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.metrics import accuracy
from fastai.optimizer import SGD
from torch import nn

from fashion import LR, Clock, options, say
from networks import build, device_of
from torchvision_loaders import loaders


class EpochClock(Callback):
    """An epoch of fastai is training and validation."""

    order = 60  # after the recorder, which takes the means

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def before_epoch(self) -> None:
        self.clock.begin()

    def after_epoch(self) -> None:
        self.clock.end()


def main() -> None:
    arguments = options(__doc__).parse_args()
    torch.manual_seed(arguments.seed)
    device, clock = device_of(arguments.device), Clock()
    learner = Learner(
        DataLoaders(*loaders(arguments.data), device=device),
        build(arguments.model).to(device),
        loss_func=nn.CrossEntropyLoss(),
        opt_func=SGD,
        metrics=accuracy,
        cbs=EpochClock(clock),
    )
    with learner.no_bar(), learner.no_logging():
        learner.fit(arguments.epochs, LR)
    _, loss, right = learner.recorder.values[-1]
    say("fastai", "fastai", clock, right, loss)


if __name__ == "__main__":
    main()
