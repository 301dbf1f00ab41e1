"""Krizhevsky's 60,000 small colour pictures of a hundred kinds."""

from tui_trainer.catalog import DatasetFacts, Recipe

FACTS = DatasetFacts(
    title="small pictures of a hundred kinds",
    shape=(3, 32, 32),
    class_count=100,
    train_examples=50_000,
    test_examples=10_000,
    download_bytes=169_001_437,
    torchvision="CIFAR100",
    recipe=Recipe(
        train={"train": True},
        test={"train": False},
        pixels="data",
        layout="NHWC",
        names="classes",
        present=("cifar-100-python",),
    ),
)
