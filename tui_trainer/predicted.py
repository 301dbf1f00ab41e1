"""`tui-trainer predict`: what a trained model says, as a table in a terminal, as lines in a pipe, or as JSON."""

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.text import Text

from tui_trainer.console import PipeConsole
from tui_trainer.errors import DataError, DeviceError, UsageError
from tui_trainer.run.folder import RunFolder
from tui_trainer.text import clean, percent

if TYPE_CHECKING:
    from tui_trainer.training.predict import Prediction
    from tui_trainer.training.trained import Trained

SPLITS = ("valid", "test")
BAR = 20
"""Columns of a bar that stands for certainty."""
LONGEST_CLASS = 40
"""Columns that the name of a class takes at most."""


def predict(
    folder: RunFolder,
    images: tuple[str, ...],
    *,
    split: str | None,
    top: int,
    checkpoint: str | None,
    device: str | None,
    as_json: bool,
) -> int:
    """Predict and print; the exit code: 3 when an image could not be read.

    Raises:
        UsageError: neither images nor a split, or both.
        TrainerError: the run, its data or its model cannot be used; the message says why.
    """
    if split is not None and split not in SPLITS:
        raise UsageError(f"--split: must be valid or test; found {clean(repr(split), 60)}")
    if bool(images) == bool(split):
        raise UsageError(
            "Give images and folders of images, or else --split valid or --split test: "
            f"tui-trainer predict {clean(folder.path.name)} IMAGE..."
        )
    if top < 1:
        raise UsageError(f"--top: must be at least 1, found {top}")
    from tui_trainer.training.trained import load_trained  # torch takes seconds

    trained = _load(folder, checkpoint, device, load_trained)
    if split:
        return _show_split(trained, split, top, as_json)
    return _show_files(trained, images, top, as_json)


def _load(folder: RunFolder, checkpoint: str | None, device: str | None, load: Any) -> "Trained":
    """The model where the run has computed, or on the CPU when that is not here."""
    from tui_trainer.run.resume import own_settings, state_of
    from tui_trainer.sources import resolve
    from tui_trainer.training import devices

    settings = resolve([own_settings(folder, state_of(folder))]).settings
    devices.tune(settings)
    try:
        return load(folder, checkpoint, device or settings.device)  # type: ignore[no-any-return]
    except DeviceError:
        if device:
            raise
        _note(f"{clean(settings.device)}, where the run has computed, is not here: computing on the CPU")
        return load(folder, checkpoint, "cpu")  # type: ignore[no-any-return]


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _console() -> PipeConsole:
    file = sys.stdout
    return PipeConsole(file=file, force_terminal=bool(file and file.isatty()), highlight=False, soft_wrap=True)
