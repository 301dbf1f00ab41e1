"""EMNIST, split digits: handwritten digits, four times as many as MNIST."""

from tui_trainer.catalog import DatasetFacts, Recipe

FACTS = DatasetFacts(
    title="handwritten digits, four times as many as MNIST",
    shape=(1, 28, 28),
    classes=tuple("0123456789"),
    train_examples=240_000,
    test_examples=40_000,
    download_bytes=561_753_746,
    torchvision="EMNIST",
    recipe=Recipe(
        train={"split": "digits", "train": True},
        test={"split": "digits", "train": False},
        pixels="data",
        layout="NWH",
        present=("EMNIST/raw/emnist-digits-train-images-idx3-ubyte", "EMNIST/raw/emnist-digits-test-images-idx3-ubyte"),
    ),
)
