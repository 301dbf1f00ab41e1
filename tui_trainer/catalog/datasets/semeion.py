"""Semeion: digits of some 80 people, black and white."""

from tui_trainer.catalog import DatasetFacts, Recipe

FACTS = DatasetFacts(
    title="digits in black and white",
    shape=(1, 16, 16),
    classes=tuple("0123456789"),
    train_examples=1_593,
    torchvision="SEMEION",
    recipe=Recipe(
        pixels="data",
        targets="labels",
        present=("semeion.data",),
    ),
)
