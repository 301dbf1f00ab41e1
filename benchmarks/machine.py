"""The machine that figures come from, in the words of a table's heading."""

import functools
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path


@functools.cache
def gpu() -> str | None:
    """The name of the CUDA device. Asked of a process of its own: torch stays out of this one."""
    ask = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')"
    return subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True).stdout.strip() or None


def describe() -> str:
    """Processor, cores, memory, GPU, system and the versions that every figure depends on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    parts = [_processor(), f"{os.cpu_count()} cores", f"{memory:.0f} GiB"]
    if name := gpu():
        parts.append(name)
    parts += [_system(), f"Python {platform.python_version()}"]
    parts += [f"{name} {importlib.metadata.version(name)}" for name in ("torch", "torchvision", "textual")]
    return ", ".join(parts)


def _processor() -> str:
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.platform(terse=True)
