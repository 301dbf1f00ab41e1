"""Aeroplanes of a hundred variants."""

from tui_trainer.catalog import DatasetFacts, Recipe

FACTS = DatasetFacts(
    title="aeroplanes",
    shape=None,
    class_count=100,
    train_examples=3_334,
    valid_examples=3_333,
    test_examples=3_333,
    download_bytes=2_753_340_328,
    torchvision="FGVCAircraft",
    recipe=Recipe(
        train={"split": "train"},
        valid={"split": "val"},
        test={"split": "test"},
        files="_image_files",
        targets="_labels",
        names="classes",
        present=("fgvc-aircraft-2013b",),
        options=("annotation_level",),
    ),
)
