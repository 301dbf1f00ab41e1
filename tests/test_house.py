"""The plan of the house holds: arrows go down, nothing runs in a circle, and folders and files keep their size.

import-linter reads the imports that are executed; these tests read the source, so that an import in a function, under
TYPE_CHECKING or by a name in a string counts as well.
"""

import ast
import re
import tomllib
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tui_trainer"
FILES = sorted(PACKAGE.rglob("*.py"))
LONGEST = 450
"""Lines of a file."""
ALIKE = {
    frozenset({"run", "runs"}): "one run, and many: `run/` is what one leaves on disk, `runs/` lists and compares them",
}
"""Names that may stand side by side though they differ by an ending, and why."""
GIVEN = {PACKAGE / "catalog" / "datasets"}
"""Folders whose files are named by the field: mnist, kmnist and qmnist are what data sets are called."""


def name_of(path: Path) -> str:
    """The dotted name of a module's file, or of a package's."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}


def imports_of(module: str) -> set[str]:
    """The modules of the program that `module` names in an import, wherever it stands."""
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                found.add(full if full in MODULES else base)
        elif isinstance(node, ast.Call) and isinstance(node.args[0] if node.args else None, ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__", "find_spec"):
                found.add(str(node.args[0].value))  # type: ignore[attr-defined]
    return (found & MODULES.keys()) - {module}


IMPORTS = {module: imports_of(module) for module in MODULES}


def circles(arrows: dict[str, set[str]]) -> Iterator[list[str]]:
    """The circles in a graph, one for each node that closes one: the way from a node back to itself."""
    done: set[str] = set()

    def walk(node: str, way: list[str]) -> Iterator[list[str]]:
        if node in way:
            yield [*way[way.index(node) :], node]
        elif node not in done:
            for other in sorted(arrows[node]):
                yield from walk(other, [*way, node])
            done.add(node)

    for node in sorted(arrows):
        yield from walk(node, [])


def layers() -> dict[str, tuple[int, bool]]:
    """The rooms of the layers contract by name: how far up each is, and whether it may know its neighbours."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    (contract,) = [contract for contract in contracts if contract["type"] == "layers"]
    assert not contract.keys() & {"ignore_imports", "exhaustive_ignores"}, "the contract has no exception"
    return {
        room.strip(): (-depth, "|" not in line)
        for depth, line in enumerate(contract["layers"])
        for room in re.split(r"[|:]", line)
    }


def test_circles_are_found() -> None:
    assert list(circles({"a": {"b"}, "b": {"c"}, "c": {"b"}})) == [["b", "c", "b"]]
    assert list(circles({"a": {"b", "c"}, "b": {"c"}, "c": set()})) == []


def test_imports_are_found_wherever_they_stand() -> None:
    assert "tui_trainer.cli.main" in IMPORTS["tui_trainer.__main__"]
    assert sum(map(len, IMPORTS.values())) > 500


def test_no_import_runs_in_a_circle() -> None:
    assert [" -> ".join(circle) for circle in circles(IMPORTS)] == []


def test_no_arrow_runs_up() -> None:
    heights = layers()
    up = []
    for module, others in IMPORTS.items():
        for other in others:
            ours, theirs = (name.split(".")[1] if "." in name else "" for name in (module, other))
            if not ours or not theirs or ours == theirs:
                continue  # the package itself is what Python programs import; inside of a room are no layers
            (height, _), (other_height, neighbours) = heights[ours], heights[theirs]
            if height < other_height or (height == other_height and not neighbours):
                up.append(f"{module} -> {other}")
    assert sorted(up) == []


def test_every_room_is_in_the_layers() -> None:
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert rooms - {"__init__"} == layers().keys()


@pytest.mark.parametrize(("folder", "most"), [(PACKAGE, 7), (PACKAGE / "training", 4)], ids=["door", "training"])
def test_few_files_stand_outside_the_rooms(folder: Path, most: int) -> None:
    files = sorted(path.name for path in folder.iterdir() if path.is_file())
    assert len(files) <= most, files


def test_no_file_is_too_long() -> None:
    lines = {name_of(path): len(path.read_text("utf-8").splitlines()) for path in FILES}
    assert {name: count for name, count in lines.items() if count > LONGEST} == {}


def stem(name: str) -> str:
    """A name without what makes a plural, a person or another time of it."""
    shorter = re.sub(r"(ings?|ers?|ors?|ed|es|s|e)$", "", name)
    return shorter if len(shorter) > 2 else name


def are_alike(one: str, other: str) -> bool:
    """True when two names differ by an ending or by one letter: added, left out or changed."""
    short, long = sorted((one, other), key=len)
    if len(short) == len(long):
        near = sum(a != b for a, b in zip(short, long, strict=True)) == 1
    else:
        near = any(short == long[:at] + long[at + 1 :] for at in range(len(long)))
    return near or stem(one) == stem(other)


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("look", "looks", True),
        ("looked", "looking", True),
        ("own", "on", True),
        ("data", "date", True),
        ("score", "scorer", True),
        ("lock", "local", False),
        ("journal", "journal_tail", False),
    ],
)
def test_names_that_are_hard_to_tell_apart_are_known(one: str, other: str, alike: bool) -> None:
    assert are_alike(one, other) == are_alike(other, one) == alike


def test_no_two_names_in_a_folder_differ_by_a_letter_or_an_ending() -> None:
    found = []
    for folder in sorted({path.parent for path in FILES} - GIVEN):
        names = sorted({path.stem for path in folder.iterdir() if path.suffix == ".py" or (path.is_dir())})
        pairs = combinations([name for name in names if not name.startswith("_")], 2)
        found += [(folder.name, *pair) for pair in pairs if are_alike(*pair) and frozenset(pair) not in ALIKE]
    assert found == []
