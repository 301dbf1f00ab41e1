"""Characters of 30 alphabets, each drawn by 20 people: Omniglot's background set."""

from tui_trainer.catalog import DatasetFacts, Recipe

FACTS = DatasetFacts(
    title="characters of 30 alphabets",
    shape=(1, 105, 105),
    class_count=964,
    train_examples=19_280,
    download_bytes=9_464_212,
    torchvision="Omniglot",
    recipe=Recipe(
        targets="_flat_character_images",
        names="_characters",
        as_on_disk=True,
        present=("omniglot-py/images_background",),
    ),
)
