"""Describable textures: banded, bubbly, woven and 44 others."""

from tui_trainer.catalog import DatasetFacts, Recipe

FACTS = DatasetFacts(
    title="textures",
    shape=None,
    class_count=47,
    train_examples=1_880,
    valid_examples=1_880,
    test_examples=1_880,
    download_bytes=625_239_812,
    torchvision="DTD",
    recipe=Recipe(
        train={"split": "train"},
        valid={"split": "val"},
        test={"split": "test"},
        files="_image_files",
        targets="_labels",
        names="classes",
        present=("dtd/dtd",),
        options=("partition",),
    ),
)
