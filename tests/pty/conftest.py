"""Tells a fixture whether its test has failed: what tests share is then made anew."""

from collections.abc import Generator

import pytest

_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash[_FAILED] = item.stash.get(_FAILED, False) or report.failed
    return report


def failed(test: pytest.Item) -> bool:
    """True when the test, or a fixture it needs, has failed."""
    return test.stash.get(_FAILED, False)
