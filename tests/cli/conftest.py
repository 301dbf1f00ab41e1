"""Real processes take seconds: a module's are started side by side, once, and each test looks at one that has ended."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.cli.program import Started


@pytest.fixture(scope="module")
def ended(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """The module's `CASES`, started at the first test that asks for one."""
    with ThreadPoolExecutor(3) as pool:
        yield Started(pool, tmp_path_factory.mktemp("processes"), request.module.CASES)
