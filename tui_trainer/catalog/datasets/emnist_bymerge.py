"""EMNIST, split bymerge: handwritten digits and letters, look-alikes merged."""

from tui_trainer.catalog import DatasetFacts, Recipe

FACTS = DatasetFacts(
    title="handwritten digits and letters, look-alikes merged",
    shape=(1, 28, 28),
    classes=tuple("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"),
    train_examples=697_932,
    test_examples=116_323,
    download_bytes=561_753_746,
    torchvision="EMNIST",
    recipe=Recipe(
        train={"split": "bymerge", "train": True},
        test={"split": "bymerge", "train": False},
        pixels="data",
        layout="NWH",
        present=(
            "EMNIST/raw/emnist-bymerge-train-images-idx3-ubyte",
            "EMNIST/raw/emnist-bymerge-test-images-idx3-ubyte",
        ),
    ),
)
