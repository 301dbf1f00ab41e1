"""Power cuts: a disk that forgets all that was not synced. Nothing that was told as saved is lost.

The disk is an ext4 image, and the cut is ext4's own: from one moment on nothing of the caches reaches it. Both take
root and loop devices.
"""

import contextlib
import fcntl
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.scale import many
from tests.faults.test_disk import packed
from tui_trainer.disk import write_whole
from tui_trainer.errors import CheckpointError
from tui_trainer.training.saving import safe_load

SHUT_DOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN: no further write reaches the disk."""
WITHOUT_FLUSH = 2
"""EXT4_GOING_FLAGS_NOLOGFLUSH: the file system's own journal is lost too, as far as it was not synced."""
CUTS = many(4, 50)


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


class Machine:
    """A file system on a disk of its own, whose power can be cut."""

    def __init__(self, folder: Path, options: str) -> None:
        self.image, self.place, self.options = folder / "disk.img", folder / "disk", options
        self.place.mkdir()
        with self.image.open("wb") as file:
            file.truncate(96 << 20)
        run("mkfs.ext4", "-q", "-F", str(self.image))

    def start(self) -> None:
        run("mount", "-o", f"loop,{self.options}", str(self.image), str(self.place))

    def cut(self) -> None:
        fd = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SHUT_DOWN, struct.pack("I", WITHOUT_FLUSH))
        finally:
            os.close(fd)

    def stop(self) -> None:
        run("umount", str(self.place))


@pytest.fixture(params=["data=ordered", "data=writeback"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    if sys.platform != "linux" or os.getuid() or not shutil.which("mkfs.ext4"):
        pytest.skip("power cuts take root, loop devices and ext4")
    made = Machine(tmp_path, request.param)
    try:
        made.start()
        made.cut()
        made.stop()
    except (OSError, subprocess.CalledProcessError) as reason:
        with contextlib.suppress(subprocess.CalledProcessError):
            made.stop()
        pytest.skip(f"no power can be cut here: {reason}")
    yield made
    with contextlib.suppress(subprocess.CalledProcessError):
        made.stop()


CONTENTS = [packed(step) for step in range(60)]


def save_until_dark(folder: Path, first: int, told: int) -> None:
    """Save one checkpoint after the other and tell of each, until the disk fails."""
    for step in range(first, len(CONTENTS)):
        write_whole(CONTENTS[step], folder / "last.pt", keep="prev.pt")
        write_whole(CONTENTS[step], folder / "best.pt")
        os.write(told, bytes([step]))


def newest(folder: Path, name: str) -> int:
    """The step of a checkpoint, 0 when there is none; a damaged one fails the test."""
    try:
        return int(safe_load.load(folder / name)["step"])
    except CheckpointError as error:
        assert "no such file" in str(error)
        return 0


def test_nothing_that_was_told_as_saved_is_lost_when_the_power_is_cut(machine: Machine) -> None:
    chance, told_in_all = random.Random(0), 0
    for _ in range(CUTS):
        machine.start()
        for path in machine.place.glob("*.pt"):
            path.unlink()
        os.sync()
        reads, writes = os.pipe()
        child = os.fork()
        if child == 0:  # file calls only: torch must not be used in a forked process
            try:
                save_until_dark(machine.place, 1, writes)
            finally:
                os._exit(0)
        os.close(writes)
        time.sleep(chance.uniform(0.01, 0.25))
        machine.cut()
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        told = max(os.read(reads, 200), default=0)
        os.close(reads)
        machine.stop()
        machine.start()
        try:
            found = {name: newest(machine.place, name) for name in ("last.pt", "prev.pt", "best.pt")}
        finally:
            machine.stop()
        assert found["last.pt"] >= told and found["best.pt"] >= told, (found, told)
        told_in_all += told
    assert told_in_all > CUTS, "the power was cut before anything was saved"
