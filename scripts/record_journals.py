"""Record the journals that the tests, the screenshots and the demo replay: five real runs, each ended another way, and
one of each task that predicts something else than a class.

uv run scripts/record_journals.py
"""

import csv
import os
import shutil
import sys
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F

from tui_trainer.catalog import IDX_FILES, MINI_FOLDER
from tui_trainer.cli.local_run import local_run
from tui_trainer.run import commands
from tui_trainer.run.events import BatchTrained
from tui_trainer.settings.schema import Settings
from tui_trainer.training.data.readers.idx import read_split
from tui_trainer.training.step import step as stepping

JOURNALS = Path(__file__).parent.parent / "tests" / "journals"
UPPER, LONG, SHOES = (0, 2, 3, 4, 6), (2, 3, 4), (5, 7, 9)
"""Classes of FashionMNIST: worn above the waist, with long sleeves, on the feet."""
COMMON = {"dataset": "fashion-mnist", "device": "cpu", "seed": 7, "log_interval": 40}


def record(name: str, settings: Settings, orders: dict[int, list[commands.Command]]) -> None:
    """Train, sending `orders` after the first report at or past their step, and keep the journal."""
    if len(sys.argv) > 1 and name not in sys.argv:
        return
    run = local_run(settings)
    for event in run.events():
        if isinstance(event, BatchTrained):
            for step in [step for step in orders if event.step >= step]:
                for command in orders.pop(step):
                    run.send(command)
    assert run.folder is not None
    shutil.copy(run.folder.journal, JOURNALS / f"{name}.jsonl")
    print(f"{name}: {event}")


def write_tables() -> None:
    """Tables of the embedded images, a row each: how bright 7 x 7 parts of it are, and what is to be predicted."""
    images = read_split(MINI_FOLDER, *IDX_FILES[:2])
    X, y = images.inputs[:, 0].float() / 255, images.targets
    parts = F.avg_pool2d(X[:, None], 4)[:, 0]
    names = [f"part_{row}_{column}" for row in range(7) for column in range(7)]
    marks = {name: torch.isin(y, torch.tensor(members)) for name, members in (("upper", UPPER), ("long_sleeves", LONG))}
    marks |= {"shoe": torch.isin(y, torch.tensor(SHOES)), "bright": X.mean((1, 2)) > 0.3}
    quarters = F.avg_pool2d(X[:, None], 14).flatten(1)
    upper, shirts = parts.clone(), torch.isin(y, torch.tensor((0, 6)))
    upper[:, 4:] = 0  # the lower part is what is asked for
    kinds = [("T-shirt", "shirt")[int(label == 6)] for label in y[shirts]]
    write_table("shirts.csv", parts[shirts], names, {"kind": kinds})
    write_table("marks.csv", parts, names, {name: mark.long().tolist() for name, mark in marks.items()})
    lower = (100 * X[:, 16:].mean((1, 2))).tolist()
    write_table("brightness.csv", upper, names[:28], {"lower_half": [f"{value:.3f}" for value in lower]})
    corners = ("upper_left", "upper_right", "lower_left", "lower_right")
    shares = quarters / quarters.sum(1, keepdim=True)
    write_table("quarters.csv", upper, names[:28], dict(zip(corners, shares.T.tolist(), strict=True)))


def write_table(path: str, parts: torch.Tensor, names: list[str], targets: dict[str, list]) -> None:
    """A CSV file of the first columns of `parts` [N, 7, 7] and the targets."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, *targets])
        for row, *answers in zip(parts.flatten(1).tolist(), *targets.values(), strict=True):
            writer.writerow([*(f"{value:.4f}" for value in row[: len(names)]), *answers])


def record_tasks() -> None:
    """A short run of each task that is not the classification of images."""
    write_tables()
    for task, table, target in (
        ("binary", "shirts.csv", "kind"),
        ("multilabel", "marks.csv", "upper,long_sleeves,shoe,bright"),
        ("regression", "brightness.csv", "lower_half"),
        ("distribution", "quarters.csv", "upper_left,upper_right,lower_left,lower_right"),
    ):
        common = COMMON | {"dataset": f"table:{table}", "target": target, "task": task, "monitor": MONITORED[task]}
        record(task, Settings(**common, epochs=3), {})


MONITORED = {
    "binary": "valid_auc",
    "multilabel": "valid_f1",
    "regression": "valid_mae",
    "distribution": "valid_total_variation",
}


def main() -> None:
    JOURNALS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # so that messages name `runs/...`
        record_tasks()
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
        forward = stepping.Step.__call__

        def starved(self: stepping.Step, X: torch.Tensor, y: torch.Tensor, batch: int) -> torch.Tensor:
            if self.updates == 1300:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
            return forward(self, X, y, batch)

        stepping.Step.__call__ = starved  # type: ignore[method-assign]
        record("failed", Settings(**common, model="mlp", loss="mse", optimizer="adamw", epochs=5), {})


if __name__ == "__main__":
    main()
