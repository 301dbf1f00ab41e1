"""CLEVR: how many things are there? Its test split has no answers."""

from tui_trainer.catalog import DatasetFacts, Recipe

FACTS = DatasetFacts(
    title="how many things there are",
    shape=(3, 320, 480),
    classes=tuple(f"{count} things" for count in range(3, 11)),
    train_examples=70_000,
    valid_examples=15_000,
    download_bytes=19_021_600_724,
    torchvision="CLEVRClassification",
    recipe=Recipe(
        train={"split": "train"},
        valid={"split": "val"},
        files="_image_files",
        targets="_labels",
        first=3,
        present=("clevr/CLEVR_v1.0",),
    ),
)
