"""What a run waits for before it begins: the end of another run, or free memory on a GPU."""

import os
import time
from collections.abc import Iterator
from typing import Any

from tui_trainer.errors import DeviceError, SettingsError, UsageError
from tui_trainer.run.commands import Inbox
from tui_trainer.run.events import Event, Preparing, Warned
from tui_trainer.run.folder import RunFolder, find
from tui_trainer.run.journal import follow
from tui_trainer.run.state import RunState
from tui_trainer.settings.fields import bytes_of
from tui_trainer.settings.schema import Settings
from tui_trainer.text import clean

NOTHING = "Nothing was trained."


def problems(settings: Settings) -> list[tuple[tuple[str, ...], str]]:
    """What the settings wait for and is not there, as `settings.contradictions` has it."""
    try:
        run_ahead(settings)
    except SettingsError as error:
        return [(("after",), error.problems[0])]
    return []


def run_ahead(settings: Settings) -> RunFolder | None:
    """The run to wait for, if any.

    Raises:
        SettingsError: it is not there.
    """
    if settings.after is None:
        return None
    try:
        return find(settings.after, settings.output_dir)
    except UsageError as error:
        text = str(error)
        raise SettingsError([f"after: {text[0].lower()}{text[1:]}"]) from None


class Waiting:
    """Waits until a run may begin. The run to wait for is found when this is made: `last` is the newest run then."""

    POLL = 0.5
    """Seconds between two checks."""
    SELDOM = 10.0
    """Seconds between two reports of free memory, which differs at every check."""

    def __init__(self, settings: Settings) -> None:
        """
        Raises:
            SettingsError: the run to wait for is not there.
        """
        self._ahead = run_ahead(settings)
        self.settings = settings
        """With the run to wait for by its path: what `last` means changes."""
        if self._ahead is not None:
            self.settings = settings.model_copy(update={"after": str(self._ahead.path.absolute())})
        self._wanted = bytes_of(settings.when_free)
        self.device = settings.device
        """What the run computes on: in the end the GPU that has the memory, where any would do."""

    @property
    def waits(self) -> bool:
        return self._ahead is not None or self._wanted > 0

    def wait(self, inbox: Inbox) -> Iterator[Event | None]:
        """An event whenever what is waited for has changed, and None at every other check, until the run may begin.

        An order to stop ends it too; the others stay in the inbox.

        Raises:
            DeviceError: there is no such GPU, or it never has that much memory.
        """
        gpus = Gpus(self.device, self._wanted) if self._wanted else None  # not only when the other run is over
        if self._ahead is not None:
            yield from self._wait_for_run(self._ahead, inbox)
        if gpus is not None:
            yield from self._wait_for_memory(gpus, inbox)

    def _wait_for_run(self, ahead: RunFolder, inbox: Inbox) -> Iterator[Event | None]:
        name, state, told = clean(ahead.path.name, 80), RunState(), ""
        try:
            file = ahead.journal.open("rb")
        except OSError:
            yield Warned(text=f"{name} is gone; this run begins all the same")
            return
        with file:
            while inbox.stop is None:
                held = ahead.is_held()  # asked before reading: what is written until it lets go is then seen
                for event in follow(file):
                    state.apply(event)
                if not held:
                    break
                text = f"waiting for {name} to end: {place(state)}"
                yield Preparing(what=text) if text != told else None
                told = text
                time.sleep(self.POLL)
        if inbox.stop is None and (end := bad_end(state)):
            yield Warned(text=f"{name} {end}; this run begins all the same")

    def _wait_for_memory(self, gpus: "Gpus", inbox: Inbox) -> Iterator[Event | None]:
        told, at = "", 0.0
        while inbox.stop is None:
            free = gpus.free()
            number, most = max(free.items(), key=lambda item: item[1])
            if most >= self._wanted:
                self.device = f"cuda:{number}" if self.device == "auto" else self.device
                return
            where = f"GPU {number}" if len(free) == 1 else f"any of {len(free)} GPUs"
            text = f"waiting for {gib(self._wanted)} free on {where}: {gib(most)} are"
            now = time.monotonic()
            if text != told and (not told or now - at >= self.SELDOM):
                told, at = text, now
                yield Preparing(what=text)
            else:
                yield None
            time.sleep(self.POLL)


