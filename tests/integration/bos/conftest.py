"""A database with BOS's schema, and a broker that a test may kill."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from local_stack.kafka import KafkaBroker
from tests.support.bos_database import bos_database_url, bos_engine

__all__ = ["bos_database_url", "bos_engine"]


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[KafkaBroker]:
    """A broker that the test may kill; what it holds ends with it."""
    broker = KafkaBroker(tmp_path / "kafka")
    broker.start()
    yield broker
    broker.kill()
