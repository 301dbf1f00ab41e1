"""Scenes of 397 kinds."""

from tui_trainer.catalog import DatasetFacts, Recipe

FACTS = DatasetFacts(
    title="scenes",
    shape=None,
    class_count=397,
    train_examples=108_754,
    download_bytes=39_090_000_000,
    torchvision="SUN397",
    recipe=Recipe(
        files="_image_files",
        targets="_labels",
        names="classes",
        as_on_disk=True,
        present=("SUN397",),
    ),
)
