"""The guard finds what it takes out: a reworded protection is seen in seconds, not at the end of a long check."""

import pytest

from tests.faults.guard import PROTECTIONS, ROOT


@pytest.mark.parametrize("name", PROTECTIONS)
def test_each_protection_stands_once_in_the_program_and_its_tests_exist(name: str) -> None:
    protection = PROTECTIONS[name]
    text = (ROOT / "tui_trainer" / protection.file).read_text()
    assert text.count(protection.words) == 1
    compile(text.replace(protection.words, protection.instead), protection.file, "exec")
    assert (ROOT / protection.tests.split()[0]).is_file()
