"""The form and a recorded run need no torch, and the training thread alone ever runs it."""

import subprocess
import sys

FORM = """
import asyncio, sys
from tui_trainer.sources import resolve
from tui_trainer.ui.app import TrainerApp

async def main():
    async with TrainerApp(resolve([])).run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        assert "669,706 parameters" in str(pilot.app.screen.query_one("#outlook").render())

asyncio.run(main())
print(*sorted({name.partition(".")[0] for name in sys.modules} & {"torch", "torchvision", "numpy"}))
"""

THREADS = """
import sys, threading
from tui_trainer.run.feed import Feed
from tui_trainer.run.runs import LocalRun
from tui_trainer.settings import Settings

feed = Feed(LocalRun(Settings(dataset="fashion-mnist-mini", dry_run=True, device="cpu")), lambda: None)
assert "torch" not in sys.modules
feed.start()
feed.thread.join()
import torch
print(feed.ended.reason, threading.main_thread() is not feed.thread)
"""


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120).stdout


def test_the_form_says_what_the_run_will_be_without_torch() -> None:
    assert python(FORM).strip() == ""


def test_torch_is_imported_by_the_thread_that_trains() -> None:
    assert python(THREADS).split() == ["finished", "True"]
