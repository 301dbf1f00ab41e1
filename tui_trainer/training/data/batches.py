"""An epoch's batches on the device, in an order and with random changes that depend on nothing but seed and epoch."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from tui_trainer.catalog import Shape
from tui_trainer.errors import DataError
from tui_trainer.settings.schema import Settings
from tui_trainer.text import clean, size
from tui_trainer.training.data import augment
from tui_trainer.training.data.augment import Augment, Recipes, generator_of, seed_of_batch, seeded
from tui_trainer.training.data.examples import Batch, Data, Examples, Tensors, rows_of
from tui_trainer.training.data.with_code import WithCode
from tui_trainer.training.models.own import Change

LOOK = 5.0
"""Seconds after which a wait for data is told of, and commands are looked at."""

CHUNK = 4 << 20
"""Bytes of float32 images that are cut out of the resident data at once; more falls out of the caches."""


class Order(Sampler[Tensor]):
    """Which examples make up each batch: drawn by (seed, epoch) alone, so an order needs no state to be repeated."""

    def __init__(
        self, examples: int, batch_size: int, *, seed: int | None, limit: int = 0, classes: Tensor | None = None
    ) -> None:
        """`seed` None keeps the order of the data, else it is shuffled; `limit` takes only so many batches, 0 all.

        With `classes` [N], that of each example, examples are drawn one by one, and every class is equally likely:
        of a rare one they come several times in an epoch, and of a common one not all.
        """
        self._all, self.batch_size, self.seed = examples, batch_size, seed
        self._classes = None if classes is None else Classes(classes)
        self._batches = -(-examples // batch_size)
        if limit:
            self._batches = min(self._batches, limit)
        self.epoch = 1
        self.first = 0
        """Batches of the epoch that are left out at its beginning: they were done before the run was carried on."""

    @property
    def examples(self) -> int:
        """Examples given out in an epoch."""
        return min(self._all, self._batches * self.batch_size)

    def __len__(self) -> int:
        return self._batches

    def indices(self) -> Tensor:
        """The epoch's examples in their order, [examples] less those of the batches left out."""
        first = self.first * self.batch_size
        if self.seed is None:
            return torch.arange(first, self.examples)
        generator = generator_of(self.seed, self.epoch)
        if self._classes is not None:
            return self._classes.draw(self._all, generator)[first : self.examples]
        return torch.randperm(self._all, generator=generator)[first : self.examples]

    def __iter__(self) -> Iterator[Tensor]:
        return iter(torch.split(self.indices(), self.batch_size))


class Classes:
    """The examples of each class, to draw from."""

    def __init__(self, classes: Tensor) -> None:
        """`classes` [N] int64, that of each example."""
        self._members = torch.argsort(classes, stable=True)
        counts = torch.bincount(classes)
        self._first, self._counts = (counts.cumsum(0) - counts)[counts > 0], counts[counts > 0]

    def draw(self, examples: int, generator: torch.Generator) -> Tensor:
        """So many examples [examples], each of a class that is as likely as every other."""
        chosen = torch.randint(len(self._counts), (examples,), generator=generator)
        place = torch.rand(examples, dtype=torch.float64, generator=generator) * self._counts[chosen]
        return self._members[self._first[chosen] + place.long()]


def normal(
    mean: tuple[float, ...], std: tuple[float, ...], shape: Shape, device: torch.device
) -> tuple[Tensor, Tensor] | None:
    """Mean and deviation of each channel or column as tensors that fit a batch of `shape`; None when there are none."""
    if not mean:
        return None
    channels = (-1, *(1,) * (len(shape) - 1))
    return torch.tensor(mean, device=device).view(channels), torch.tensor(std, device=device).view(channels)


@dataclass(frozen=True, slots=True)
class DataPath:
    """How the data of a run reaches the device, and why."""

    resident: bool
    why: str
    """A phrase for people: `held on cuda:0, 55 MB`, `through a DataLoader, 2 workers (fork), as asked for`."""


