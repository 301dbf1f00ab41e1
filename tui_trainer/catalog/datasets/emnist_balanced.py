"""EMNIST, split balanced: handwritten digits and letters, alike many."""

from tui_trainer.catalog import DatasetFacts, Recipe

FACTS = DatasetFacts(
    title="handwritten digits and letters, alike many",
    shape=(1, 28, 28),
    classes=tuple("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"),
    train_examples=112_800,
    test_examples=18_800,
    download_bytes=561_753_746,
    torchvision="EMNIST",
    recipe=Recipe(
        train={"split": "balanced", "train": True},
        test={"split": "balanced", "train": False},
        pixels="data",
        layout="NWH",
        present=(
            "EMNIST/raw/emnist-balanced-train-images-idx3-ubyte",
            "EMNIST/raw/emnist-balanced-test-images-idx3-ubyte",
        ),
    ),
)
