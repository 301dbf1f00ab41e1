"""Photographs from 211 countries, by OpenAI."""

from tui_trainer.catalog import DatasetFacts, Recipe

FACTS = DatasetFacts(
    title="photographs by country",
    shape=None,
    class_count=211,
    train_examples=31_650,
    valid_examples=10_550,
    test_examples=21_100,
    torchvision="Country211",
    recipe=Recipe(
        train={"split": "train"},
        valid={"split": "valid"},
        test={"split": "test"},
        files="samples",
        names="classes",
        present=("country211",),
    ),
)
