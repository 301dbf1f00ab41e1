"""The one schema: the command line, the form, the TOML files, the environment and every error message come from it.

Adding a setting is adding one field to `Settings`.
"""

import difflib
import re
import shlex
from collections.abc import Callable
from pathlib import PurePath
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import urlsplit, urlunsplit

import tomli_w
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    field_serializer,
    model_validator,
)
from pydantic.fields import FieldInfo

from tui_trainer.catalog import DATASETS, names_in, own_models
from tui_trainer.catalog.zoo import ZOO
from tui_trainer.errors import SettingsError
from tui_trainer.text import clean, did_you_mean

GROUPS = ("data", "model", "optimisation", "schedule", "run")
ENV_PREFIX = "TUI_TRAINER_"
CONFIG_NAME = "tui-trainer.toml"
PROVENANCE = "provenance"
"""The table of run.toml that says where a run came from; it is not a setting."""


def _setting(
    default: Any, group: str, label: str, help: str, *, simple: bool = False, fixed: str = "", **limits: Any
) -> Any:
    """A field with its default, its place and words on the form, and its limits.

    `fixed` says why it cannot change when a run is carried on.
    """
    extra: dict[str, Any] = {"group": group, "simple": simple, "fixed": fixed}
    return Field(default, title=label, description=help, json_schema_extra=extra, **limits)


def _duration(value: object) -> object:
    """Seconds from `90`, `90s`, `15m`, `2h`, `1:30:00`; anything else is left for pydantic to refuse."""
    if not isinstance(value, str):
        return value
    if match := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh]?)\s*", value):
        return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]
    if match := re.fullmatch(r"\s*(?:(\d{1,4}):)?(\d{1,3}):(\d{2})\s*", value):
        return float(int(match[1] or 0) * 3600 + int(match[2]) * 60 + int(match[3]))
    return value


def _auto(value: object) -> object:
    """0, which leaves the choice to the program, from `auto`; anything else is left for pydantic to judge."""
    return 0 if isinstance(value, str) and value.strip().lower() == "auto" else value


_UNITS = {f"{letter}{i}B": base**n for n, letter in enumerate("kMGT", 1) for i, base in (("", 1000), ("i", 1024))}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?b)\s*", re.IGNORECASE | re.ASCII)


def _size(value: object) -> object:
    """A size as it is written, `10GiB`, from ` 10 gib`; anything else is left for pydantic to refuse."""
    if value == 0 and type(value) is int:
        return "0"
    if not isinstance(value, str) or not (match := _SIZE.fullmatch(value)):
        return value
    unit = next(unit for unit in _UNITS if unit.lower() == match[2].lower())
    return f"{match[1]}{unit}" if float(match[1]) else "0"


def bytes_of(size: str) -> int:
    """The bytes of a setting such as `10GiB`; 0 for `0`."""
    match = _SIZE.fullmatch(size)
    return round(float(match[1]) * _UNITS[match[2]]) if match else 0


