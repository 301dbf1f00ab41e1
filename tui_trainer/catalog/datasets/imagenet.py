"""ImageNet of the challenge of 2012: a thousand classes."""

from tui_trainer.catalog import DatasetFacts, Recipe

FACTS = DatasetFacts(
    title="ImageNet, a thousand classes",
    shape=None,
    class_count=1_000,
    train_examples=1_281_167,
    valid_examples=50_000,
    torchvision="ImageNet",
    recipe=Recipe(
        train={"split": "train"},
        valid={"split": "val"},
        files="samples",
        names="classes",
        present=("train", "val", "meta.bin"),
        by_hand="train, val and meta.bin, as torchvision unpacks them from the archives of the challenge",
    ),
)
