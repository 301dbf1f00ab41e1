"""The form and a recorded run need no torch, and the training thread alone ever runs it."""

import os
import subprocess
import sys

import pytest

FORM = """
import asyncio, sys
from tui_trainer.cli.local_run import local_run
from tui_trainer.settings.sources import resolve
from tui_trainer.ui.app import TrainerApp

async def main():
    async with TrainerApp(resolve([]), begin=local_run).run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        assert "669,706 parameters" in str(pilot.app.screen.query_one("#outlook").render())

asyncio.run(main())
print(*sorted({name.partition(".")[0] for name in sys.modules} & {"torch", "torchvision", "numpy"}))
"""

THREADS = """
import sys, threading
from tui_trainer.run.feed import Feed
from tui_trainer.cli.local_run import local_run
from tui_trainer.settings.schema import Settings

feed = Feed(local_run(Settings(dataset="fashion-mnist-mini", dry_run=True, device="cpu")), lambda: None)
assert "torch" not in sys.modules
feed.start()
feed.thread.join()
import torch
print(feed.ended.reason, threading.main_thread() is not feed.thread)
"""

POOLS = """
import asyncio, faulthandler, os, sys, threading
from tui_trainer.cli.local_run import local_run
from tui_trainer.run.commands import Stop
from tui_trainer.settings.sources import Source, resolve
from tui_trainer.ui.app import TrainerApp

faulthandler.dump_traceback_later = lambda *_, **__: None  # its thread waits for silence, and is no pool

def threads_of_libraries():
    return len(set(map(int, os.listdir("/proc/self/task"))) - {thread.native_id for thread in threading.enumerate()})

def count_in(words):
    done, over = threading.Event(), threading.Event()
    def run_torch():
        if words:
            import torch
            torch.ones(1_000_000).add(1)
        done.set()
        over.wait()
    thread = threading.Thread(target=run_torch)
    thread.start()
    done.wait()
    count = threads_of_libraries()
    over.set()
    thread.join()
    return count

async def main(words):
    used = {"dataset": "fashion-mnist-mini", "device": "cpu", "epochs": "1000", "limit_train_batches": "8"}
    source = Source("flag", used, text=True)
    app = TrainerApp(resolve([source]), start=True, begin=local_run)
    async with app.run_test(size=(120, 40)):
        while app.feed is None or not app.screen.state.checkpoints or app.screen.state.epoch < 2:
            assert app.feed is None or app.feed.ended is None
            await asyncio.sleep(0.05)  # trains, has measured and saved, and all of it was drawn
        print(count_in(words))
        app.feed.run.send(Stop())
    app.feed.thread.join()

asyncio.run(main(sys.argv[1:]))
"""


def python(code: str, *words: str, **environment: str) -> str:
    command = [sys.executable, "-c", code, *words]
    env = os.environ | environment
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=env).stdout


def test_the_form_says_what_the_run_will_be_without_torch() -> None:
    assert python(FORM).strip() == ""


def test_torch_is_imported_by_the_thread_that_trains() -> None:
    assert python(THREADS).split() == ["finished", "True"]


@pytest.mark.skipif(sys.platform != "linux", reason="the system's threads are counted in /proc")
@pytest.mark.parametrize(("words", "pools"), [((), 1), (("also here",), 2)], ids=["the training alone", "another too"])
def test_no_thread_but_the_training_has_a_pool_of_torch_threads(words: tuple[str, ...], pools: int) -> None:
    """Each thread that runs a parallel operation gets a pool of its own, and two pools halve the speed."""
    counted = python(POOLS, *words, OMP_NUM_THREADS="2", MKL_NUM_THREADS="2", OPENBLAS_NUM_THREADS="1")
    assert int(counted) == pools  # of two threads in a pool one is the thread that asks
