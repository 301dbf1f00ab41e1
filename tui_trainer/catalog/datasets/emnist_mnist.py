"""EMNIST, split mnist: handwritten digits in the form of MNIST."""

from tui_trainer.catalog import DatasetFacts, Recipe

FACTS = DatasetFacts(
    title="handwritten digits in the form of MNIST",
    shape=(1, 28, 28),
    classes=tuple("0123456789"),
    train_examples=60_000,
    test_examples=10_000,
    download_bytes=561_753_746,
    torchvision="EMNIST",
    recipe=Recipe(
        train={"split": "mnist", "train": True},
        test={"split": "mnist", "train": False},
        pixels="data",
        layout="NWH",
        present=("EMNIST/raw/emnist-mnist-train-images-idx3-ubyte", "EMNIST/raw/emnist-mnist-test-images-idx3-ubyte"),
    ),
)
