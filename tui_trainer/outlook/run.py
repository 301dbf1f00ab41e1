"""What a run will be, from its settings and this machine, before anything is made. No torch."""

import dataclasses
import os
import platform
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from tui_trainer.catalog import MODELS, Shape, padded
from tui_trainer.catalog.zoo import ZOO, ZooFacts
from tui_trainer.errors import SettingsError
from tui_trainer.outlook.data import describe
from tui_trainer.own.arguments import arguments
from tui_trainer.settings.places import short
from tui_trainer.settings.schema import Settings
from tui_trainer.text import clean, size


@dataclass(frozen=True, slots=True)
class Outlook:
    """The figures of a run to come."""

    train_examples: int | None
    """None when they are known only once the data is read."""
    valid_examples: int
    test_examples: int
    """0 when validation uses the test split, or there is none."""
    measured_on_test: bool
    """Validation uses the test split."""
    steps_per_epoch: int
    """Batches in an epoch; 0 when they are known only once the data is read."""
    steps: int
    parameters: int | None
    """None when they are known only once the model is built."""
    outline: str
    """The model and its widths."""
    data: str
    """Where the data will come from."""
    device: str
    """What `device` will most likely be."""
    auto: bool = False
    """The batch size is what fits."""

    def lines(self) -> list[str]:
        """The same for people."""
        return [
            self._examples,
            self.data,
            self._steps,
            f"{self.outline}   {self._parameters}",
            f"device  {self.device}",
        ]

    @property
    def _examples(self) -> str:
        if self.train_examples is None:
            return "how many examples there are is known once they are read"
        tested = f" · {self.test_examples:,} test" if self.test_examples else ""
        valid = "validation (the test split)" if self.measured_on_test else "validation"
        return f"{self.train_examples:,} train · {self.valid_examples:,} {valid}{tested}"

    @property
    def _steps(self) -> str:
        if not self.steps_per_epoch:
            return "steps are known once the batch size is" if self.auto else "steps are known once the data is read"
        return f"{self.steps_per_epoch:,} steps an epoch · {self.steps:,} in all"

    @property
    def _parameters(self) -> str:
        if self.parameters is None:
            return "its parameters are known once it is built"
        return f"{self.parameters:,} parameters   {size(4 * self.parameters)}"

    def short(self) -> list[str]:
        """The same in three lines, for a small screen."""
        counts, data, steps, _, device = self.lines()
        parameters = f" · {self.parameters:,} parameters" if self.parameters is not None else ""
        return [counts, f"{steps}{parameters}", f"{device.removeprefix('device  ')} · {data}"]


def describe_run(settings: Settings) -> Outlook:
    """What a run with these settings will be."""
    s, data = settings, describe(settings)
    train, valid, test = data.train, data.valid, data.test
    measured_on_test = False
    if train is not None and s.overfit_batches:
        train = valid = min(train, s.overfit_batches * s.batch_size)
    elif train is not None and not valid and (s.valid_fraction > 0 or not test):
        valid = round(train * (s.valid_fraction or 0.1))
        train -= valid
    elif not valid:
        valid, test, measured_on_test = test, 0, True
    batches = ceil((train or 0) / s.batch_size) if s.batch_size else 0
    if s.limit_train_batches:
        batches = min(batches, s.limit_train_batches)
    epochs = s.epochs
    if s.dry_run:
        epochs, batches = 1, min(1, batches)
    steps = batches * epochs
    shape = data.shape
    if shape is not None and len(shape) == 3:
        shape = padded(shape, s.pad)
    outline, parameters = describe_model(s, shape, data.outputs)
    return Outlook(
        train_examples=train,
        valid_examples=valid,
        test_examples=test,
        measured_on_test=measured_on_test,
        steps_per_epoch=batches,
        steps=min(steps, s.max_steps) if s.max_steps else steps,
        parameters=parameters,
        outline=outline,
        data=data.text,
        device=describe_device(s.device),
        auto=not s.batch_size,
    )


def describe_model(settings: Settings, shape: Shape | None, outputs: int | None) -> tuple[str, int | None]:
    """The model in a few words, and its trainable numbers; None when they are known only once it is built.

    `shape` and `outputs` are None when the data does not tell them before it is read.
    """
    name = settings.model
    facts = MODELS.get(name) or ZOO.get(name)
    if facts is None:
        return clean(short(name), 60), None
    if shape is None or outputs is None:
        return name, None
    if isinstance(facts, ZooFacts):
        if len(shape) != 3 or facts.refuses(shape):
            return name, None
        return f"{name}  {facts.outline(shape, outputs)}", None if settings.model_arg else facts.parameters(
            shape, outputs
        )
    try:
        typed = arguments(settings.model_arg)
        widths = {n: v if isinstance(v, tuple) else (v,) for n, v in typed.items() if n in ("hidden", "channels")}
        facts = dataclasses.replace(facts, **widths)  # type: ignore[arg-type]
        return f"{name}  {facts.outline(shape, outputs)}", facts.parameters(shape, outputs)
    except (SettingsError, TypeError, ValueError):  # what is wrong with them is told when it is built
        return name, None


def describe_device(name: str) -> str:
    """What a device setting means on this machine, asked of the driver, since torch would take seconds."""
    gpus = _nvidia_gpus()
    cpu = f"cpu, {os.cpu_count()} cores"
    if name == "cpu":
        return cpu
    if name.startswith("cuda"):
        index = int(name.partition(":")[2] or 0)
        return f"cuda:{index} {gpus[index]}" if index < len(gpus) else f"{name} was not found here (no NVIDIA driver)"
    if name != "auto":
        return name
    if gpus:
        return f"auto: cuda:0 {gpus[0]}"
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return "auto: mps"
    return f"auto: {cpu}"


@lru_cache(maxsize=1)
def _nvidia_gpus() -> tuple[str, ...]:
    """Name and free memory of each NVIDIA GPU, nothing where there is no driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    found = []
    try:
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            name = pynvml.nvmlDeviceGetName(handle)
            free = pynvml.nvmlDeviceGetMemoryInfo(handle).free / 2**30
            found.append(f"{clean(name, 40)}, {free:.0f} GiB free")
    except pynvml.NVMLError:
        return tuple(found)
    finally:
        pynvml.nvmlShutdown()
    return tuple(found)
