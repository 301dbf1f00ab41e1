"""Cars by make, model and year."""

from tui_trainer.catalog import DatasetFacts, Recipe

FACTS = DatasetFacts(
    title="cars by model and year",
    shape=None,
    class_count=196,
    train_examples=8_144,
    test_examples=8_041,
    torchvision="StanfordCars",
    recipe=Recipe(
        train={"split": "train"},
        test={"split": "test"},
        files="_samples",
        targets="_samples",
        names="classes",
        present=(
            "stanford_cars/devkit",
            "stanford_cars/cars_train",
            "stanford_cars/cars_test",
            "stanford_cars/cars_test_annos_withlabels.mat",
        ),
        needs=("scipy",),
        by_hand="the folder stanford_cars with devkit, cars_train, cars_test and cars_test_annos_withlabels.mat",
    ),
)
