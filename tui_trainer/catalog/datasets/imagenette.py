"""Ten classes of ImageNet that are easy to tell apart, by fast.ai; its images of 320 pixels."""

from tui_trainer.catalog import DatasetFacts, Recipe

FACTS = DatasetFacts(
    title="ten easy classes of ImageNet",
    shape=None,
    classes=(
        "tench",
        "English springer",
        "cassette player",
        "chain saw",
        "church",
        "French horn",
        "garbage truck",
        "gas pump",
        "golf ball",
        "parachute",
    ),
    train_examples=9_469,
    valid_examples=3_925,
    download_bytes=341_663_724,
    torchvision="Imagenette",
    recipe=Recipe(
        train={"split": "train", "size": "320px"},
        valid={"split": "val", "size": "320px"},
        files="_samples",
        targets="_samples",
        present=("imagenette2-320",),
    ),
)
