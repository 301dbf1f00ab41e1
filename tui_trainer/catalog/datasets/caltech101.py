"""Caltech's pictures of 101 kinds of objects."""

from tui_trainer.catalog import DatasetFacts, Recipe

FACTS = DatasetFacts(
    title="objects of 101 kinds",
    shape=None,
    class_count=101,
    train_examples=8_677,
    download_bytes=137_414_764,
    torchvision="Caltech101",
    recipe=Recipe(
        targets="y",
        names="categories",
        present=("caltech101/101_ObjectCategories",),
    ),
)
