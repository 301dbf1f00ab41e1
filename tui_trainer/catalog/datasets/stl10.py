"""STL-10: few labelled pictures of ten kinds, larger than CIFAR-10's. Those without a label are left out."""

from tui_trainer.catalog import DatasetFacts, Recipe

FACTS = DatasetFacts(
    title="pictures of ten kinds, few to learn from",
    shape=(3, 96, 96),
    classes=("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"),
    train_examples=5_000,
    test_examples=8_000,
    download_bytes=2_640_397_119,
    torchvision="STL10",
    recipe=Recipe(
        train={"split": "train"},
        test={"split": "test"},
        pixels="data",
        layout="NCHW",
        targets="labels",
        present=("stl10_binary",),
    ),
)
