"""Zalando's pictures of clothes: 70,000 of them, in ten kinds."""

from tui_trainer.catalog import DatasetFacts

FACTS = DatasetFacts(
    title="clothes in ten kinds, by Zalando",
    shape=(1, 28, 28),
    classes=("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    train_examples=60_000,
    test_examples=10_000,
    download_bytes=30_878_645,
    reader="idx",
    torchvision="FashionMNIST",
)
