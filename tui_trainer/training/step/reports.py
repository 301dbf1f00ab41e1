"""When the batches since the last report are reported, and what is said of them."""

import time

from tui_trainer.run.events import BatchTrained
from tui_trainer.run.thinning import SHORT, report_interval
from tui_trainer.settings.schema import Settings
from tui_trainer.text import fixed
from tui_trainer.training.saving.state import Progress
from tui_trainer.training.step.meter import LossMeter, Spikes, Watch


class Reports:
    """A run's meter and clocks, and its reports made of them."""

    def __init__(self, settings: Settings, batches: int) -> None:
        """`batches` are those of an epoch."""
        self.meter, self.watch, self.spikes = LossMeter(), Watch(), Spikes()
        self.reported_at = -1
        """The step of the last report."""
        self._log_interval, self.batches = settings.log_interval, batches

    def begin_epoch(self) -> None:
        self.meter.epoch_loss, self.meter.epoch_examples = 0.0, 0
        self.watch.begin_epoch()

    def due(self, progress: Progress) -> bool:
        """True when the batch just done should be reported: by its number or by the clock.

        By the clock a report comes every 0.2 s at first and every 2.5 s in a long run, and none when the epoch's last
        one is expected within three times that since the newest. So a day of training, in short epochs too, fits in a
        journal that opens at once.
        """
        batch = progress.batch
        if progress.step == 1 or batch == self.batches:
            return True
        if self._log_interval:
            return batch == 1 or batch % self._log_interval == 0
        watch, now = self.watch, time.monotonic()
        quiet, interval = now - watch.mark, report_interval(now - watch.began)
        if quiet < interval:
            return False
        left = (now - watch.epoch_began) / batch * (self.batches - batch)
        return quiet + left >= SHORT * interval

    def is_reported(self, progress: Progress) -> bool:
        """True when there is nothing new to report."""
        return self.reported_at == progress.step or self.meter.examples == 0

    def report(self, progress: Progress, *, lr: float, grad_norm: float | None) -> tuple[BatchTrained, list[str]]:
        """The batches since the last report, as an event, and warnings about them. Waits for the device."""
        watch, now = self.watch, time.monotonic()
        seconds = max(1e-9, now - watch.mark)
        loss, examples = self.meter.take()
        event = BatchTrained(
            epoch=progress.epoch,
            batch=progress.batch,
            batches=self.batches,
            step=progress.step,
            loss=loss,
            lr=lr,
            grad_norm=grad_norm,
            examples_per_second=examples / seconds,
            data_wait=min(1.0, watch.waited / seconds),
            elapsed=watch.elapsed(),
        )
        warnings = []
        if (usual := self.spikes.leap(loss)) is not None:
            warnings.append(
                f"the loss leapt to {fixed(loss)} at step {progress.step:,}, usual was {fixed(usual)}; "
                "a lower lr or clip_grad 1 may calm it"
            )
        watch.waited, watch.mark, self.reported_at = 0.0, time.monotonic(), progress.step
        return event, warnings
