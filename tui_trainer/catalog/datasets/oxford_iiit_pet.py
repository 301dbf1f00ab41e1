"""Cats and dogs of 37 breeds."""

from tui_trainer.catalog import DatasetFacts, Recipe

FACTS = DatasetFacts(
    title="cats and dogs by breed",
    shape=None,
    class_count=37,
    train_examples=3_680,
    test_examples=3_669,
    download_bytes=811_092_049,
    torchvision="OxfordIIITPet",
    recipe=Recipe(
        train={"split": "trainval"},
        test={"split": "test"},
        files="_images",
        targets="_labels",
        names="classes",
        present=("oxford-iiit-pet/images", "oxford-iiit-pet/annotations"),
    ),
)
