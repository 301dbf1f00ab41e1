"""torchvision's classification models as plain facts: how big they are, and which images they take, without torch.

The numbers in zoo.json are measured from the models themselves by scripts/zoo_facts.py.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FACTS_FILE = Path(__file__).parent / "zoo.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ZooFacts:
    """A model of torchvision's, made for any number of channels and outputs."""

    name: str
    title: str
    measured: int
    """Trainable numbers with 3 channels and 10 outputs, for images of the least side."""
    per_channel: int
    """Weights of the first convolution for one channel of the images."""
    per_output: int
    """Weights of the last layer for one output, its bias included."""
    per_patch: int
    """Numbers for the place of one patch of the image; 0 when the image's size changes nothing."""
    features: int
    """Width of what goes into the last layer."""
    least: int
    """The least side of an image that it takes, pixels."""
    least_alone: int
    """The least side that a batch of one example needs in training, pixels: below it, batch normalisation has one
    value of a channel and no spread to divide by."""
    step: int
    """Sides are multiples of this many pixels."""
    square: bool
    """True when height and width must be equal."""
    weights_bytes: int
    """Size of the file with ImageNet weights that torchvision offers; 0 when there is none."""
    weights_side: int
    """Side of the images that those weights were trained on, pixels."""
    license: str
    """What the weights may not be used for, in a few words; empty for the usual terms."""

    def parameters(self, shape: tuple[int, int, int], outputs: int) -> int:
        """Trainable numbers for images of `shape` [C, H, W]."""
        channels, height, width = shape
        patches = (height // self.step) * (width // self.step) - (self.least // self.step) ** 2
        return (
            self.measured
            + (channels - 3) * self.per_channel
            + (outputs - 10) * self.per_output
            + patches * self.per_patch
        )

    def outline(self, shape: tuple[int, int, int], outputs: int) -> str:
        """What goes into its last layer and comes out: `512 features, 10`."""
        return f"{self.features:,} features, {outputs}"

    def side(self, least: int) -> int:
        """The first side of square images, from `least` pixels on, that it takes."""
        return max(self.least, -(-least // self.step) * self.step)

    def sides(self) -> str:
        """The sides it takes, in words."""
        return f"multiples of {self.step}" if self.step > 1 else f"from {self.least}"

    def wants(self, shape: tuple[int, int, int]) -> str:
        """What images it takes, when those of `shape` [C, H, W] are none of them; else nothing."""
        height, width = shape[1:]
        kind = "square images" if self.square else "images"
        if height % self.step or width % self.step or (self.step > 1 and self.square and height != width):
            return f"{kind} with sides of multiples of {self.step} pixels"
        if self.square and height != width:
            return kind
        return f"{kind} from {self.least} x {self.least} pixels" if min(height, width) < self.least else ""

    def refuses(self, shape: tuple[int, int, int], batch: int = 2) -> str:
        """Why images of `shape` [C, H, W] in a smallest training batch of `batch` do not fit, or nothing."""
        least = min(shape[1:])
        if wanted := self.wants(shape):
            found, side = f"{shape[1]} x {shape[2]}", self.side(max(shape[1:]))
            return f"{self.name} takes {wanted}, and these are {found}. Resize them with --image-size {side}"
        if batch == 1 and least < self.least_alone:
            return (
                f"{self.name} takes statistics of each batch, and one example of {shape[1]} x {shape[2]} pixels alone "
                "has too few values for it. Choose a --batch-size that leaves no single example over, "
                f"or --image-size {self.least_alone}"
            )
        return ""


def read(file: Path = FACTS_FILE) -> dict[str, ZooFacts]:
    """The facts by the model's name, in torchvision's order."""
    models: dict[str, Any] = json.loads(file.read_text("utf-8"))["models"]
    return {name: ZooFacts(name=name, **facts) for name, facts in models.items()}


def write(models: list[ZooFacts], torchvision: str, file: Path = FACTS_FILE) -> None:
    """A line a model, so that a change shows as the models it changes."""
    lines = []
    for facts in models:
        values = asdict(facts)
        lines.append(f"{json.dumps(values.pop('name'))}: {json.dumps(values)}")
    body = ",\n".join(lines)
    file.write_text(f'{{"torchvision": {json.dumps(torchvision)}, "models": {{\n{body}\n}}}}\n', "utf-8")


ZOO: dict[str, ZooFacts] = read()
