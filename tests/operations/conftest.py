"""Real servers of the test's own, Kafka too: the commands judge all that they find there."""

import uuid
from collections.abc import Iterator

import pytest

from tests.support.bos_database import bos_database_url, bos_engine
from tests.support.servers import serve_kafka
from tests.support.stack import stack

__all__ = ["bos_database_url", "bos_engine", "stack"]


@pytest.fixture
def batch() -> str:
    return f"batch-{uuid.uuid4().hex}"


@pytest.fixture
def kafka_bootstrap_servers() -> Iterator[str]:
    """A Kafka of the test's own; one whose address is given is shared all the same."""
    with serve_kafka() as address:
        yield address
