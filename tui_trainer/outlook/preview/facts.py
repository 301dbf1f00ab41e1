"""What a preview of a run's data or model has found, in the JSON lines of the preview process.

Each line is an `Answer`, and most set one of its parts. The screens ask for more images with an `Order` a line.
"""

from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

MOST_PIXELS = 256
"""Width and height of a picture at most."""


LONGEST = 4000
"""Characters of foreign text that are passed on."""


def _passable(value: object) -> object:
    """Text that can be written as JSON: a name that is no Unicode, as a file may have, is written out."""
    return value[:LONGEST].encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_passable)]


class _Plain(BaseModel):
    model_config = ConfigDict(
        frozen=True, ser_json_inf_nan="constants", ser_json_bytes="base64", val_json_bytes="base64"
    )


class Order(_Plain):
    """Which training examples are wanted, and how large."""

    page: int = Field(0, ge=0)
    """From 0; past the last one it begins anew."""
    count: int = Field(8, ge=1, le=400)
    """Examples on a page."""
    epoch: int = Field(1, ge=1)
    """Whose random changes are wanted."""
    only: int | None = Field(None, ge=0)
    """The class or label that all of them should have."""
    width: int = Field(28, ge=1, le=MOST_PIXELS)
    height: int = Field(28, ge=1, le=MOST_PIXELS)
    """Pixels that a picture may have at most."""


class Picture(_Plain):
    """An image as bytes, row by row: one for a grey pixel, three for red, green and blue."""

    width: int = Field(ge=1, le=MOST_PIXELS)
    height: int = Field(ge=1, le=MOST_PIXELS)
    pixels: bytes

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if len(self.pixels) not in (self.width * self.height, 3 * self.width * self.height):
            raise ValueError("a picture with pixels missing")
        return self

    def colour(self, x: int, y: int) -> tuple[int, int, int]:
        """Red, green and blue of a pixel, 0 to 255."""
        at = y * self.width + x
        if len(self.pixels) == self.width * self.height:
            return (self.pixels[at],) * 3
        red, green, blue = self.pixels[3 * at : 3 * at + 3]
        return red, green, blue


class Sample(_Plain):
    """One training example."""

    label: Text
    original: Picture
    seen: Picture | None = None
    """As the model sees it in this epoch; None when that is the same."""


class Samples(_Plain):
    """A page of training examples."""

    order: Order
    pages: int = Field(ge=0)
    samples: tuple[Sample, ...]


class Split(_Plain):
    """The examples of train, valid or test."""

    name: Text
    examples: int = Field(ge=0)
    counts: tuple[float, ...] = ()
    """Examples of each class or label; empty where there are none."""


class Column(_Plain):
    """A column of a table, over the training rows that were looked at."""

    name: Text
    low: float | None
    mean: float | None
    high: float | None
    missing: int = Field(0, ge=0)
    values: Text = ""
    """Of a category: the texts that it has, in place of the numbers."""


class Histogram(_Plain):
    """How a number that is to be predicted is spread over the training examples."""

    name: Text
    low: float
    high: float
    mean: float
    bins: tuple[int, ...]


class Row(_Plain):
    """A training row of a table."""

    values: tuple[Text, ...]
    target: Text


class DataFacts(_Plain):
    """What is in a data set."""

    name: Text
    source: Text
    kind: Text
    """What its targets are: class, labels, number or share."""
    shape: tuple[int, ...]
    """One input, without its batch."""
    classes: tuple[Text, ...]
    splits: tuple[Split, ...]
    kept: Text
    """The type of its numbers: uint8, float32."""
    low: float
    high: float
    mean: float
    std: float
    looked_at: int
    """Training examples that the last four were measured on."""
    normalised: Text = ""
    """What inputs are normalised by, as a phrase."""
    bytes: int = 0
    """What the inputs take in memory."""
    changes: Text = ""
    """The random changes of the training examples, as a phrase; nothing when there are none."""
    balanced: bool = False
    """Every class is drawn equally often."""
    columns: tuple[Column, ...] = ()
    rows: tuple[Row, ...] = ()
    targets: tuple[Histogram, ...] = ()


class Layer(_Plain):
    """A layer, in the order in which they run."""

    name: Text
    type: Text
    output: Text
    """Its shape without the batch."""
    parameters: int = Field(ge=0)
    trainable: int = Field(ge=0)


class ModelFacts(_Plain):
    """What a model is made of."""

    name: Text
    shape: tuple[int, ...]
    outputs: int
    layers: tuple[Layer, ...]
    parameters: int = Field(ge=0)
    trainable: int = Field(ge=0)
    loss: Text
    task: Text


class Memory(_Plain):
    """Bytes that training takes where the model computes."""

    batch_size: int
    weights: int
    gradients: int
    optimizer: int
    activations: int
    """What was kept of a forward pass of one batch for the backward pass."""
    data: int
    """Of data that is held on the device."""
    optimizer_name: Text
    free: int
    device: Text


class Speed(_Plain):
    """How fast training is."""

    batches: int
    """That were measured."""
    left_out: int
    """Before those: they are slower."""
    batch_size: int
    batches_per_second: float
    examples_per_second: float
    epoch_batches: int
    epochs: int
    epoch_seconds: float
    """Of training in an epoch."""
    valid_seconds: float
    """Of the validation after it."""
    cores_used: float
    cores: int
    gpu: float | None = None
    """Part of the time that the GPU computes; None where that is not known."""
    waited: float
    """Part of the time that went by waiting for data."""
    peak: int | None = None
    """Bytes at most that torch has held on a GPU."""
    data_path: Text


class Answer(_Plain):
    """A line of the preview process."""

    preparing: Text | None = None
    """What is under way."""
    warning: Text | None = None
    error: Text | None = None
    """Why nothing more will come, in sentences."""
    exit_code: int = 0
    data: DataFacts | None = None
    samples: Samples | None = None
    model: ModelFacts | None = None
    memory: Memory | None = None
    speed: Speed | None = None

    @property
    def is_result(self) -> bool:
        """True when it holds data, samples, model, memory or speed."""
        return any(part is not None for part in (self.data, self.samples, self.model, self.memory, self.speed))

    def line(self) -> bytes:
        return self.model_dump_json(exclude_defaults=True).encode() + b"\n"
