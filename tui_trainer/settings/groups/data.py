"""What is trained on, and how it reaches the model."""

from typing import Annotated, Literal

from pydantic import BeforeValidator

from tui_trainer.settings.fields import (
    Arguments,
    Group,
    auto,
    duration,
    part_of_run,
    setting,
)


class DataSettings(Group):
    """What is trained on, and how it reaches the model."""

    dataset: Annotated[str, part_of_run("dataset")] = setting(
        "fashion-mnist",
        "data",
        "Data set",
        "What to learn from: a name; folder:PATH, a folder of images for each class; table:FILE.csv; or FILE.py:NAME "
        "of your own. fashion-mnist-mini, 5,000 + 1,000 images, is part of the program.",
        simple=True,
        fixed="the run has learned from this one",
    )
    dataset_arg: Arguments = setting(
        "",
        "data",
        "Data arguments",
        "Arguments of the data set, as name=value words: partition=2 for dtd, or those of your own.",
        fixed="the run has learned from these data",
    )
    target: str = setting(
        "",
        "data",
        "Target",
        "Column of a table that is to be predicted: texts and few whole numbers are classes. Several, with commas "
        "between them, are labels where they hold 0 and 1, and numbers otherwise.",
        max_length=4000,
        fixed="the run has learned to predict it",
    )
    data_dir: str = setting(
        "data",
        "data",
        "Data folder",
        "Where data sets are looked for, in torchvision's layout, and downloaded to.",
        min_length=1,
        max_length=4000,
    )
    batch_size: Annotated[int, BeforeValidator(auto)] = setting(
        64,
        "data",
        "Batch size",
        "Examples per step. Larger batches use the device better and want a higher learning rate. auto, or 0, is the "
        "largest power of two that fits into the device's memory and leaves 32 steps an epoch; on a CPU at most 256.",
        simple=True,
        ge=0,
        le=1_000_000,
        fixed="the place in the epoch counts batches of this size",
    )
    valid_fraction: float = setting(
        0.1,
        "data",
        "Validation part",
        "Fraction of the training examples held out to measure on after each epoch, the same share of every class. "
        "0 measures on the test split instead, as the tutorial does.",
        ge=0,
        le=0.9,
        fixed="examples that were held out would be learned from",
    )
    skip_broken: bool = setting(
        False,
        "data",
        "Skip broken",
        "Go on without the images of a folder that cannot be read, and name them; else they end the run before it "
        "begins.",
        fixed="the run has learned from these images",
    )
    image_size: int = setting(
        0,
        "data",
        "Image size",
        "Side of the images that the model sees: they are made so large, and square. 0 leaves them as they are; images "
        "of different sizes become 224.",
        ge=0,
        le=4096,
        fixed="the model takes images of this size",
    )
    pad: int = setting(
        0,
        "data",
        "Border",
        "Black pixels added on every side of an image: 2 makes 28 x 28 images 32 x 32.",
        ge=0,
        le=256,
        fixed="the model takes images of this size",
    )
    normalize: Literal["auto", "none", "imagenet", "data"] = setting(
        "auto",
        "data",
        "Normalise",
        "Inputs less their mean, in standard deviations, channel by channel: of ImageNet, or of the training data. "
        "auto is imagenet for a pretrained model, data for tables, and none else. Unless it is none, numbers to be "
        "predicted are standardised too.",
        fixed="the model has learned from inputs like these",
    )
    augment: Annotated[str, part_of_run("augment")] = setting(
        "none",
        "data",
        "Augmentation",
        "Random changes of the training images, other ones each epoch: flip mirrors them, crop moves them by up to an "
        "eighth of their size; rand_augment, trivial_augment and auto_augment are torchvision's policies.",
    )
    augment_arg: Arguments = setting(
        "",
        "data",
        "Augment arguments",
        "Arguments of the augmentation, as name=value words: num_ops=2 magnitude=9 for rand_augment, policy=cifar10 "
        "for auto_augment; for each of torchvision's also flip=true and crop=true, which come before it.",
    )
    mixup: float = setting(
        0.0,
        "data",
        "Mixup",
        "Learn from pairs of examples laid over each other, in shares drawn from Beta(mixup, mixup) for each batch: "
        "0.2 is usual. With cutmix, too, one of both is drawn for each batch. 0 is off.",
        ge=0,
        le=1000,
    )
    cutmix: float = setting(
        0.0,
        "data",
        "Cutmix",
        "Learn from images with a piece of another one in them, of a size drawn from Beta(cutmix, cutmix) for each "
        "batch: 1 is usual. 0 is off.",
        ge=0,
        le=1000,
    )
    sampler: Literal["shuffle", "balanced"] = setting(
        "shuffle",
        "data",
        "Sampler",
        "shuffle goes through all training examples once an epoch; balanced draws as many of them so that every class "
        "is equally likely: those of rare classes come several times.",
        fixed="the place in the epoch counts its batches",
    )
    data_path: Literal["auto", "resident", "loader"] = setting(
        "auto",
        "data",
        "Data path",
        "resident holds the data on the device as bytes and cuts batches there, the fastest way; loader fetches each "
        "batch through a DataLoader. auto is resident when the data fits into half of the free memory.",
    )
    workers: int = setting(
        0,
        "data",
        "Workers",
        "Processes that fetch batches for data path loader; 0 fetches in the run's own.",
        ge=0,
        le=1024,
    )
    mp_context: Literal["auto", "fork", "spawn", "forkserver"] = setting(
        "auto", "data", "Worker start", "How worker processes are started; auto is Python's choice for this system."
    )
    data_timeout: Annotated[float, BeforeValidator(duration)] = setting(
        300.0,
        "data",
        "Wait for data",
        "How long a batch may take when workers fetch it, before the run ends: 90s, 15m or 2h.",
        gt=0,
        le=1e9,
    )
    limit_train_batches: int = setting(
        0,
        "data",
        "Limit batches",
        "Train on only this many batches an epoch; 0 is all of them.",
        ge=0,
        le=10**9,
        fixed="the place in the epoch counts its batches",
    )
    overfit_batches: int = setting(
        0,
        "data",
        "Overfit batches",
        "Train and validate on the same few batches, without random changes: the loss must fall to nearly 0, or the "
        "model cannot learn. 0 is off.",
        ge=0,
        le=10**9,
        fixed="the run has learned from these",
    )
