"""Faces and what they show."""

from tui_trainer.catalog import DatasetFacts, Recipe

FACTS = DatasetFacts(
    title="faces by emotion",
    shape=(1, 48, 48),
    classes=("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"),
    train_examples=28_709,
    test_examples=7_178,
    torchvision="FER2013",
    recipe=Recipe(
        train={"split": "train"},
        test={"split": "test"},
        pixels="_samples",
        targets="_samples",
        present=("fer2013",),
        by_hand="fer2013/fer2013.csv",
    ),
)
