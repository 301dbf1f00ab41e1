"""Whoever installs the program by the README or by CI gets the very same versions, and CI does what the README says."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PINS = [line for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if not line.startswith("#")]


def needed(requirements: list[str]) -> set[str]:
    """The names of all packages that these need on this machine, and what those need."""
    found: set[tuple[str, str]] = set()
    open_ones = [(Requirement(words), "") for words in requirements]
    while open_ones:
        requirement, extra_of_parent = open_ones.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra_of_parent}):
            continue
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras}:
            if (name, extra) not in found:
                found.add((name, extra))
                open_ones += [(Requirement(words), extra) for words in requires(name) or ()]
    return {name for name, _ in found}


def test_uv_and_pip_are_told_the_same_versions() -> None:
    assert PROJECT["tool"]["uv"]["constraint-dependencies"] == PINS


def test_a_pin_is_a_name_and_a_version() -> None:
    assert [pin for pin in PINS if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*==[0-9][0-9a-z.+]*", pin)] == []
    names = [pin.partition("==")[0] for pin in PINS]
    assert sorted(set(names)) == names


@pytest.mark.skipif(sys.platform != "linux", reason="the pins are of Linux, where torch needs the most packages")
def test_every_package_that_is_installed_for_development_is_pinned_and_no_other() -> None:
    try:
        asked = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]
        names = needed(asked)
    except PackageNotFoundError as missing:
        pytest.skip(f"this is not the environment of the group dev: {missing}")
    assert {pin.partition("==")[0] for pin in PINS} == names


def test_ci_finds_both_commands_of_the_readme_and_both_can_be_read_by_a_shell() -> None:
    found = subprocess.run([ROOT / ".ci" / "commands"], capture_output=True, text=True, check=True).stdout
    cockpit, checks = found.splitlines()
    readme = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert cockpit in readme and checks in readme
    assert "uv run tui-trainer" in cockpit and "uv run scripts/check" in checks
    subprocess.run(["bash", "-n", "-c", found], check=True)
