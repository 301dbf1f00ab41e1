"""skorch: a NeuralNetClassifier fitted on arrays, the test images as its predefined validation split, verbose=0."""

import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from skorch.dataset import Dataset
from skorch.helper import predefined_split
from torch import nn

from fashion import BATCH, LR, Clock, arrays, options, say
from networks import build, device_of


class EpochClock(Callback):
    """skorch calls it after its own scoring."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_epoch_begin(self, *_: object, **__: object) -> None:
        self.clock.begin()

    def on_epoch_end(self, *_: object, **__: object) -> None:
        self.clock.end()


def main() -> None:
    arguments = options(__doc__).parse_args()
    (X, y), test = arrays(arguments.data, "train"), arrays(arguments.data, "t10k")
    torch.manual_seed(arguments.seed)
    clock = Clock()
    net = NeuralNetClassifier(
        build(arguments.model),
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        lr=LR,
        batch_size=BATCH,
        max_epochs=arguments.epochs,
        iterator_train__shuffle=True,
        train_split=predefined_split(Dataset(*test)),
        callbacks=[EpochClock(clock)],
        device=str(device_of(arguments.device)),
        verbose=0,
    )
    net.fit(X, y)
    say("skorch", "skorch", clock, net.history[-1, "valid_acc"], net.history[-1, "valid_loss"])


if __name__ == "__main__":
    main()
