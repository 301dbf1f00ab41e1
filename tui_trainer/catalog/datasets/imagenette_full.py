"""Ten classes of ImageNet that are easy to tell apart, by fast.ai; its images as they are."""

from dataclasses import replace

from tui_trainer.catalog.datasets.imagenette import FACTS as MIDDLE

FACTS = replace(
    MIDDLE,
    title="imagenette in images as they are",
    download_bytes=1_557_161_267,
    recipe=replace(
        MIDDLE.recipe,
        train={"split": "train", "size": "full"},
        valid={"split": "val", "size": "full"},
        present=("imagenette2",),
    ),
)