def choose_path(settings: Settings, splits: list[Examples], device: torch.device) -> DataPath:
    """Resident when it is asked for, or when the data fits into half of the device's free memory."""
    s, wanted, free = settings, sum(examples.nbytes for examples in splits), free_memory(device)
    made = not all(examples.in_memory for examples in splits)
    if made and s.data_path == "resident":
        raise DataError(f"{clean(s.dataset, 60)} makes its examples one by one: data_path must be auto or loader.")
    if not made and (s.data_path == "resident" or (s.data_path == "auto" and wanted <= free / 2)):
        idle = f"; {s.workers} workers are not needed" if s.workers else ""
        return DataPath(True, f"held on {device}, {size(wanted)}{idle}")
    context = s.mp_context if s.mp_context != "auto" else multiprocessing.get_start_method()
    workers = f", {s.workers} worker{'s' if s.workers > 1 else ''} ({context})" if s.workers else ""
    why = "as asked for" if s.data_path == "loader" else f"{size(wanted)} is over half of the {size(free)} free"
    why = "each example is made when it is wanted" if made else why
    return DataPath(False, f"through a DataLoader{workers}, {why}")


def free_memory(device: torch.device) -> int:
    """Bytes that are free where `device` keeps its tensors."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return int(psutil.virtual_memory().available)


class Batches:
    """Batches of one split. Iterating it is one epoch: (X, y) on the device, in the order of `order.epoch`.

    A batch of no examples says that the next one is still waited for.
    """

    def __init__(
        self,
        examples: Examples,
        order: Order,
        device: torch.device,
        *,
        augment: Augment | None = None,
        own_augment: Change | None = None,
        channels_last: bool = False,
        mean: tuple[float, ...] = (),
        std: tuple[float, ...] = (),
    ) -> None:
        """`augment` changes what is kept; `own_augment`, the user's, batches of floats before they are normalised.

        `mean` and `std` are those of each channel or column that inputs are normalised by; empty for not at all.
        """
        self._examples, self.order, self._device = examples, order, device
        self._augment, self._own = augment, own_augment
        self._format = torch.channels_last if channels_last else torch.preserve_format
        self._normal = normal(mean, std, examples.shape, device)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Batch]:
        raise NotImplementedError

    def close(self) -> None:
        """End what fetches the batches."""

    def as_inputs(self, inputs: Tensor) -> Tensor:
        """What is kept, on the device, as the model's inputs: bytes from 0 to 1, and normalised."""
        return self._normalised(self._floats(inputs))

    def _floats(self, inputs: Tensor) -> Tensor:
        form = self._format if inputs.dim() == 4 else torch.preserve_format
        X = inputs.to(torch.float32, memory_format=form)
        return X.div_(255) if inputs.dtype == torch.uint8 else X

    def _normalised(self, X: Tensor) -> Tensor:
        return X if self._normal is None else (X - self._normal[0]) / self._normal[1]

    def _given_out(self, inputs: Tensor, y: Tensor, batch: int) -> Batch:
        """Batch number `batch` of the epoch from what is kept of it, changed by the user's code when there is any.

        All that draws random numbers there begins anew for each batch, so that a run can be carried on anywhere.
        """
        X = self._floats(inputs)
        if self._own is not None:
            with seeded(seed_of_batch(self.order.seed or 0, self.order.epoch, batch), self._device):
                X, y = self._own(X, y)
        return self._normalised(X), y


