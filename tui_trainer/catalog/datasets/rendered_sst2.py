"""Sentences of film reviews as pictures, by OpenAI: is it praise?"""

from tui_trainer.catalog import DatasetFacts, Recipe

FACTS = DatasetFacts(
    title="film reviews as pictures of text",
    shape=(3, 448, 448),
    classes=("negative", "positive"),
    train_examples=6_920,
    valid_examples=872,
    test_examples=1_821,
    torchvision="RenderedSST2",
    recipe=Recipe(
        train={"split": "train"},
        valid={"split": "val"},
        test={"split": "test"},
        files="_samples",
        targets="_samples",
        present=("rendered-sst2",),
    ),
)
