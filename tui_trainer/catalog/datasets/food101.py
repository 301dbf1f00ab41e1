"""Photographs of 101 dishes."""

from tui_trainer.catalog import DatasetFacts, Recipe

FACTS = DatasetFacts(
    title="dishes",
    shape=None,
    class_count=101,
    train_examples=75_750,
    test_examples=25_250,
    download_bytes=4_996_278_331,
    torchvision="Food101",
    recipe=Recipe(
        train={"split": "train"},
        test={"split": "test"},
        files="_image_files",
        targets="_labels",
        names="classes",
        present=("food-101/meta", "food-101/images"),
    ),
)