def place(state: RunState) -> str:
    """How far another run is, in words that do not change too often."""
    if state.epoch:
        at = f"epoch {state.epoch} of {state.total_epochs}"
        return f"{at}, {state.status}" if state.status in ("paused", "parked", "stopping") else at
    return "it waits itself" if state.phase == "waiting" else "it is being prepared"


def bad_end(state: RunState) -> str:
    """How a run that is over went wrong, as the end of a sentence; empty when it did not."""
    if state.ended is None:
        return "was lost"
    return {"failed": "failed", "diverged": "diverged"}.get(state.ended.reason, "")


def gib(count: float) -> str:
    """Bytes as the tools for GPUs write them: `3.2 GiB`."""
    return f"{count / 2**30:.1f} GiB"


class Gpus:
    """The NVIDIA GPUs that a device setting means, by their numbers as torch counts them in this process."""

    def __init__(self, device: str, wanted: int) -> None:
        """
        Raises:
            DeviceError: there is none, or none that ever has `wanted` bytes.
        """
        kind, _, number = device.partition(":")
        if kind not in ("auto", "cuda"):
            raise DeviceError(
                f"when_free waits for an NVIDIA GPU, and the device is {device}. {NOTHING} "
                "Leave --when-free out, or choose --device cuda."
            )
        # torch counts the fastest GPU first otherwise, and the driver goes by their slots.
        os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        try:
            import pynvml

            self._nvml: Any = pynvml
            self._nvml.nvmlInit()
            seen = dict(enumerate(self._visible()))
        except Exception as error:  # a driver that is missing, broken, or of another version than its library
            raise DeviceError(
                f"when_free cannot look at a GPU: {clean(error) or type(error).__name__}. {NOTHING} "
                "Leave --when-free out where there is no NVIDIA GPU."
            ) from error
        chosen = int(number or 0)
        self._handles = seen if kind == "auto" else {n: handle for n, handle in seen.items() if n == chosen}
        if not self._handles:
            hidden = " (CUDA_VISIBLE_DEVICES is set)" if "CUDA_VISIBLE_DEVICES" in os.environ else ""
            raise DeviceError(f"There is no GPU {chosen} to wait for: {len(seen)} are seen here{hidden}. {NOTHING}")
        most = max(self._memory(handle).total for handle in self._handles.values())
        if most < wanted:
            raise DeviceError(
                f"{gib(wanted)} will never be free: the GPU has {gib(most)} in all. {NOTHING} Wait for less."
            )

    def _visible(self) -> Iterator[Any]:
        """The GPUs that CUDA_VISIBLE_DEVICES leaves, in its order; a word that names none ends it, as in CUDA."""
        everything = [self._nvml.nvmlDeviceGetHandleByIndex(n) for n in range(self._nvml.nvmlDeviceGetCount())]
        words = os.environ.get("CUDA_VISIBLE_DEVICES")
        if words is None:
            yield from everything
            return
        for word in (word.strip() for word in words.split(",")):
            if word.isdecimal() and int(word) < len(everything):
                yield everything[int(word)]
            elif word.startswith("MIG-"):
                yield self._nvml.nvmlDeviceGetHandleByUUID(word)
            elif word.startswith("GPU-"):
                same = [each for each in everything if self._nvml.nvmlDeviceGetUUID(each).startswith(word)]
                if len(same) != 1:
                    return
                yield same[0]
            else:
                return

    def _memory(self, handle: Any) -> Any:
        try:
            return self._nvml.nvmlDeviceGetMemoryInfo(handle)
        except self._nvml.NVMLError as error:
            raise DeviceError(f"The GPU does not say how much memory is free: {clean(error)}. {NOTHING}") from error

    def free(self) -> dict[int, int]:
        """Bytes that are free on each."""
        return {number: int(self._memory(handle).free) for number, handle in self._handles.items()}
