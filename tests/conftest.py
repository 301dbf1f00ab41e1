"""What all tests share: a folder of their own, and settings small enough to train in a second."""

import os
from pathlib import Path

import pytest

from tui_trainer.settings.schema import Settings

os.environ["OMP_NUM_THREADS"] = "1"
"""torch computes on one thread, here and in processes from here: with more, beside anything else that computes, the
small runs of tests take ten times as long."""


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test runs in an empty folder, with no settings from the user or the environment."""
    for name in list(os.environ):
        if name.startswith("TUI_TRAINER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def tiny() -> Settings:
    """A run of two short epochs on real images, with a model so narrow that neither steps nor checkpoints take time."""
    return Settings(
        dataset="fashion-mnist-mini",
        model_arg="hidden=32,32",
        epochs=2,
        limit_train_batches=8,
        log_interval=1,
        seed=0,
        device="cpu",
    )


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-screens", action="store_true", help="write the screens as they are now")
