"""Lightning: a LightningModule and Trainer.fit; bar, logger, checkpoints and summary switched off by its flags."""

import lightning
import torch
from torch import Tensor, nn

from fashion import LR, Clock, options, say
from networks import build
from torchvision_loaders import loaders


class Classifier(lightning.LightningModule):
    """The tutorial's work in Lightning's places."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.loss_fn = nn.CrossEntropyLoss()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        X, y = batch
        return self.loss_fn(self.model(X), y)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        X, y = batch
        pred = self.model(X)
        right = (pred.argmax(1) == y).float().mean()
        self.log_dict({"valid_loss": self.loss_fn(pred, y), "valid_accuracy": right}, batch_size=len(y))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=LR)


class EpochClock(lightning.Callback):
    """Lightning validates inside the training epoch, so its end is after the evaluation."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_epoch_start(self, *_: object) -> None:
        self.clock.begin()

    def on_train_epoch_end(self, *_: object) -> None:
        self.clock.end()


def main() -> None:
    arguments = options(__doc__).parse_args()
    lightning.seed_everything(arguments.seed)
    train_loader, valid_loader = loaders(arguments.data)
    clock = Clock()
    trainer = lightning.Trainer(
        max_epochs=arguments.epochs,
        accelerator={"cuda": "gpu"}.get(arguments.device, arguments.device),
        devices=1,
        callbacks=[EpochClock(clock)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(Classifier(build(arguments.model)), train_loader, valid_loader)
    metrics = trainer.callback_metrics
    say("lightning", "lightning", clock, metrics["valid_accuracy"].item(), metrics["valid_loss"].item())


if __name__ == "__main__":
    main()
