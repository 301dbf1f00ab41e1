"""Krizhevsky's 60,000 small colour pictures of ten kinds."""

from tui_trainer.catalog import DatasetFacts, Recipe

FACTS = DatasetFacts(
    title="small pictures of ten kinds",
    shape=(3, 32, 32),
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    train_examples=50_000,
    test_examples=10_000,
    download_bytes=170_498_071,
    torchvision="CIFAR10",
    recipe=Recipe(
        train={"train": True},
        test={"train": False},
        pixels="data",
        layout="NHWC",
        present=("cifar-10-batches-py",),
    ),
)
