"""Noise with labels, made one by one by torchvision's FakeData: for trying things out."""

from collections.abc import Generator

import torch

from tui_trainer.catalog.fake import OPTIONS, figures_of
from tui_trainer.errors import DataError
from tui_trainer.run.events import Event
from tui_trainer.settings.schema import Settings
from tui_trainer.text import clean
from tui_trainer.training.data.examples import Items, Source
from tui_trainer.training.data.readers.files import Form
from tui_trainer.training.data.readers.patches import Shaped
from tui_trainer.training.data.readers.torchvision import typed


def read(settings: Settings, name: str) -> Generator[Event, None, Source]:
    """So many images of such a size as dataset_arg says; the same ones each time.

    Raises:
        DataError: dataset_arg is none of FakeData's.
    """
    from torchvision.datasets import FakeData  # 0.4 s

    yield from ()
    given = typed(settings, OPTIONS)
    try:
        count, classes, shape = figures_of(given)
    except ValueError as error:
        raise DataError(f"{name}: {clean(error, 300)}") from None
    form = Form.of(settings, shape)
    images = FakeData(count, shape, classes, transform=None)
    labels = torch.randint(classes, (count,), generator=torch.Generator().manual_seed(0))
    labels[: min(count, classes)] = torch.arange(min(count, classes))  # each class is there
    return Source(
        name=name,
        source="noise made by torchvision",
        classes=tuple(str(number) for number in range(classes)),
        kind="class",
        train=Items(First(images), labels, form.shape, Shaped(form)),
    )


class First:
    """The image of each pair of image and label."""

    def __init__(self, pairs: "torch.utils.data.Dataset[object]") -> None:
        self._pairs = pairs

    def __getitem__(self, number: int) -> object:
        return self._pairs[number][0]  # type: ignore[index]
