"""EMNIST, split letters: handwritten letters, capital and small together."""

from tui_trainer.catalog import DatasetFacts, Recipe

FACTS = DatasetFacts(
    title="handwritten letters, capital and small together",
    shape=(1, 28, 28),
    classes=tuple("abcdefghijklmnopqrstuvwxyz"),
    train_examples=124_800,
    test_examples=20_800,
    download_bytes=561_753_746,
    torchvision="EMNIST",
    recipe=Recipe(
        train={"split": "letters", "train": True},
        test={"split": "letters", "train": False},
        pixels="data",
        layout="NWH",
        first=1,
        present=(
            "EMNIST/raw/emnist-letters-train-images-idx3-ubyte",
            "EMNIST/raw/emnist-letters-test-images-idx3-ubyte",
        ),
    ),
)
