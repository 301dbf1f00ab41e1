"""Land seen by the satellites Sentinel-2."""

from tui_trainer.catalog import DatasetFacts, Recipe

FACTS = DatasetFacts(
    title="land use from satellites",
    shape=(3, 64, 64),
    classes=(
        "AnnualCrop",
        "Forest",
        "HerbaceousVegetation",
        "Highway",
        "Industrial",
        "Pasture",
        "PermanentCrop",
        "Residential",
        "River",
        "SeaLake",
    ),
    train_examples=27_000,
    download_bytes=94_280_567,
    torchvision="EuroSAT",
    recipe=Recipe(
        files="samples",
        present=("eurosat/2750",),
    ),
)
