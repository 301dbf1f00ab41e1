"""Measure torchvision's classification models and write what the program knows of them to tui_trainer/catalog/zoo.json.

    uv run scripts/zoo_facts.py [NAME ...]

Nothing is computed: the models live on torch's device `meta`, where only shapes are checked. Takes a few minutes.
With names only these are measured anew.
"""

import re
import sys
from collections.abc import Callable
from functools import cache
from unittest import mock

import torch
import torchvision
from torch import nn
from torchvision import models

from tui_trainer.catalog.zoo import FACTS_FILE, ZOO, ZooFacts, read, write
from tui_trainer.training.models import count, zoo

LARGEST = 128
"""A side that every model without a step takes, pixels, in a batch of one example too."""
STEPS = {"maxvit_t": 224}
"""Sides are multiples of this: 32 for five halvings, times 7 for its partitions."""


@cache
def sketch(name: str, shape: tuple[int, int, int], outputs: int = 10) -> nn.Module:
    """The model on torch's device `meta`, whatever the facts of today say about its sizes."""
    facts = ZooFacts(
        name=name, title="", measured=0, per_channel=0, per_output=0, per_patch=0, features=0, least=1, least_alone=1,
        step=1, square=False, weights_bytes=0, weights_side=0, license="",
    )  # fmt: skip
    with mock.patch.dict(ZOO, {name: facts}):
        return zoo.sketch(name, shape, outputs)


def takes(name: str, height: int, width: int, batch: int = 2) -> bool:
    """True when a batch of such images goes through the model in training."""
    sized = name in STEPS or name.startswith("vit_")
    try:
        model = sketch(name, (3, height, width) if sized else (3, 64, 64))
        with torch.no_grad():
            model(torch.zeros(batch, 3, height, width, device="meta"))
    except Exception:
        return False
    return True


def first(holds: Callable[[int], bool], below: int) -> int:
    """The least number from 1 on for which it holds, by halving; it holds for `below` and between the two."""
    low, high = 0, below
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def title_of(words: str) -> str:
    """As papers write it, from torchvision's name for the weights: `MNASNet0_5` is MNASNet0.5."""
    title = re.sub(r"(?<!\d)(\d)_(\d)", r"\1.\2", words).replace("_", " ")
    title = re.sub(r"(\d)X(\d+)D", r"\1x\2d", title)
    return re.sub(r" X(\d)", r" x\1", title)


def measure(name: str) -> ZooFacts:
    """All facts of one model."""
    step = STEPS.get(name, 1)
    if name.startswith("vit_"):
        step = int(name.rpartition("_")[2])
    if step > 1:
        least = least_alone = step
        sizes = (step, 2 * step)
    else:
        least = first(lambda side: takes(name, side, side), LARGEST)
        alone = takes(name, least, least, batch=1)
        least_alone = least if alone else first(lambda side: takes(name, side, side, batch=1), LARGEST)
        sizes = (least, least_alone, least + 1, least + 2, 224)
    for side in sizes:
        if not takes(name, side, side):
            raise SystemExit(f"{name} takes {least} but not {side}")
    if not takes(name, least_alone, least_alone, batch=1):
        raise SystemExit(f"{name} does not take one image with sides of {least_alone}")
    square = not all(takes(name, *size) for size in ((least, least + step), (least + step, least)))

    def parameters(channels: int, outputs: int, side: int = least) -> int:
        return count(sketch(name, (channels, side, side), outputs))

    model = sketch(name, (3, least, least))
    head = zoo.head_of(model)[1]
    weights = models.get_model_weights(name).DEFAULT
    measured = count(model)
    return ZooFacts(
        name=name,
        title=title_of(type(weights).__name__.removesuffix("_Weights")),
        measured=measured,
        per_channel=parameters(4, 10) - measured,
        per_output=parameters(3, 11) - measured,
        per_patch=(parameters(3, 10, least + step) - measured) // 3,
        features=head.in_features if isinstance(head, nn.Linear) else head.in_channels,
        least=least,
        least_alone=least_alone,
        step=step,
        square=square,
        weights_bytes=round(weights.meta["_file_size"] * 2**20),
        weights_side=weights.transforms().crop_size[0],
        license="not for commercial use (CC BY-NC 4.0)" if "SWAG" in weights.meta.get("license", "") else "",
    )


def main() -> None:
    names = sys.argv[1:] or models.list_models(module=models)
    facts = read() if sys.argv[1:] and FACTS_FILE.exists() else {}
    for name in names:
        facts[name] = measure(name)
        sketch.cache_clear()
        print(facts[name], flush=True)
    write([facts[name] for name in sorted(facts)], torchvision.__version__.partition("+")[0])


if __name__ == "__main__":
    main()
