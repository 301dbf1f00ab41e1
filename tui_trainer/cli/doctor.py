"""What this machine has for training: Python, torch, devices, data, terminal, disk; and what to do where it lacks.

torch is imported in a process of its own: a broken one may end the process.
"""

import importlib.metadata
import json
import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from tui_trainer.cli.gather import gather
from tui_trainer.cli.options import option
from tui_trainer.settings.schema import Settings
from tui_trainer.text import clean, size

PATIENCE = 120.0
"""Seconds that importing torch may take: on a cold network disk it takes a minute."""

_PROBE = """
import json, torch
facts = {"torch": torch.__version__, "threads": torch.get_num_threads(), "built": torch.version.cuda or ""}
facts["devices"] = [
    f"cuda:{i} {torch.cuda.get_device_name(i)}, {torch.cuda.mem_get_info(i)[0] / 2**30:.0f} GiB free"
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
]
facts["devices"] += ["mps"] if torch.backends.mps.is_available() else []
facts["devices"] += [f"xpu:{i}" for i in range(torch.xpu.device_count() if torch.xpu.is_available() else 0)]
torch.ones(8, 8) @ torch.ones(8, 8)
try:
    import torchvision
    facts["torchvision"] = torchvision.__version__
except Exception as error:
    facts["fault"] = f"{type(error).__name__}: {error}"
print(json.dumps(facts))
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of what was found."""

    name: str
    text: str
    advice: str = ""
    """What to do about it; empty when it is as it should be."""
    stops: bool = False
    """Nothing can be trained before that is mended."""


def doctor_command(*, json: Annotated[bool, option("One JSON array of what was found.")] = False) -> int:
    """What this machine has: torch, torchvision, devices, data, terminal, disk; and what to do where it lacks."""
    return report(gather({}).settings, as_json=json)


def examine(settings: Settings) -> list[Finding]:
    """Everything, in the order in which a run needs it."""
    return [*_programs(), *_torch(), *_data(settings), *_terminal(), *_disk(settings), *_log_out()]


def report(settings: Settings, *, as_json: bool = False) -> int:
    """Print what was found; 1 when something keeps a run from training, else 0."""
    found = examine(settings)
    if as_json:
        print(json.dumps([asdict(finding) for finding in found]))
    else:
        for finding in found:
            sign = "✖" if finding.stops else "!" if finding.advice else "✔"
            print(f"{sign} {finding.name:<12} {finding.text}")
            if finding.advice:
                print(f"  {'':<12} {finding.advice}")
    return 1 if any(finding.stops for finding in found) else 0


def _programs() -> list[Finding]:
    own = importlib.metadata.version("tui-trainer")
    return [
        Finding("tui-trainer", f"{own}, {clean(Path(__file__).parents[1])}"),
        Finding("python", f"{platform.python_version()}, {clean(sys.executable)}"),
    ]


def _torch() -> list[Finding]:
    import subprocess

    import psutil

    from tui_trainer.outlook.run import describe_device

    try:
        answer = subprocess.run(
            [sys.executable, "-P", "-c", _PROBE],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        facts = json.loads(answer.stdout) if answer.returncode == 0 else None
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        return [Finding("torch", f"cannot be looked at: {clean(error)}", _FRESH, stops=True)]
    if facts is None:
        lines = answer.stderr.strip().splitlines() or [f"ended with {answer.returncode}"]
        return [Finding("torch", f"cannot be imported: {clean(lines[-1], 160)}", _FRESH, stops=True)]
    built = f"built for CUDA {facts['built']}" if facts["built"] else "built without CUDA"
    found = [Finding("torch", f"{clean(facts['torch'])}, {built}")]
    if "fault" in facts:
        found.append(Finding("torchvision", f"cannot be imported: {clean(facts['fault'], 160)}", _FRESH, stops=True))
    else:
        found.append(Finding("torchvision", clean(facts["torchvision"])))
    memory = psutil.virtual_memory()
    free = f"{size(memory.available)} of {size(memory.total)} free"
    found.append(Finding("cpu", f"{os.cpu_count()} cores, {facts['threads']} threads for torch, {free}"))
    for device in facts["devices"]:
        found.append(Finding("device", clean(device)))
    if not facts["devices"]:
        gpu = describe_device("cuda:0")
        seen = not gpu.endswith("(no NVIDIA driver)")
        advice = "The driver shows a GPU that torch cannot use: install a torch that is built for CUDA." if seen else ""
        found.append(Finding("device", gpu if seen else "no GPU was found; runs train on the CPU", advice))
    return found


_FRESH = (
    "torch and torchvision must come from the same place: make a fresh environment, then install tui-trainer in it."
)


def _data(settings: Settings) -> list[Finding]:
    from tui_trainer.outlook.data import describe

    text = describe(settings).text
    advice = ""
    if "will be downloaded" in text:
        package = "apt install dataset-fashion-mnist, or " if settings.dataset == "fashion-mnist" else ""
        advice = f"Without a network: {package}--dataset fashion-mnist-mini."
    return [Finding("data", text, advice)]


def _terminal() -> list[Finding]:
    kind = os.environ.get("TERM", "")
    if not (sys.__stdin__ and sys.__stdin__.isatty() and sys.__stderr__ and sys.__stderr__.isatty()):
        return [Finding("terminal", "there is none here", "Train in plain lines: tui-trainer --no-ui")]
    if kind in ("", "dumb", "unknown"):
        return [Finding("terminal", f"of type {clean(kind) or 'none'}", "Set TERM, or use --no-ui.")]
    columns, rows = shutil.get_terminal_size()
    colours = "16 million colours" if os.environ.get("COLORTERM") in ("truecolor", "24bit") else "256 colours"
    through = " in tmux" if os.environ.get("TMUX") else ""
    text = f"{clean(kind, 40)}{through}, {columns} x {rows}, {colours}"
    small = columns < 60 or rows < 15
    return [Finding("terminal", text, "The screens need 60 x 15 or more." if small else "")]


def _disk(settings: Settings) -> list[Finding]:
    folder = Path(settings.output_dir).expanduser()
    there = next((path for path in (folder, *folder.absolute().parents) if path.exists()), Path("/"))
    text = f"{clean(folder)}, {size(shutil.disk_usage(there).free)} free"
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return [Finding("runs", text, f"{clean(there)} cannot be written to: choose another --output-dir.", stops=True)]
    return [Finding("runs", text)]


def _log_out() -> list[Finding]:
    from tui_trainer.run.disconnect import why_it_ends_at_log_out

    reason = why_it_ends_at_log_out(os.getpid())
    text = "ends what runs in the background" if reason else "leaves what runs in the background"
    return [Finding("log-out", text, f"{reason[0].upper()}{reason[1:]}." if reason else "")]
