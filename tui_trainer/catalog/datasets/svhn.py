"""House numbers seen from the street, cut into digits."""

from tui_trainer.catalog import DatasetFacts, Recipe

FACTS = DatasetFacts(
    title="digits of house numbers",
    shape=(3, 32, 32),
    classes=tuple("0123456789"),
    train_examples=73_257,
    test_examples=26_032,
    download_bytes=246_316_178,
    torchvision="SVHN",
    recipe=Recipe(
        train={"split": "train"},
        test={"split": "test"},
        pixels="data",
        layout="NCHW",
        targets="labels",
        present=("train_32x32.mat", "test_32x32.mat"),
        needs=("scipy",),
    ),
)
