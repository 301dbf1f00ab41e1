"""Noise with labels, by torchvision: for trying things out. dataset_arg sets size, num_classes and image_size."""

from tui_trainer.catalog import DatasetFacts

FACTS = DatasetFacts(
    title="noise, for trying things out",
    shape=(3, 32, 32),
    classes=tuple("0123456789"),
    train_examples=1_000,
    reader="fake",
    torchvision="FakeData",
)
