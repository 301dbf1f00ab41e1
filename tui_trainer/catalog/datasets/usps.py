"""Digits from envelopes, read by the United States Postal Service."""

from tui_trainer.catalog import DatasetFacts, Recipe

FACTS = DatasetFacts(
    title="digits from envelopes",
    shape=(1, 16, 16),
    classes=tuple("0123456789"),
    train_examples=7_291,
    test_examples=2_007,
    download_bytes=8_411_109,
    torchvision="USPS",
    recipe=Recipe(
        train={"train": True},
        test={"train": False},
        pixels="data",
        present=("usps.bz2", "usps.t.bz2"),
    ),
)
