"""What is shown of examples before a run: pictures as the model will see them, columns, counts, histograms."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tui_trainer.catalog import Shape
from tui_trainer.outlook.preview.facts import Column, Histogram, Order, Picture, Row, Sample, Samples
from tui_trainer.settings.schema import Settings
from tui_trainer.text import clean, number
from tui_trainer.training.data import batches
from tui_trainer.training.data.augment import make_own
from tui_trainer.training.data.batches import choose_path, make_batches
from tui_trainer.training.data.examples import Data, Examples
from tui_trainer.training.data.mixing import Mixing

LOOKED_AT = 10_000
"""Training examples that ranges are measured on at most."""
MADE = 256
"""Of those that are made one by one."""
BYTES = 256 << 20
"""And no more than this."""
MOST_COLUMNS = 500
BINS = 20


def is_pictured(shape: Shape) -> bool:
    """True for inputs that can be shown as pictures: [C, H, W], or [H, W]."""
    return len(shape) in (2, 3)


def spread(examples: Examples) -> Tensor:
    """The indices of some examples, evenly from all of them."""
    most = LOOKED_AT if examples.in_memory else MADE
    one = max(1, examples.nbytes // max(1, len(examples)))
    count = max(1, min(len(examples), most, BYTES // one))
    return torch.linspace(0, len(examples) - 1, count, dtype=torch.float64).long()


def counts(targets: Tensor, splits: Data) -> tuple[float, ...]:
    """Examples of each class or label; nothing where numbers are predicted."""
    if splits.kind == "class":
        return tuple(float(n) for n in torch.bincount(targets, minlength=len(splits.classes)).tolist())
    if splits.kind in ("labels", "share"):
        return tuple(float(n) for n in targets.double().sum(0).tolist())
    return ()


def changes(settings: Settings) -> str:
    """The random changes of the training examples, as a phrase."""
    if settings.overfit_batches:
        return ""
    parts = [] if settings.augment == "none" else [clean(settings.augment, 60)]
    parts += [f"{way} {alpha:g}" for way, alpha in (("mixup", settings.mixup), ("cutmix", settings.cutmix)) if alpha]
    return ", ".join(parts)


def normalised(splits: Data) -> str:
    """What inputs are normalised by, as a phrase."""
    if not splits.mean:
        return ""
    if len(splits.mean) > 4:
        return f"mean and deviation of each of {len(splits.mean)} columns"
    mean, std = (", ".join(number(n, 3) for n in values) for values in (splits.mean, splits.std))
    return f"less {mean}, over {std}"


# --- pictures ---


class Chosen(batches.Order):
    """An epoch's order of which only certain examples are wanted, changed as that epoch changes them."""

    def __init__(self, examples: int, indices: Tensor, seed: int, epoch: int) -> None:
        super().__init__(examples, max(1, len(indices)), seed=seed)
        self._chosen, self.epoch = indices, epoch

    @property
    def examples(self) -> int:
        return len(self._chosen)

    def __len__(self) -> int:
        return 1

    def indices(self) -> Tensor:
        return self._chosen


