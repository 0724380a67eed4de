"""A broker of the test's own: the consumed topics have fixed names."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from local_stack.kafka import KafkaBroker


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[KafkaBroker]:
    """A broker that the test may kill; what it holds ends with it."""
    broker = KafkaBroker(tmp_path / "kafka")
    broker.start()
    yield broker
    broker.kill()
