"""CelebA: faces, each with 40 attributes that hold or do not."""

from tui_trainer.catalog import DatasetFacts, Recipe

FACTS = DatasetFacts(
    title="faces with 40 attributes",
    shape=(3, 218, 178),
    class_count=40,
    train_examples=162_770,
    valid_examples=19_867,
    test_examples=19_962,
    kind="labels",
    download_bytes=1_494_710_798,
    torchvision="CelebA",
    recipe=Recipe(
        train={"split": "train"},
        valid={"split": "valid"},
        test={"split": "test"},
        targets="attr",
        names="attr_names",
        present=("celeba/img_align_celeba", "celeba/list_attr_celeba.txt"),
        download_needs=("gdown",),
    ),
)