class Resident(Batches):
    """The data lies on the device as bytes; many small batches are cut out of it at once."""

    def __init__(self, examples: Tensors, order: Order, device: torch.device, **options: Any) -> None:
        super().__init__(examples, order, device, **options)
        self._held = examples.to(device)

    def __iter__(self) -> Iterator[Batch]:
        images, labels, batch = self._held.inputs, self._held.targets, self.order.batch_size
        chunk = 4 * CHUNK if isinstance(self._augment, Recipes) else CHUNK  # a recipe costs little more for more images
        together = batch * max(1, chunk // (batch * 4 * images[0].numel()))
        number = self.order.first
        for rows in self._rows(together):
            inputs, y = rows_of(images, rows), rows_of(labels, rows)
            if self._augment is not None and isinstance(rows, Tensor):
                inputs = self._augment(inputs, rows, self.order.epoch)
            if self._own is None:
                inputs = self.as_inputs(inputs)
            for X, targets in zip(inputs.split(batch), y.split(batch), strict=True):  # type: ignore[no-untyped-call]
                number += 1
                yield (X, targets) if self._own is None else self._given_out(X, targets, number)

    def _rows(self, together: int) -> Iterator[Tensor | slice]:
        """So many examples after the other in the epoch's order; those in the order of the data need not be copied."""
        if self.order.seed is not None:
            yield from self.order.indices().to(self._device).split(together)  # type: ignore[no-untyped-call]
            return
        for first in range(self.order.first * self.order.batch_size, self.order.examples, together):
            yield slice(first, min(first + together, self.order.examples))


Wanted = tuple[int, list[int]]
"""An epoch, and the numbers of a batch's examples."""


class Numbers(Sampler[Wanted]):
    """An order as plain numbers: a tensor on its way to a worker would cost a piece of shared memory each time."""

    def __init__(self, order: Order) -> None:
        self._order = order

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Wanted]:
        return ((self._order.epoch, indices.tolist()) for indices in self._order)


class Fetched(Dataset[tuple[Tensor, Tensor]]):
    """What a worker process fetches: a whole batch as bytes, with its labels.

    Recipes are carried out there: several processes do it at once, and a GPU would wait for its many small calls.
    """

    def __init__(self, examples: Examples, recipes: Recipes | None = None) -> None:
        self._examples, self._recipes = examples, recipes

    def __getitem__(self, wanted: Wanted) -> tuple[Tensor, Tensor]:
        epoch, numbers = wanted
        indices = torch.tensor(numbers)
        inputs, y = self._examples.raw(indices)
        return (inputs if self._recipes is None else self._recipes(inputs, indices, epoch)), y


