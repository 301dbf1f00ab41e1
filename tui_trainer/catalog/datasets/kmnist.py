"""Kuzushiji-MNIST: ten cursive Japanese characters, in the form of MNIST."""

from tui_trainer.catalog import DatasetFacts

FACTS = DatasetFacts(
    title="cursive Japanese characters",
    shape=(1, 28, 28),
    classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    train_examples=60_000,
    test_examples=10_000,
    download_bytes=21_240_888,
    reader="idx",
    torchvision="KMNIST",
)