def page(splits: Data, settings: Settings, order: Order) -> Samples:
    """A page of training examples in the order of the first epoch: as they are, and as the model sees them."""
    train, seed = splits.train, settings.seed or 0
    shuffled = batches.Order(len(train), len(train), seed=seed).indices()
    if order.only is not None and order.only < len(splits.classes):
        shuffled = shuffled[has(train.targets[shuffled], order.only, splits.kind)]
    pages = -(-len(shuffled) // order.count)
    if not pages:
        return Samples(order=order, pages=0, samples=())
    order = order.model_copy(update={"page": order.page % pages})
    indices = shuffled[order.page * order.count :][: order.count]
    original, _ = train.raw(indices)
    low, high = (0.0, 255.0) if original.dtype == torch.uint8 else range_of(original)
    original = (original.float() - low) / (high - low)
    seen, y = as_seen(splits, settings, Chosen(len(train), indices, seed, order.epoch))
    if low or high not in (1.0, 255.0):
        seen = (seen - low) / (high - low)
    samples = []
    for i in range(len(indices)):
        first, second = (picture(X[i], order.width, order.height) for X in (original, seen))
        samples.append(
            Sample(label=label(y[i], splits), original=first, seen=None if second.pixels == first.pixels else second)
        )
    return Samples(order=order, pages=pages, samples=tuple(samples))


def as_seen(splits: Data, settings: Settings, order: Chosen) -> tuple[Tensor, Tensor]:
    """The examples of an order as the model will see them, but for the normalisation; and their targets."""
    update: dict[str, object] = {"workers": 0, "channels_last": False}
    if settings.overfit_batches:
        update |= {"augment": "none", "mixup": 0.0, "cutmix": 0.0}
    settings, device = settings.model_copy(update=update), torch.device("cpu")
    path = choose_path(settings, [splits.train], device)
    made = make_batches(path, splits, splits.train, order, device, settings, make_own(settings))
    try:
        X, y = next((X, y) for X, y in made if len(X))
    finally:
        made.close()
    if settings.mixup or settings.cutmix:
        X, mixed = Mixing(settings, splits, len(splits.classes), device)(X, y, order.epoch, 1)
        y = y if splits.kind == "number" else mixed
    if (undo := batches.normal(splits.mean, splits.std, splits.shape, device)) is not None:
        X = X * undo[1] + undo[0]
    return X, y


def range_of(values: Tensor) -> tuple[float, float]:
    """0 and 1 when all values are between them, else the least and the greatest."""
    finite = values[torch.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    if (low >= 0 and high <= 1) or low == high:
        return 0.0, 1.0
    return low, high


def has(targets: Tensor, chosen: int, kind: str) -> Tensor:
    """A mask [N] that is true for the examples of a class or label."""
    if kind == "class":
        return targets == chosen
    if kind == "labels":
        return targets[:, chosen] >= 0.5
    if kind == "share":
        return targets.argmax(1) == chosen
    return torch.ones(len(targets), dtype=torch.bool)


def picture(image: Tensor, width: int, height: int) -> Picture:
    """An image [C, H, W] or [H, W] from 0 to 1 as a picture that fits; a small one is enlarged by a whole number."""
    image = image if image.dim() == 3 else image[None]
    image = image[:3] if len(image) >= 3 else image.mean(0, keepdim=True)
    rows, columns = image.shape[1:]
    times = min(width / columns, height / rows)
    if times >= 2:
        image = image.repeat_interleave(int(times), 1).repeat_interleave(int(times), 2)
    elif times < 1:
        size = [max(1, int(rows * times)), max(1, int(columns * times))]
        image = F.interpolate(image[None], size=size, mode="area")[0]
    levels = image.nan_to_num(0.0, 1.0, 0.0).clamp(0, 1).mul(255).round().to(torch.uint8)
    return Picture(
        width=levels.shape[2], height=levels.shape[1], pixels=levels.permute(1, 2, 0).contiguous().numpy().tobytes()
    )


def label(y: Tensor, splits: Data) -> str:
    """A target in words; of shares those that count most."""
    names = splits.classes
    if not y.dim():
        return names[int(y)] if splits.kind == "class" and 0 <= int(y) < len(names) else number(float(y))
    if splits.kind == "labels":
        return ", ".join(name for name, on in zip(names, y.tolist(), strict=False) if on >= 0.5) or "none"
    if splits.kind == "number":
        return ", ".join(number(n) for n in y.tolist()[:4])
    shares = sorted(((share, i) for i, share in enumerate(y.tolist()) if share >= 0.01), reverse=True)[:2]
    return " ".join(f"{names[i] if i < len(names) else i} {100 * share:.0f} %" for share, i in shares)


# --- numbers ---


def columns(inputs: Tensor, splits: Data) -> tuple[Column, ...]:
    """The columns of rows [N, F]: least, mean and greatest value, or texts, and how many are missing.

    Missing numbers may have been filled in: then another column says where.
    """
    recipe = splits.recipe if len(splits.recipe) == inputs.shape[1] else ({},) * inputs.shape[1]
    filled = {made["column"]: i for i, made in enumerate(recipe) if "is_missing" in made}
    found = []
    for i, values in enumerate(inputs.double().unbind(1)[:MOST_COLUMNS]):
        name = splits.columns[i] if i < len(splits.columns) else f"column {i + 1}"
        texts = recipe[i].get("codes_from_1")
        there = values[torch.isfinite(values)]
        missing = len(values) - len(there)
        if name in filled and filled[name] != i:
            missing += int(inputs[:, filled[name]].sum())
        if texts is not None:
            shown = f"{len(texts):,} texts: {', '.join(clean(text, 30) for text in texts[:6])}"
            found.append(Column(name=name, low=None, mean=None, high=None, missing=missing, values=shown))
            continue
        low, mean, high = (
            (float(there.min()), float(there.mean()), float(there.max())) if len(there) else (None, None, None)
        )
        found.append(Column(name=name, low=low, mean=mean, high=high, missing=missing))
    return tuple(found)


def rows(inputs: Tensor, y: Tensor, splits: Data) -> tuple[Row, ...]:
    """Rows [N, F] in words, with their targets."""
    recipe = splits.recipe if len(splits.recipe) == inputs.shape[1] else ({},) * inputs.shape[1]
    texts = [made.get("codes_from_1") for made in recipe[:MOST_COLUMNS]]
    return tuple(
        Row(
            values=tuple(_word(value, known) for value, known in zip(values, texts, strict=False)),
            target=label(target, splits),
        )
        for values, target in zip(inputs.double().tolist(), y, strict=True)
    )


def _word(value: float, texts: Sequence[str] | None) -> str:
    """A value of a table as it was: a number, or the text that a code stands for."""
    if texts is None:
        return number(value, 3) if math.isfinite(value) else "-"
    return texts[int(value) - 1] if 1 <= value <= len(texts) else "other"


def histograms(targets: Tensor, names: tuple[str, ...]) -> tuple[Histogram, ...]:
    """How each of the numbers [N, K] is spread; the first few of many."""
    found = []
    for i, values in enumerate(targets.double().reshape(len(targets), -1).unbind(1)[:6]):
        there = values[torch.isfinite(values)]
        if not len(there):
            continue
        low, high = float(there.min()), float(there.max())
        bins = torch.histc(there, BINS, low, high if high > low else low + 1)
        found.append(
            Histogram(
                name=names[i] if i < len(names) else f"number {i + 1}",
                low=low,
                high=high,
                mean=float(there.mean()),
                bins=tuple(int(n) for n in bins.tolist()),
            )
        )
    return tuple(found)
