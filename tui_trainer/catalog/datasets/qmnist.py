"""QMNIST: MNIST's digits rebuilt from NIST's, with all 60,000 test digits."""

from tui_trainer.catalog import DatasetFacts, Recipe

FACTS = DatasetFacts(
    title="MNIST with 60,000 test digits",
    shape=(1, 28, 28),
    classes=tuple("0123456789"),
    train_examples=60_000,
    test_examples=60_000,
    download_bytes=20_436_162,
    torchvision="QMNIST",
    recipe=Recipe(
        train={"train": True},
        test={"train": False},
        pixels="data",
        present=("QMNIST/raw/qmnist-train-images-idx3-ubyte", "QMNIST/raw/qmnist-test-images-idx3-ubyte"),
    ),
)
