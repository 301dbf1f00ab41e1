"""The learning rate of a run that has not begun, drawn over its epochs."""

from textual.content import Content
from textual.widgets import Static

from tui_trainer.settings.schedule import lr_factor
from tui_trainer.settings.schema import Settings
from tui_trainer.ui.widgets.charts import Curve, plot


class RateCurve(Static):
    """The learning rate over the run to come."""

    def draw(self, settings: Settings, steps_per_epoch: int) -> None:
        """Show the curve of these settings; one is drawn only where there is room for it."""
        self._shown = (settings, steps_per_epoch)
        width, height = self.content_size
        self.border_title = Content("learning rate over the run")
        note = "falls when the monitored value stops improving" if settings.scheduler == "plateau" else ""
        self.border_subtitle = Content(note)
        if width < 20 or height < 5:
            return
        updates = max(1, steps_per_epoch // settings.grad_accum_steps)
        places = [i * settings.epochs / width for i in range(width + 1)]
        last = settings.epochs * updates - 1
        rates = [settings.lr * lr_factor(settings, min(round(x * updates), last), updates) for x in places]
        each = max(1, round(settings.epochs * 5 / width))
        ticks = {float(n): str(n) for n in range(0, settings.epochs + 1, each)}
        curve = plot([Curve(places, rates, 1)], width, height, ticks=ticks, right=settings.epochs, bottom=0.0)
        self.update(curve, layout=False)

    def on_resize(self) -> None:
        if hasattr(self, "_shown"):
            self.draw(*self._shown)
