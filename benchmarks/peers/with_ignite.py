"""Ignite: its supervised trainer and evaluator with Accuracy and Loss, the evaluator run when an epoch is completed."""

import torch
from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
from ignite.metrics import Accuracy, Loss
from torch import nn

from fashion import LR, Clock, options, say
from networks import build, device_of
from torchvision_loaders import loaders


def main() -> None:
    arguments = options(__doc__).parse_args()
    torch.manual_seed(arguments.seed)
    device, clock = device_of(arguments.device), Clock()
    train_loader, valid_loader = loaders(arguments.data)
    model = build(arguments.model).to(device)
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    trainer = create_supervised_trainer(model, optimizer, loss_fn, device=device)
    metrics = {"accuracy": Accuracy(), "loss": Loss(loss_fn)}
    evaluator = create_supervised_evaluator(model, metrics=metrics, device=device)
    trainer.add_event_handler(Events.EPOCH_STARTED, clock.begin)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(valid_loader))
    trainer.add_event_handler(Events.EPOCH_COMPLETED, clock.end)
    trainer.run(train_loader, max_epochs=arguments.epochs)
    say("ignite", "pytorch-ignite", clock, evaluator.state.metrics["accuracy"], evaluator.state.metrics["loss"])


if __name__ == "__main__":
    main()
