"""Takes out one protection at a time and shows that the tests notice: a protection that no test misses gets lost.

python -m tests.faults.guard            all of them, a few seconds each
python -m tests.faults.guard lock crc   some of them
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Protection:
    """A few words of the program, what stands in their place when they are taken out, and the tests that must fail."""

    file: str
    words: str
    instead: str
    tests: str


DISK, LOCK, READING = "disk.py", "run/lock.py", "training/saving/safe_load.py"
CONTROL = "run/control.py"
FINITE, COURSE, STATE, LOOP = (
    "training/step/finite.py",
    "training/course.py",
    "training/saving/state.py",
    "training/loop.py",
)

PROTECTIONS = {
    "sync of the file": Protection(DISK, "            DISK.sync(fd)\n", "", "tests/faults/test_disk.py -k sync"),
    "sync of the folder": Protection(DISK, "DISK.sync(folder)", "pass", "tests/faults/test_disk.py -k sync"),
    "replace": Protection(
        DISK,
        "        DISK.replace(new, path)\n",
        "        path.write_bytes(content)\n",
        "tests/faults/test_disk.py -k killed",
    ),
    "prev": Protection(DISK, "if keep and path.exists():", "if False:", "tests/faults/test_disk.py -k second_names"),
    "owner only": Protection(DISK, "0o600", "0o644", "tests/training/saving/test_checkpoint.py -k owner"),
    "crc": Protection(
        READING, "damaged = archive.testzip()", "damaged = None", "tests/faults/test_safe_load.py -k flipped"
    ),
    "weights only": Protection(READING, "weights_only=True", "weights_only=False", "tests/faults/test_safe_load.py"),
    "nothing but known names": Protection(
        READING, "if name := foreign(program):", "if False:", "tests/faults/test_safe_load.py -k sentence"
    ),
    "stored parts only": Protection(
        READING,
        "    if (\n        any(entry.compress_type",
        "    if False and (\n        any(entry.compress_type",
        "tests/faults/test_safe_load.py",
    ),
    "plain file": Protection(READING, "not stat.S_ISREG(status.st_mode)", "False", "tests/faults/test_safe_load.py"),
    "lock": Protection(
        LOCK,
        "                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n                break\n",
        "                break\n",
        "tests/run/test_folder.py -k lock",
    ),
    "lock is not for workers": Protection(
        LOCK, "os.register_at_fork(after_in_child=_close_in_child)", "", "tests/run/test_folder.py -k worker"
    ),
    "lock is handed over": Protection(
        LOCK,
        "                if not held.handed_over:\n",
        "                if True:\n",
        "tests/run/test_folder.py -k handed",
    ),
    "socket for its owner": Protection(
        CONTROL, "os.chmod(new, 0o600)", "os.chmod(new, 0o666)", "tests/run/test_control.py -k owner"
    ),
    "user at the other end": Protection(
        CONTROL, "if uid is not None and uid != os.getuid():", "if False:", "tests/run/test_control.py -k another_user"
    ),
    "rubbish is left": Protection(CONTROL, "FAULTS = 10\n", "FAULTS = 50\n", "tests/run/test_control.py -k rubbish"),
    "bounded backlog": Protection(
        CONTROL, "if self._inbox.waiting >= BACKLOG:", "if False:", "tests/run/test_control.py -k backlog"
    ),
    "half a line": Protection(
        CONTROL, "if client.since and now - client.since > PATIENCE:", "if False:", "tests/run/test_control.py -k half"
    ),
    "saved before it is handed over": Protection(
        LOOP,
        "        if not course.saver.record.failed:\n            raise Stopped(command)\n",
        "        raise Stopped(command)\n",
        "tests/training/test_features.py -k handed",
    ),
    "others cannot change the code": Protection(
        "own/location.py",
        "if reason := why_unsafe(path):",
        "if reason := None:",
        "tests/own/test_trust.py -k can_write",
    ),
    "code of a settings file is known": Protection(
        "own/admitted.py", "    if unknown:\n", "    if False:\n", "tests/own/test_own_code.py -k settings_file"
    ),
    "code that was admitted is what runs": Protection(
        "own/loading.py",
        "    _admitted.update({found.location: found for found in code.code.values()})\n",
        "",
        "tests/own/test_own_code.py -k another_by_then",
    ),
    "a run keeps the code it was given": Protection(
        "run/local.py",
        "        self._code = carried.code if carried else code\n",
        "        self._code = None\n",
        "tests/own/test_own_code.py -k another_by_then",
    ),
    "changed code is refused": Protection(
        "training/saving/resume.py",
        "if not resume.allow_code_change:",
        "if False:",
        "tests/own/test_own_code.py -k changed_code",
    ),
    "foreign folder": Protection(LOCK, "        self._refuse_foreign()\n", "", "tests/run/test_folder.py -k foreign"),
    "loss is looked at": Protection(
        FINITE, "        if not math.isfinite(value):", "        if False:", "tests/faults/test_numbers.py -k poisoned"
    ),
    "gradient is looked at": Protection(
        FINITE,
        "sound = not self._bad.item() and",
        "sound = True and",
        "tests/faults/test_numbers.py -k poisoned",
    ),
    "gradient as a product is looked at": Protection(
        FINITE,
        "and all(product.is_finite() for product in deferred)",
        "",
        "tests/training/step/test_cpu_replay.py -k product",
    ),
    "NaN is never better": Protection(
        "training/saving/monitor.py",
        "    if not math.isfinite(value):\n        return False\n",
        "",
        "tests/training/test_features.py -k finite",
    ),
    "weights are looked at": Protection(
        STATE, "if name := first_not_finite(weights):", "if False:", "tests/faults/test_numbers.py -k weights"
    ),
    "last comes last": Protection(
        "training/saving/saver.py",
        "        if is_best:",
        '        yield from self._save(packed, progress, "last.pt", "last")\n        if is_best:',
        "tests/training/test_features.py -k checkpoints_then",
    ),
    "random numbers": Protection(
        STATE, '    torch.set_rng_state(rng["torch"])\n', "", "tests/training/saving/test_resume.py -k dropout"
    ),
    "place in the epoch": Protection(
        COURSE,
        "train(progress.epoch, progress.batch)",
        "train(progress.epoch, 0)",
        "tests/training/saving/test_resume.py",
    ),
    "gradients of a group": Protection(
        COURSE,
        "step.resume(state.gradients)",
        "step.resume(None)",
        "tests/training/saving/test_resume.py -k accumulation",
    ),
    "saves are made up for": Protection(
        LOOP,
        "    yield from make_up_for_failed_saves(run.course)\n",
        "",
        "tests/faults/test_disk.py -k full",
    ),
    "torn line": Protection(
        "run/journal.py", "if size and os.pread", "if False and os.pread", "tests/cli/test_resume.py -k torn"
    ),
    "text is cleaned": Protection(
        "text.py",
        "if unicodedata.category(ch) in _HIDDEN else ch",
        "if False else ch",
        "tests/cli/test_hostile_text.py",
    ),
    "hang-up": Protection(
        "ui/leaving.py",
        "signal.signal(signal.SIGHUP, hang_up)",
        "signal.getsignal(signal.SIGHUP)",
        "tests/pty/test_terminal.py -k closed",
    ),
    "hang-up without a screen": Protection(
        "cli/headless.py", "numbers.append(signal.SIGHUP)", "pass", "tests/cli/test_exit_codes.py -k 129"
    ),
    "grace": Protection(
        "run/signals.py", "if number == signal.SIGTERM:", "if False:", "tests/faults/test_signals.py -k grace"
    ),
    "patience with data": Protection(
        "training/data/batches.py", "if waited >= self._patience:", "if False:", "tests/faults/test_data.py -k hangs"
    ),
}


def noticed(protection: Protection, copy: Path) -> bool:
    """Whether the tests fail without it; they run against a copy of the program."""
    path = copy / "tui_trainer" / protection.file
    text = path.read_text()
    if text.count(protection.words) != 1:
        raise SystemExit(f"{protection.file} holds {protection.words!r} {text.count(protection.words)} times, not once")
    path.write_text(text.replace(protection.words, protection.instead))
    try:
        return not passes(protection.tests, copy)
    finally:
        path.write_text(text)


def passes(tests: str, copy: Path) -> bool:
    """Whether these tests pass against the copy."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests.split()]
    here = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "PATIENCE": "60"}
    try:
        ended = subprocess.run(command, cwd=copy, env=here, capture_output=True, text=True, timeout=300, check=False)
    except subprocess.TimeoutExpired:
        return False
    if ended.returncode not in (0, 1):
        raise SystemExit(f"{tests} did not run:\n{ended.stdout[-2000:]}{ended.stderr[-2000:]}")
    return ended.returncode == 0


def main(names: list[str]) -> int:
    unnoticed = []
    chosen = {n: p for n, p in PROTECTIONS.items() if not names or any(word in n for word in names)}
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in ("tui_trainer", "tests", "pyproject.toml", "README.md", "scripts"):
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, copy / part)
        for name, protection in chosen.items():
            began = time.monotonic()
            seen = noticed(protection, copy)
            print(
                f"{'noticed' if seen else 'NOT NOTICED':<12} {name:<34} {time.monotonic() - began:5.1f} s", flush=True
            )
            if not seen:
                unnoticed.append(name)
        print("the same tests without any change:", flush=True)
        for tests in sorted({p.tests for p in chosen.values()}):
            if not passes(tests, copy):
                print(f"FAILS        {tests}", flush=True)
                unnoticed.append(tests)
    print(f"{len(chosen) - len(unnoticed)} of {len(chosen)} protections are guarded")
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