def _address(value: str | None) -> str | None:
    """A web address that can be posted to, as it was given.

    Raises:
        ValueError: it is none; the message does not repeat it, because it may hold a password.
    """
    if value is None:
        return None
    try:
        parts = urlsplit(value)
        whole = re.fullmatch(r"[!-~]{1,2000}", value) and not set('"<>\\^`{|}') & set(value)
        host = re.fullmatch(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+", parts.hostname or "")
        good = whole and host and parts.scheme in ("http", "https") and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ValueError("must be an http:// or https:// address, such as https://ntfy.sh/my-topic")
    return value


def _without_password(address: str) -> str:
    """An address without user, password and query."""
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


NAMES: dict[str, Callable[[], tuple[str, ...]]] = {
    "dataset": lambda: tuple(DATASETS),
    "model": lambda: (*own_models(), *ZOO),
    "task": lambda: ("auto", *names_in("training/tasks")),
    "loss": lambda: ("cross_entropy", "mse", "bce", "l1", "kl_div", "huber"),
    "optimizer": lambda: ("sgd", "adagrad", "rmsprop", "adam", "adamw"),
    "augment": lambda: (
        *("none", "flip", "crop", "flip_crop"),
        *("rand_augment", "trivial_augment", "auto_augment"),
    ),
}
"""The words of the settings that name a part of the run, each a part that the program has."""

OWN = ("dataset", "model", "loss", "optimizer", "augment")
"""The settings that can also name code of the user's own."""

_PLACE = re.compile(r"(?!folder:|table:)([^\0]+\.py|[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def is_place(value: str) -> bool:
    """True for code of the user's own: `path/file.py:Name` or `package.module:Name`."""
    return _PLACE.fullmatch(value) is not None


SCRIPT = "script"
"""What stands for the module in the place of an object that a running script has passed in: `script:Net`."""


def is_lent(value: str) -> bool:
    """True for an object of a running script, which exists in its process only."""
    return value.startswith(f"{SCRIPT}:")


def short(value: str) -> str:
    """The name of a part for people, without the way to it: `Net`, `pets`, `houses`."""
    if value.startswith(("folder:", "table:")):
        return PurePath(value.partition(":")[2]).stem or value
    return value.rpartition(":")[2] if is_place(value) else value


def _part(setting: str) -> AfterValidator:
    """What judges the name of a part of the run."""

    def judge(value: str) -> str:
        if value in NAMES[setting]() or (setting in OWN and is_place(value)):
            return value
        if setting == "dataset" and value.startswith(("folder:", "table:")) and value.partition(":")[2]:
            return value
        raise ValueError(no_such_part(setting, value))

    return AfterValidator(judge)


def no_such_part(setting: str, value: object) -> str:
    """What a setting that names a part of the run can be, as the rest of a sentence that began with its name."""
    words = NAMES[setting]()
    few = len(words) < 12
    own = ", folder:PATH, table:FILE" if setting == "dataset" else ""
    own += ", or FILE.py:NAME of your own" if setting in OWN else ""
    what = f"must be one of {', '.join(words) if few else f'the {len(words)} names on the form'}{own}"
    return f"{what}; found {clean(repr(value), 60)}.{did_you_mean(value, words) if isinstance(value, str) else ''}"


def _words(value: object) -> object:
    """Several words as one text; a setting that may be given more than once comes as a list."""
    return (
        " ".join(value) if isinstance(value, list) and value and all(isinstance(w, str) and w for w in value) else value
    )


def _arguments(value: str) -> str:
    """Words that each set an argument, with one blank between them.

    Raises:
        ValueError: one of them does not, or a quote is left open.
    """
    try:
        words = shlex.split(value)
    except ValueError:
        words = ["?"]
    if not all(re.match(r"[A-Za-z_]\w*=", word) for word in words):
        raise ValueError(f"must be name=value words, such as hidden=512,512; found {clean(repr(value), 60)}")
    return value


Arguments = Annotated[
    str, BeforeValidator(_words), StringConstraints(max_length=4000, strip_whitespace=True), AfterValidator(_arguments)
]
"""Arguments of a part of the run, `name=value` words: `hidden=512,512 dropout=0.1`."""


def _monitor(value: str) -> str:
    """What is monitored, a score of the validation; whether the task measures it is known when it is there.

    Raises:
        ValueError: it does not name a score.
    """
    if not re.fullmatch(r"valid_[a-z][a-z0-9_]{0,60}", value):
        raise ValueError(
            f"must be valid_ and what is measured, such as valid_loss, valid_accuracy or valid_mae; found "
            f"{clean(repr(value), 60)}"
        )
    return value


Scheduler = Literal["none", "plateau", "cosine", "step", "onecycle"]


class Settings(BaseModel):
    """Everything that decides what a run does. Frozen: a run keeps the settings it began with."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    dataset: Annotated[str, _part("dataset")] = _setting(
        "fashion-mnist",
        "data",
        "Data set",
        "What to learn from: a name; folder:PATH, a folder of images for each class; table:FILE.csv; or FILE.py:NAME "
        "of your own. fashion-mnist-mini, 5,000 + 1,000 images, is part of the program.",
        simple=True,
        fixed="the run has learned from this one",
    )
    dataset_arg: Arguments = _setting(
        "",
        "data",
        "Data arguments",
        "Arguments of the data set, as name=value words: partition=2 for dtd, or those of your own.",
        fixed="the run has learned from these data",
    )
    target: str = _setting(
        "",
        "data",
        "Target",
        "Column of a table that is to be predicted: texts and few whole numbers are classes. Several, with commas "
        "between them, are labels where they hold 0 and 1, and numbers otherwise.",
        max_length=4000,
        fixed="the run has learned to predict it",
    )
    data_dir: str = _setting(
        "data",
        "data",
        "Data folder",
        "Where data sets are looked for, in torchvision's layout, and downloaded to.",
        min_length=1,
        max_length=4000,
    )
    batch_size: Annotated[int, BeforeValidator(_auto)] = _setting(
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
    valid_fraction: float = _setting(
        0.1,
        "data",
        "Validation part",
        "Fraction of the training examples held out to measure on after each epoch, the same share of every class. "
        "0 measures on the test split instead, as the tutorial does.",
        ge=0,
        le=0.9,
        fixed="examples that were held out would be learned from",
    )
    skip_broken: bool = _setting(
        False,
        "data",
        "Skip broken",
        "Go on without the images of a folder that cannot be read, and name them; else they end the run before it "
        "begins.",
        fixed="the run has learned from these images",
    )
    image_size: int = _setting(
        0,
        "data",
        "Image size",
        "Side of the images that the model sees: they are made so large, and square. 0 leaves them as they are; images "
        "of different sizes become 224.",
        ge=0,
        le=4096,
        fixed="the model takes images of this size",
    )
    pad: int = _setting(
        0,
        "data",
        "Border",
        "Black pixels added on every side of an image: 2 makes 28 x 28 images 32 x 32.",
        ge=0,
        le=256,
        fixed="the model takes images of this size",
    )
    normalize: Literal["auto", "none", "imagenet", "data"] = _setting(
        "auto",
        "data",
        "Normalise",
        "Inputs less their mean, in standard deviations, channel by channel: of ImageNet, or of the training data. "
        "auto is imagenet for a pretrained model, data for tables, and none else. Unless it is none, numbers to be "
        "predicted are standardised too.",
        fixed="the model has learned from inputs like these",
    )
    augment: Annotated[str, _part("augment")] = _setting(
        "none",
        "data",
        "Augmentation",
        "Random changes of the training images, other ones each epoch: flip mirrors them, crop moves them by up to an "
        "eighth of their size; rand_augment, trivial_augment and auto_augment are torchvision's policies.",
    )
    augment_arg: Arguments = _setting(
        "",
        "data",
        "Augment arguments",
        "Arguments of the augmentation, as name=value words: num_ops=2 magnitude=9 for rand_augment, policy=cifar10 "
        "for auto_augment; for each of torchvision's also flip=true and crop=true, which come before it.",
    )
    mixup: float = _setting(
        0.0,
        "data",
        "Mixup",
        "Learn from pairs of examples laid over each other, in shares drawn from Beta(mixup, mixup) for each batch: "
        "0.2 is usual. With cutmix, too, one of both is drawn for each batch. 0 is off.",
        ge=0,
        le=1000,
    )
    cutmix: float = _setting(
        0.0,
        "data",
        "Cutmix",
        "Learn from images with a piece of another one in them, of a size drawn from Beta(cutmix, cutmix) for each "
        "batch: 1 is usual. 0 is off.",
        ge=0,
        le=1000,
    )
    sampler: Literal["shuffle", "balanced"] = _setting(
        "shuffle",
        "data",
        "Sampler",
        "shuffle goes through all training examples once an epoch; balanced draws as many of them so that every class "
        "is equally likely: those of rare classes come several times.",
        fixed="the place in the epoch counts its batches",
    )
    data_path: Literal["auto", "resident", "loader"] = _setting(
        "auto",
        "data",
        "Data path",
        "resident holds the data on the device as bytes and cuts batches there, the fastest way; loader fetches each "
        "batch through a DataLoader. auto is resident when the data fits into half of the free memory.",
    )
    workers: int = _setting(
        0,
        "data",
        "Workers",
        "Processes that fetch batches for data path loader; 0 fetches in the run's own.",
        ge=0,
        le=1024,
    )
    mp_context: Literal["auto", "fork", "spawn", "forkserver"] = _setting(
        "auto", "data", "Worker start", "How worker processes are started; auto is Python's choice for this system."
    )
    data_timeout: Annotated[float, BeforeValidator(_duration)] = _setting(
        300.0,
        "data",
        "Wait for data",
        "How long a batch may take when workers fetch it, before the run ends: 90s, 15m or 2h.",
        gt=0,
        le=1e9,
    )
    limit_train_batches: int = _setting(
        0,
        "data",
        "Limit batches",
        "Train on only this many batches an epoch; 0 is all of them.",
        ge=0,
        le=10**9,
        fixed="the place in the epoch counts its batches",
    )
    overfit_batches: int = _setting(
        0,
        "data",
        "Overfit batches",
        "Train and validate on the same few batches, without random changes: the loss must fall to nearly 0, or the "
        "model cannot learn. 0 is off.",
        ge=0,
        le=10**9,
        fixed="the run has learned from these",
    )

    model: Annotated[str, _part("model")] = _setting(
        "mlp",
        "model",
        "Model",
        "mlp is the tutorial's 784-512-512-10 network; cnn, a small convolutional network, fits images better; others "
        "are torchvision's; or FILE.py:NAME of your own.",
        simple=True,
        fixed="the weights are those of this one",
    )
    model_arg: Arguments = _setting(
        "",
        "model",
        "Model arguments",
        "Arguments of the model, as name=value words: hidden=512,512 for mlp.",
        fixed="the weights are those of this model",
    )
    pretrained: bool = _setting(
        False,
        "model",
        "Pretrained",
        "Begin with weights that have learned from ImageNet; only the last layer begins anew.",
        fixed="it belongs to the beginning of a run",
    )
    task: Annotated[str, _part("task")] = _setting(
        "auto",
        "model",
        "Task",
        "What is to be predicted: classification, one class of several; binary, yes or no; multilabel, any of several; "
        "regression, numbers; distribution, the share of each class. auto goes by the data.",
        fixed="the best score so far would mean something else",
    )
    loss: Annotated[str, _part("loss")] = _setting(
        "cross_entropy",
        "model",
        "Loss",
        "What training makes small. cross_entropy suits classes; mse and l1 compare probabilities with the one-hot "
        "target, bce asks one yes-or-no question a class, kl_div compares distributions; mse, l1 and huber suit "
        "numbers.",
        simple=True,
        fixed="the best score so far would mean something else",
    )
    loss_arg: Arguments = _setting(
        "",
        "model",
        "Loss arguments",
        "Arguments of a loss of your own, as name=value words.",
        fixed="the best score so far would mean something else",
    )
    label_smoothing: float = _setting(
        0.0,
        "model",
        "Label smoothing",
        "Share of each target spread evenly over all classes; 0.1 makes a model less sure of itself. 0 is off.",
        ge=0,
        lt=1,
        fixed="the best score so far would mean something else",
    )
    class_weights: Literal["off", "balanced"] = _setting(
        "off",
        "model",
        "Class weights",
        "balanced lets every class count alike in the loss that training makes small, however rare it is: for "
        "cross_entropy, and for bce of yes-or-no labels. What validation measures stays the plain loss.",
    )
    channels_last: bool = _setting(
        False,
        "model",
        "Channels last",
        "Keep images with their channels last in memory; convolutions on a GPU like it.",
    )

    optimizer: Annotated[str, _part("optimizer")] = _setting(
        "adam",
        "optimisation",
        "Optimizer",
        "The rule that turns gradients into steps.",
        simple=True,
        fixed="what it has kept of past steps is of no use to another",
    )
    optimizer_arg: Arguments = _setting(
        "", "optimisation", "More of it", "Further arguments of the optimizer, as name=value words: betas=0.9,0.95."
    )
    lr: float = _setting(
        1e-3,
        "optimisation",
        "Learning rate",
        "Step size of the optimizer. Above 0; 0.001 suits adam and adamw, sgd wants 0.01 to 0.1.",
        simple=True,
        gt=0,
        le=1e6,
    )
    momentum: float = _setting(
        0.0, "optimisation", "Momentum", "Share of the last step kept in the next; 0.9 is usual for sgd.", ge=0, lt=1
    )
    nesterov: bool = _setting(
        False, "optimisation", "Nesterov", "Look ahead by the momentum before measuring the gradient (sgd only)."
    )
    weight_decay: float = _setting(
        0.0,
        "optimisation",
        "Weight decay",
        "Pull of every weight towards 0 at each step; adamw likes 0.01.",
        ge=0,
        le=1e3,
    )
    layer_decay: float = _setting(
        1.0,
        "optimisation",
        "Layer decay",
        "Each layer learns at this share of the rate of the layer behind it; 0.75 is usual to fine-tune a pretrained "
        "transformer. The rate that is shown is that of the last layer. 1 is off.",
        gt=0,
        le=1,
        fixed="what the optimizer has kept is ordered by layers",
    )
    freeze_epochs: int = _setting(
        0,
        "optimisation",
        "Freeze",
        "Epochs at the beginning in which only the last layer learns, all others rest; as many as epochs, or more, for "
        "the whole run. 0 is off.",
        ge=0,
        le=1_000_000,
    )
    clip_grad: float = _setting(
        0.0,
        "optimisation",
        "Clip gradients",
        "Longest gradient, as a norm over all weights, that a step may use; 1 is usual. 0 is off.",
        ge=0,
        le=1e9,
    )
    grad_accum_steps: int = _setting(
        1,
        "optimisation",
        "Accumulate",
        "Batches whose gradients are averaged into one step: k batches of n act as one batch of k x n.",
        ge=1,
        le=100_000,
        fixed="steps are counted in groups of it",
    )

    ema: float = _setting(
        0.0,
        "optimisation",
        "Weight average",
        "Measure and keep a moving average of the weights; this share of it is kept at each step, 0.999 is usual. "
        "0 is off.",
        ge=0,
        lt=1,
        fixed="the average began with the run",
    )
    amp: Literal["off", "bf16", "fp16"] = _setting(
        "off",
        "optimisation",
        "Mixed precision",
        "Compute in 16 bits where it is safe: about twice as fast on a recent GPU. bf16 needs no care, fp16 scales "
        "the loss.",
    )
    matmul_precision: Literal["highest", "high", "medium"] = _setting(
        "highest",
        "optimisation",
        "Matrix products",
        "Precision of float32 products: high allows TensorFloat-32 on a GPU, medium bfloat16; faster and less exact.",
    )
    compile: bool = _setting(
        False, "optimisation", "Compile", "Compile the model with torch.compile; takes a minute, then steps are faster."
    )
    cuda_graph: Literal["auto", "on", "off"] = _setting(
        "auto",
        "optimisation",
        "CUDA graph",
        "Record a whole training step once and launch it as one piece; small models gain most. Only on a CUDA device. "
        "auto leaves out a model of your own, whose Python runs only while it is recorded.",
    )

    on_nonfinite: Literal["stop", "rollback", "ask"] = _setting(
        "stop",
        "optimisation",
        "Not finite",
        "What to do when a loss or a gradient is NaN or infinite; the weights never see it. rollback goes back to the "
        "last checkpoint with half the rate, three times at most; ask lets you choose on the screen.",
    )

    epochs: int = _setting(
        5, "schedule", "Epochs", "How often the training examples are gone through.", simple=True, ge=1, le=1_000_000
    )
    scheduler: Scheduler = _setting(
        "none",
        "schedule",
        "Scheduler",
        "How the learning rate changes: plateau lowers it when the monitored value stops improving, cosine lets it "
        "fall to min_lr, step multiplies it every few epochs, onecycle rises to it and falls again.",
        simple=True,
    )
    warmup_epochs: float = _setting(
        0.0,
        "schedule",
        "Warm-up",
        "Epochs in which the learning rate rises from a hundredth to its value.",
        ge=0,
        le=1e6,
    )
    min_lr: float = _setting(0.0, "schedule", "Lowest rate", "The learning rate never falls below this.", ge=0, le=1e6)
    decay_rate: float = _setting(
        0.1, "schedule", "Decay rate", "Factor of the learning rate at each drop of plateau and step.", gt=0, lt=1
    )
    decay_epochs: int = _setting(
        2,
        "schedule",
        "Decay epochs",
        "step: epochs between two drops. plateau: validations without improvement before a drop.",
        ge=1,
        le=1_000_000,
    )
    patience: int = _setting(
        0,
        "schedule",
        "Patience",
        "Validations without improvement before training ends early. 0 is off.",
        simple=True,
        ge=0,
        le=1_000_000,
    )
    min_delta: float = _setting(
        0.0, "schedule", "Least gain", "An improvement smaller than this does not count as one.", ge=0, le=1e9
    )
    monitor: Annotated[str, AfterValidator(_monitor)] = _setting(
        "valid_loss",
        "schedule",
        "Monitor",
        "What decides which epoch is best, for patience and plateau too: valid_loss, or another score of the task, "
        "such as valid_accuracy, valid_f1 or valid_mae.",
        fixed="the best epoch so far was chosen by it",
    )
    max_steps: int = _setting(
        0, "schedule", "Most steps", "End after this many batches; 0 is no limit.", ge=0, le=10**12
    )
    max_time: Annotated[float, BeforeValidator(_duration)] = _setting(
        0.0, "schedule", "Most time", "End after this long: 90s, 15m, 2h or 1:30:00; 0 is no limit.", ge=0, le=1e9
    )

    device: str = _setting(
        "auto",
        "run",
        "Device",
        "auto takes the first of cuda, mps, xpu and cpu that is there; or name one, such as cuda:1.",
        simple=True,
        pattern=r"^(auto|cpu|mps|(cuda|xpu)(:[0-9]{1,3})?)$",
    )
    threads: int = _setting(
        0,
        "run",
        "Threads",
        "CPU threads that compute; 0 is one a core. Fewer are faster beside other busy programs. Losses differ in the "
        "last digits with another number.",
        ge=0,
        le=4096,
    )
    seed: int | None = _setting(
        None,
        "run",
        "Seed",
        "Same seed, same losses. Empty draws one, and the run records it.",
        ge=0,
        le=2**63 - 1,
        fixed="the order of the examples is drawn from it",
    )
    deterministic: bool = _setting(
        False, "run", "Deterministic", "Only operations that give the same bits every time; slower on a GPU."
    )
    output_dir: str = _setting(
        "runs",
        "run",
        "Output folder",
        "Where run folders are made.",
        min_length=1,
        max_length=4000,
        fixed="the run stays in its folder",
    )
    name: str | None = _setting(
        None,
        "run",
        "Name",
        "Name of the run's folder: letters, digits, dot, dash, underscore. Empty makes one of time, model and data.",
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$",
        fixed="the run stays in its folder",
    )
    after: str | None = _setting(
        None,
        "run",
        "After",
        "Begin when another run has ended: its name, the beginning of its name, its folder, or last. Empty begins at "
        "once.",
        min_length=1,
        max_length=4000,
        fixed="it belongs to the beginning of a run",
    )
    when_free: Annotated[str, BeforeValidator(_size)] = _setting(
        "0",
        "run",
        "When free",
        "Begin when a GPU has this much free memory: 10GiB or 800MB. With device auto it takes the first that has. "
        "0 begins at once.",
        pattern=r"^(0|[0-9]{1,9}(\.[0-9]{1,9})?[kMGT]i?B)$",
        fixed="it belongs to the beginning of a run",
    )
    val_interval: int = _setting(
        1, "run", "Validate every", "Epochs from one validation to the next.", ge=1, le=1_000_000
    )
    save_every: int = _setting(
        0, "run", "Save every", "Keep a checkpoint of its own every this many epochs; 0 is off.", ge=0, le=1_000_000
    )
    save_interval: Annotated[float, BeforeValidator(_duration)] = _setting(
        600.0,
        "run",
        "Save after",
        "In a long epoch save last.pt after this long: 90s, 15m or 2h. 0 saves at the end of epochs only.",
        ge=0,
        le=1e9,
    )
    save_top_k: int = _setting(
        1, "run", "Keep best", "Best epochs to keep: one as best.pt; of several each also as epoch-N.pt.", ge=1, le=1000
    )
    log_interval: int = _setting(
        0,
        "run",
        "Report every",
        "Batches from one loss report to the next; 0 reports by the clock, up to five times a second.",
        ge=0,
        le=10**9,
    )
    notify: Literal["auto", "osc9", "osc777", "bell", "off"] = _setting(
        "auto",
        "run",
        "Notify",
        "How the terminal calls you when the run ends, asks, or its loss is not finite: auto is a desktop notification "
        "and the bell. The window's title shows the state, too, unless this is off.",
    )
    notify_url: Annotated[str | None, AfterValidator(_address)] = _setting(
        None,
        "run",
        "Notify address",
        "Web address that the same sentences are posted to as plain text, such as https://ntfy.sh/my-topic.",
        max_length=2000,
    )
    dry_run: bool = _setting(
        False,
        "run",
        "Dry run",
        "One batch of training, validation and test, to see that all parts fit.",
        fixed="it belongs to the beginning of a run",
    )

    @field_serializer("notify_url")
    def _keep_back(self, _: str | None) -> None:
        """The address opens a mailbox: journals and checkpoints, which people share, do not hold it."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        problems = contradictions(self)
        if problems:
            raise SettingsError([sentence for _, sentence in problems])
        return self


FIELDS: dict[str, FieldInfo] = Settings.model_fields


def is_of_script(settings: Settings) -> bool:
    """True when a part of the run is an object of a running script."""
    return any(is_lent(getattr(settings, name)) for name in OWN)


def group_of(name: str) -> str:
    """The group of a setting, one of `GROUPS`."""
    return str(_extra(name)["group"])


def why_fixed(name: str) -> str:
    """Why a setting cannot change when a run is carried on; empty when it can."""
    return str(_extra(name)["fixed"])


def is_simple(name: str) -> bool:
    """True for the ten settings that matter most, open on the form from the start."""
    return bool(_extra(name)["simple"])


def _extra(name: str) -> dict[str, Any]:
    extra = FIELDS[name].json_schema_extra
    assert isinstance(extra, dict)
    return extra


def choices_of(name: str) -> tuple[str, ...]:
    """The words a setting can be, or nothing when it is a number, a switch or free text."""
    if name in NAMES:
        return NAMES[name]()
    annotation = FIELDS[name].annotation
    return get_args(annotation) if getattr(annotation, "__origin__", None) is Literal else ()


def is_switch(name: str) -> bool:
    """True when the setting is on or off."""
    return FIELDS[name].annotation is bool


def is_duration(name: str) -> bool:
    """True when the setting is a time, which may be typed as `90s` or `2h`."""
    return any(isinstance(part, BeforeValidator) and part.func is _duration for part in FIELDS[name].metadata)


def flag(name: str) -> str:
    """A setting's name on the command line."""
    return "--" + name.replace("_", "-")


def nearest(name: str) -> str:
    """A hint at the setting somebody may have meant by `name`, by its name or by its words on the form."""
    words = {str(info.title).lower().replace(" ", "_"): known for known, info in FIELDS.items()} | {
        n: n for n in FIELDS
    }
    near = difflib.get_close_matches(name.lower(), words, n=1, cutoff=0.6)
    return f" Did you mean {words[near[0]]}?" if near else ""


def contradictions(settings: Settings) -> list[tuple[tuple[str, ...], str]]:
    """Settings that are fine one by one and not together: the names, and a sentence that holds all of them."""
    s = settings
    found: list[tuple[tuple[str, ...], str]] = []
    if s.momentum > 0 and s.optimizer in ("adagrad", "adam", "adamw"):
        sentence = f"momentum: {s.optimizer} has none of its own; set momentum to 0, or optimizer to sgd or rmsprop"
        found.append((("momentum", "optimizer"), sentence))
    if s.nesterov and not (s.optimizer == "sgd" and s.momentum > 0):
        sentence = "nesterov: needs optimizer sgd and a momentum above 0"
        found.append((("nesterov", "optimizer", "momentum"), sentence))
    if s.layer_decay < 1 and is_place(s.optimizer):
        sentence = "layer_decay: an optimizer of your own gets all parameters alike; set layer_decay to 1"
        found.append((("layer_decay", "optimizer"), sentence))
    if s.warmup_epochs > 0 and s.scheduler == "onecycle":
        sentence = "warmup_epochs: scheduler onecycle warms up by itself; set warmup_epochs to 0"
        found.append((("warmup_epochs", "scheduler"), sentence))
    elif s.warmup_epochs >= s.epochs:
        sentence = f"warmup_epochs: must be fewer than epochs ({s.epochs}), found {s.warmup_epochs:g}"
        found.append((("warmup_epochs", "epochs"), sentence))
    if s.min_lr > s.lr:
        found.append((("min_lr", "lr"), f"min_lr: must not be above lr ({s.lr:g}), found {s.min_lr:g}"))
    if s.overfit_batches and s.limit_train_batches:
        sentence = "overfit_batches: cannot be used together with limit_train_batches; set one of them to 0"
        found.append((("overfit_batches", "limit_train_batches"), sentence))
    if s.overfit_batches and not s.batch_size:
        sentence = "batch_size: overfit_batches counts batches of a size that is known; give batch_size a number"
        found.append((("batch_size", "overfit_batches"), sentence))
    if s.overfit_batches and (s.mixup or s.cutmix):
        mixed = "mixup" if s.mixup else "cutmix"
        sentence = f"{mixed}: what is mixed anew each time cannot be learned by heart; set it to 0, or overfit_batches"
        found.append(((mixed, "overfit_batches"), sentence))
    if s.overfit_batches and s.sampler == "balanced":
        sentence = "sampler: overfit_batches keeps to the same few batches; set sampler to shuffle"
        found.append((("sampler", "overfit_batches"), sentence))
    if s.workers and s.data_path == "resident":
        sentence = "workers: data_path resident fetches nothing; set workers to 0, or data_path to loader"
        found.append((("workers", "data_path"), sentence))
    if s.cuda_graph == "on" and s.grad_accum_steps > 1:
        sentence = "cuda_graph: a graph is one whole step; set grad_accum_steps to 1, or cuda_graph to auto"
        found.append((("cuda_graph", "grad_accum_steps"), sentence))
    if s.loss_arg and not is_place(s.loss):
        found.append((("loss_arg", "loss"), f"loss_arg: {s.loss} takes no arguments; leave it empty"))
    if s.pretrained and s.model not in ZOO:
        found.append((("pretrained", "model"), f"pretrained: there are no such weights for {clean(s.model, 60)}"))
    if s.after is not None and s.after == s.name:
        found.append((("after", "name"), "after: a run cannot wait for itself; name another run"))
    return found


_OF_DATA = ("dataset", "dataset_arg", "target", "data_dir", "task", "loss", "loss_arg")

_LOOP = {n: f.default for n, f in FIELDS.items() if group_of(n) != "run" and n not in _OF_DATA}
_LOOP["val_interval"] = 1

PRESETS: dict[str, dict[str, Any]] = {
    "tutorial": _LOOP
    | {"task": "auto", "loss": "cross_entropy", "loss_arg": ""}
    | {"optimizer": "sgd", "lr": 1e-3, "valid_fraction": 0.0, "log_interval": 100},
    "quick": _LOOP
    | {"model": "cnn", "optimizer": "adamw", "lr": 4e-3, "epochs": 4, "batch_size": 128, "scheduler": "onecycle"},
}
"""Plain settings under a name. `tutorial` is the tutorial's script to the letter; `quick` scores well fast."""


def to_plain(settings: Settings) -> dict[str, Any]:
    """Settings as run.toml holds them: those that are unset are left out, and so is the password of an address."""
    kept = settings.model_dump() | {"notify_url": settings.notify_url and _without_password(settings.notify_url)}
    return {name: value for name, value in kept.items() if value is not None}


def to_toml(settings: Settings, origins: dict[str, str] | None = None) -> str:
    """Settings as a TOML file to keep, each with its help above it, and where it came from when `origins` are given."""
    lines = []
    for group in GROUPS:
        lines.append(f"# --- {group} ---")
        for name, info in FIELDS.items():
            if group_of(name) == group:
                value = getattr(settings, name)
                lines.append(f"# {info.description}")
                line = f"# {name} =" if value is None else tomli_w.dumps({name: value}).rstrip("\n")
                origin = (origins or {}).get(name)
                lines.append(f"{line}  # {clean(origin, 200)}" if origin else line)
        lines.append("")
    return "\n".join(lines)


def as_text(value: object) -> str:
    """A value as one would type it: `0.001`, `64`, `on`, nothing for unset."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value)


def flags(settings: Settings, was: Settings | None = None) -> list[str]:
    """The command-line words that give `settings` when nothing else is set, or from those that `was`."""
    words = []
    for name, info in FIELDS.items():
        value = getattr(settings, name)
        if value == (getattr(was, name) if was else info.default) or value is None:
            continue
        if is_switch(name):
            words.append(flag(name) if value else f"--no-{name.replace('_', '-')}")
        else:
            text = as_text(value)
            words += [f"{flag(name)}={text}"] if text.startswith("-") else [flag(name), text]
    return words
