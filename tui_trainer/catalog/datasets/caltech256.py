"""Caltech's pictures of 256 kinds of objects, and of clutter."""

from tui_trainer.catalog import DatasetFacts, Recipe

FACTS = DatasetFacts(
    title="objects of 256 kinds, and clutter",
    shape=None,
    class_count=257,
    train_examples=30_607,
    download_bytes=1_183_006_720,
    torchvision="Caltech256",
    recipe=Recipe(
        targets="y",
        names="categories",
        present=("caltech256/256_ObjectCategories",),
    ),
)
