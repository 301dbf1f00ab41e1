"""ImageNet of the challenge of 2012: a thousand classes."""

from tui_trainer.catalog import DatasetFacts, Recipe

FACTS = DatasetFacts(
    title="ImageNet, a thousand classes",
    shape=None,
    class_count=1_000,
    train_examples=1_281_167,
    valid_examples=50_000,
    torchvision="ImageNet",
    recipe=Recipe(
        train={"split": "train"},
        valid={"split": "val"},
        files="samples",
        names="classes",
        present=("train", "val", "meta.bin"),
        needs=("scipy",),
        by_hand="ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz",
    ),
)
