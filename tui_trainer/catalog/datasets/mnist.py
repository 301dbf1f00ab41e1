"""LeCun's handwritten digits: 70,000 of them."""

from tui_trainer.catalog import DatasetFacts

FACTS = DatasetFacts(
    title="handwritten digits",
    shape=(1, 28, 28),
    classes=tuple("0123456789"),
    train_examples=60_000,
    test_examples=10_000,
    download_bytes=11_594_722,
    reader="idx",
    torchvision="MNIST",
)
