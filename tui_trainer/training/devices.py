"""Which device a run computes on."""

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import torch

from tui_trainer.errors import DeviceError
from tui_trainer.settings.schema import Settings
from tui_trainer.text import size


def available() -> list[str]:
    """The devices of this machine, the preferred one first: cuda, mps, xpu, cpu."""
    found = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if torch.backends.mps.is_available():
        found.append("mps")
    if torch.xpu.is_available():
        found += [f"xpu:{i}" for i in range(torch.xpu.device_count())]
    return [*found, "cpu"]


def pick(name: str) -> torch.device:
    """The device called `name`, or the best one there is for `auto`.

    Raises:
        DeviceError: this machine does not have it; the message lists what it has.
    """
    there = available()
    if name == "auto":
        return torch.device(there[0])
    if name in there or any(device.startswith(f"{name}:") for device in there):
        return torch.device(f"{name}:0" if name in ("cuda", "xpu") else name)
    why = ""
    if name.startswith("cuda"):
        why = " (no NVIDIA driver or GPU was found)" if torch.version.cuda else " (this torch was built without CUDA)"
    elif name == "mps" and sys.platform != "darwin":
        why = " (mps exists on Macs only)"
    raise DeviceError(
        f"There is no device {name} here{why}. This machine has: {', '.join(there)}. "
        "Nothing was trained. Use one of them, or --device auto."
    )


def describe(device: torch.device) -> str:
    """The device for people: `cuda:0 NVIDIA H200`, `cpu, 2 threads`."""
    if device.type == "cuda":
        return f"{device} {torch.cuda.get_device_name(device)}"
    if device.type == "xpu":
        return f"{device} {torch.xpu.get_device_name(device)}"
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"cpu, {threads} thread{'s' if threads > 1 else ''}"
    return str(device)


def memory(device: torch.device) -> str:
    """What is taken and what is free where `device` keeps its tensors, as a phrase."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return f"{size(torch.cuda.memory_allocated(device))} taken by this run, {size(free)} of {size(total)} free"
    here = psutil.virtual_memory()
    return f"{size(here.available)} of {size(here.total)} free"


def total(device: torch.device) -> int:
    """Bytes of memory where `device` keeps its tensors."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    if device.type == "xpu":
        return int(torch.xpu.get_device_properties(device).total_memory)
    return int(psutil.virtual_memory().total)


@contextmanager
def without_denormals() -> Iterator[None]:
    """Numbers below 1e-38 count as 0 in this thread and in those that it starts: enter before the first operation.

    Adam's moments of weights that do not learn, those of pixels that are always black, decay to such numbers, and a
    processor takes a hundred times as long for them: on FashionMNIST an update then costs four times as much.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def tune(settings: Settings, device: torch.device) -> None:
    """Set torch up for a run on `device`, in this thread."""
    if device.type == "cuda":
        torch.cuda.set_device(device)  # what is recorded as a graph is recorded on this one
    if device.type == "cpu":  # it would join small pieces again with each tensor: a hundredth of a small model's step
        tell_glibc("mallopt", M_MXFAST, 0)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    torch.set_float32_matmul_precision(settings.matmul_precision)
    if settings.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if settings.deterministic != torch.are_deterministic_algorithms_enabled():  # setting it costs a second of imports
        torch.use_deterministic_algorithms(settings.deterministic)
    torch.backends.cudnn.benchmark = not settings.deterministic


M_MXFAST = 1
"""glibc's name for the largest size of the freed pieces that it keeps apart for a while."""


def tell_glibc(name: str, *words: int) -> None:
    """Call a function of glibc about memory; another libc needs no such word."""
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):
            getattr(ctypes.CDLL(None), name)(*words)


def held(device: torch.device) -> int:
    """Bytes that this process keeps from others: of the GPU's memory, on a CPU of the machine's."""
    if device.type == "cuda":
        return torch.cuda.memory_reserved(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    if device.type == "xpu":
        return torch.xpu.memory_reserved(device)
    return int(psutil.Process().memory_info().rss)


def give_back(device: torch.device) -> None:
    """Let go of all memory that nothing uses any more: allocators keep it for the next time otherwise."""
    gc.collect()  # a model, its optimizer and what was recorded of its steps refer to each other
    if device.type == "cuda":
        getattr(torch._C, "_cuda_clearCublasWorkspaces", lambda: None)()
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
    elif device.type == "xpu":
        torch.xpu.empty_cache()
    tell_glibc("malloc_trim", 0)
