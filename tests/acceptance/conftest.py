"""A service that tests only ask, and real servers for those that break something."""

import signal
from collections.abc import Iterator

import pytest

from tests.support.processes import serving_process
from tests.support.stack import stack

__all__ = ["stack"]


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """Where a service with its state in memory answers, which no test may end or harm."""
    with serving_process() as (process, address):
        yield address
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
        assert not [line for line in process.log if line["level"] in {"error", "critical"}]
