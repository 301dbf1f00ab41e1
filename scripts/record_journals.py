"""Record the journals that the tests, the screenshots and the demo replay: five real runs, each ended another way.

uv run scripts/record_journals.py
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import torch

from tui_trainer.run import commands
from tui_trainer.run.events import BatchTrained
from tui_trainer.run.runs import LocalRun
from tui_trainer.settings import Settings
from tui_trainer.training import optim

JOURNALS = Path(__file__).parent.parent / "tests" / "journals"
COMMON = {"dataset": "fashion-mnist", "device": "cpu", "seed": 7, "log_interval": 40}


def record(name: str, settings: Settings, orders: dict[int, list[commands.Command]]) -> None:
    """Train, sending `orders` after the first report at or past their step, and keep the journal."""
    if len(sys.argv) > 1 and name not in sys.argv:
        return
    run = LocalRun(settings)
    for event in run.events():
        if isinstance(event, BatchTrained):
            for step in [step for step in orders if event.step >= step]:
                for command in orders.pop(step):
                    run.send(command)
    assert run.folder is not None
    shutil.copy(run.folder.journal, JOURNALS / f"{name}.jsonl")
    print(f"{name}: {event}")


def main() -> None:
    JOURNALS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # so that messages name `runs/...`
        common = COMMON
        finished = Settings(**common, model="cnn", epochs=6, lr=0.002, scheduler="cosine", batch_size=128)
        record(
            "finished",
            finished,
            {
                1200: [commands.Pause(), commands.SetLearningRate(0.001), commands.Continue()],
                1600: [commands.Evaluate()],
            },
        )
        stopped = Settings(**common, optimizer="sgd", lr=0.05, momentum=0.9, clip_grad=1.0, epochs=10)
        record("stopped", stopped, {2800: [commands.SaveCheckpoint(), commands.Pause(), commands.Stop()]})
        impatient = Settings(**common, epochs=20, lr=0.004, patience=2, scheduler="plateau", decay_epochs=1)
        record("out_of_patience", impatient, {})
        diverged = Settings(**common, optimizer="sgd", lr=0.05, momentum=0.9, epochs=3)
        record("diverged", diverged, {1400: [commands.SetLearningRate(1e6)]})
        forward = optim.Step.__call__

        def starved(self: optim.Step, X: torch.Tensor, y: torch.Tensor, batch: int) -> torch.Tensor:
            if self.updates == 1300:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
            return forward(self, X, y, batch)

        optim.Step.__call__ = starved  # type: ignore[method-assign]
        record("failed", Settings(**common, model="mlp", loss="mse", optimizer="adamw", epochs=5), {})


if __name__ == "__main__":
    main()
