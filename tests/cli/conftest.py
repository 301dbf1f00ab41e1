"""Real processes take seconds: they are started side by side, once, and each test looks at one that has ended."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from program import Ended

Cases = dict[str, Callable[[Path], Ended]]


class Started:
    """Processes that run side by side, each in a folder of its own."""

    def __init__(self, pool: ThreadPoolExecutor, folder: Path, cases: Cases) -> None:
        self._ends: dict[str, Future[Ended]] = {
            name: pool.submit(case, folder / name.replace(" ", "-")) for name, case in cases.items()
        }

    def __getitem__(self, name: str) -> Ended:
        """The end of one of them, waited for."""
        return self._ends[name].result()


@pytest.fixture(scope="module")
def ended(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """The module's `CASES`, as processes that were started at its first test that asks for one."""
    with ThreadPoolExecutor(3) as pool:
        yield Started(pool, tmp_path_factory.mktemp("processes"), request.module.CASES)
