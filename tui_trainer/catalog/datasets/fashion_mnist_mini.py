"""The first 5,000 + 1,000 pictures of FashionMNIST, each kind alike: part of the program."""

from dataclasses import replace

from tui_trainer.catalog.datasets.fashion_mnist import FACTS as WHOLE

FACTS = replace(
    WHOLE,
    title="5,000 + 1,000 of fashion-mnist",
    train_examples=5_000,
    test_examples=1_000,
    download_bytes=0,
)
