"""A consumer's surroundings, in memory."""

import pytest

from tests.support.loops import Bench


@pytest.fixture
def bench() -> Bench:
    """A broker with all topics, two partitions each."""
    return Bench()
