"""Oxford's flowers of 102 kinds."""

from tui_trainer.catalog import DatasetFacts, Recipe

FACTS = DatasetFacts(
    title="flowers",
    shape=None,
    class_count=102,
    train_examples=1_020,
    valid_examples=1_020,
    test_examples=6_149,
    download_bytes=344_878_000,
    torchvision="Flowers102",
    recipe=Recipe(
        train={"split": "train"},
        valid={"split": "val"},
        test={"split": "test"},
        files="_image_files",
        targets="_labels",
        names="classes",
        present=("flowers-102/jpg", "flowers-102/setid.mat"),
        needs=("scipy",),
    ),
)
