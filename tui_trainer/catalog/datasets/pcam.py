"""PatchCamelyon: is there tumour in the middle of a patch of lymph node?"""

from tui_trainer.catalog import DatasetFacts, Recipe

FACTS = DatasetFacts(
    title="tumour in patches of lymph nodes",
    shape=(3, 96, 96),
    classes=("normal", "tumour"),
    train_examples=262_144,
    valid_examples=32_768,
    test_examples=32_768,
    download_bytes=8_030_000_000,
    torchvision="PCAM",
    recipe=Recipe(
        train={"split": "train"},
        valid={"split": "val"},
        test={"split": "test"},
        targets="",
        present=(
            "pcam/camelyonpatch_level_2_split_train_x.h5",
            "pcam/camelyonpatch_level_2_split_test_x.h5",
            "pcam/camelyonpatch_level_2_split_valid_x.h5",
        ),
        needs=("h5py",),
        download_needs=("gdown",),
    ),
)
