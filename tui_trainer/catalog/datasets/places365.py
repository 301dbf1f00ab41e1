"""Places of 365 kinds, in images of 256 pixels."""

from tui_trainer.catalog import DatasetFacts, Recipe

FACTS = DatasetFacts(
    title="places",
    shape=(3, 256, 256),
    class_count=365,
    train_examples=1_803_460,
    valid_examples=36_500,
    download_bytes=24_500_000_000,
    torchvision="Places365",
    recipe=Recipe(
        train={"split": "train-standard", "small": True},
        valid={"split": "val", "small": True},
        files="imgs",
        names="classes",
        present=("data_256_standard", "val_256", "categories_places365.txt"),
    ),
)
