"""Ten classes of ImageNet that are easy to tell apart, by fast.ai; its images of 160 pixels."""

from dataclasses import replace

from tui_trainer.catalog.datasets.imagenette import FACTS as MIDDLE

FACTS = replace(
    MIDDLE,
    title="imagenette in images of 160 pixels",
    download_bytes=99_003_388,
    recipe=replace(
        MIDDLE.recipe,
        train={"split": "train", "size": "160px"},
        valid={"split": "val", "size": "160px"},
        present=("imagenette2-160",),
    ),
)
