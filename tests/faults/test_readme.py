"""The page of the faults names each of them once, and only tests that are there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS: list[tuple[str, str, str]] = re.findall(
    r"^\| (\d+) \| ([^|]+) \| ([^|]+) \|$", (Path(__file__).parent / "README.md").read_text("utf-8"), re.MULTILINE
)
"""Number, fault, and its tests or the reason why there is none."""
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def defined_in(path: Path) -> set[str]:
    """The names of the tests in a file; none when there is no such file."""
    if not path.is_file():
        return set()
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    return {node.name for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, functions)}


def test_every_fault_has_one_row() -> None:
    assert [int(number) for number, _, _ in ROWS] == list(range(1, 101))


def test_a_row_has_a_test_or_says_why_not() -> None:
    for number, _, answer in ROWS:
        words = TEST.sub("", answer).strip(", ")
        assert "`" not in words and (words.endswith(".") or (not words and TEST.search(answer))), number


def test_every_test_that_is_named_is_there() -> None:
    named = {test for _, _, answer in ROWS for test in TEST.findall(answer)}
    there = {file: defined_in(ROOT / file) for file, _ in named}
    assert sorted(f"{file}::{name}" for file, name in named if name not in there[file]) == []
