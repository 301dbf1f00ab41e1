"""EMNIST, split byclass: handwritten digits, capital and small letters."""

from tui_trainer.catalog import DatasetFacts, Recipe

FACTS = DatasetFacts(
    title="handwritten digits, capital and small letters",
    shape=(1, 28, 28),
    classes=tuple("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"),
    train_examples=697_932,
    test_examples=116_323,
    download_bytes=561_753_746,
    torchvision="EMNIST",
    recipe=Recipe(
        train={"split": "byclass", "train": True},
        test={"split": "byclass", "train": False},
        pixels="data",
        layout="NWH",
        present=(
            "EMNIST/raw/emnist-byclass-train-images-idx3-ubyte",
            "EMNIST/raw/emnist-byclass-test-images-idx3-ubyte",
        ),
    ),
)