class Loader(Batches):
    """The data lies elsewhere; each batch comes through a DataLoader, fetched ahead by worker processes if there are.

    The sampler names whole batches, so nothing is collated example by example. The workers live as long as the run.
    """

    def __init__(
        self,
        examples: Examples,
        order: Order,
        device: torch.device,
        *,
        workers: int,
        mp_context: str,
        patience: float = 300.0,
        **options: Any,
    ) -> None:
        """`patience` is how many seconds a batch may take, when workers fetch it."""
        super().__init__(examples, order, device, **options)
        self._patience = patience
        self._last_label = int(examples.targets.max()) if examples.targets.dtype == torch.int64 else None
        look = min(LOOK, patience)
        self._look = look
        context = None if mp_context == "auto" or not workers else mp_context
        recipes = self._augment if isinstance(self._augment, Recipes) else None
        if recipes is not None:
            self._augment = None
        self._loader: DataLoader[tuple[Tensor, Tensor]] | None = DataLoader(
            WithCode(Fetched(examples, recipes)),
            sampler=Numbers(order),
            batch_size=None,
            num_workers=workers,
            pin_memory=device.type == "cuda",
            persistent_workers=workers > 0,
            multiprocessing_context=context,
            timeout=look if workers else 0,
            worker_init_fn=leave_signals_to_the_run,
            generator=torch.Generator(),
        )

    def __iter__(self) -> Iterator[Batch]:
        assert self._loader is not None
        order = self.order.indices().to(self._device).split(self.order.batch_size)  # type: ignore[no-untyped-call]
        fetched, waited = iter(self._loader), 0.0
        for number, indices in enumerate(order, self.order.first + 1):
            while True:
                try:
                    images, y = next(fetched)
                except (Exception, SystemExit) as error:  # a data set that calls sys.exit has failed too
                    if "DataLoader timed out" not in str(error):
                        raise self._fault(error, number) from error
                    waited += self._look
                    if waited >= self._patience:
                        raise DataError(
                            f"Batch {number:,} did not come within {waited:.0f} s: a data worker hangs. What was saved "
                            "before is kept.\nTry --workers 0, or a longer --data-timeout."
                        ) from None
                    yield self._examples.none()
                else:
                    break
            waited = 0.0
            self._check(images, y, len(indices), number)
            inputs = images.to(self._device, non_blocking=True)
            if self._augment is not None:
                inputs = self._augment(inputs, indices, self.order.epoch)
            yield self._given_out(inputs, y.to(self._device, non_blocking=True), number)

    def _check(self, images: object, y: object, examples: int, number: int) -> None:
        """On a GPU a label out of range would end the process without a word.

        Raises:
            DataError: a batch is not like the data it should be of.
        """
        wanted = (examples, *self._examples.shape)
        targets = self._examples.targets
        what = f"{examples} whole numbers" if targets.dim() == 1 else f"{(examples, *targets.shape[1:])} numbers"
        reason = ""
        if not (isinstance(images, Tensor) and isinstance(y, Tensor)):
            reason = f"it is {type(images).__name__} and {type(y).__name__}, not two tensors"
        elif images.shape != wanted:
            reason = f"its images are {tuple(images.shape)}, not {wanted}"
        elif y.shape != (examples, *targets.shape[1:]) or y.dtype != targets.dtype:
            reason = f"its labels are {tuple(y.shape)} of {y.dtype}, not {what}"
        elif self._last_label is not None and not 0 <= int(y.min()) <= int(y.max()) <= self._last_label:
            reason = f"its labels go from {int(y.min())} to {int(y.max())}, not from 0 to {self._last_label}"
        if reason:
            raise DataError(f"Batch {number:,} does not fit: {reason}. What was saved before is kept.")

    def _fault(self, error: BaseException, number: int) -> DataError:
        """What kept a batch from coming, for people."""
        kept = "What was saved before is kept."
        if isinstance(error, StopIteration):
            return DataError(f"The data ended after {number - 1:,} of {len(self.order):,} batches. {kept}")
        if "DataLoader worker" in str(error) and "exited unexpectedly" in str(error):
            return DataError(
                f"A data worker ended unexpectedly{_shared_memory()}. It was often killed for want of memory. "
                f"{kept}\nTry fewer --workers, or --data-path resident."
            )
        lines = [line for line in str(error).split("\n") if line.strip()]
        if isinstance(error, DataError):  # a sentence already; a worker's comes with its traceback before it
            sentence = lines[-1].removeprefix(f"{DataError.__module__}.{DataError.__qualname__}: ")
            return DataError(f"Batch {number:,} could not be fetched. {sentence} {kept}")
        text = clean(lines[-1] if lines else "", 200)  # of a worker's error the traceback comes first
        return DataError(f"Batch {number:,} could not be fetched: {type(error).__name__}: {text}. {kept}")

    def close(self) -> None:
        self._loader = None  # its workers end with it


def leave_signals_to_the_run(_worker: int) -> None:
    """A worker must not answer Ctrl-C or a closed terminal: the run saves first, and then ends its workers."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGTSTP, signal.SIGCONT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)


def _shared_memory() -> str:
    """What is left of the memory in which workers hand batches over, as a phrase; nothing where there is none."""
    try:
        left = os.statvfs("/dev/shm")
    except OSError:
        return ""
    return f" (/dev/shm has {size(left.f_bavail * left.f_frsize)} free)"


def make_batches(
    path: DataPath,
    data: Data,
    examples: Examples,
    order: Order,
    device: torch.device,
    settings: Settings,
    own_augment: Change | None = None,
) -> Batches:
    """The batches of a split of `data` by the path that was chosen; only those in a shuffled order are augmented."""
    s = settings
    learned = order.seed is not None
    options: dict[str, Any] = {
        "augment": augment.make(s, examples, device) if learned else None,
        "own_augment": own_augment if learned else None,
        "channels_last": s.channels_last,
        "mean": data.mean,
        "std": data.std,
    }
    if path.resident:
        assert isinstance(examples, Tensors)
        return Resident(examples, order, device, **options)
    return Loader(
        examples, order, device, workers=s.workers, mp_context=s.mp_context, patience=s.data_timeout, **options
    )
