"""Real servers with the schemas of both services, and all topics of the flow."""

import asyncio
from collections.abc import Iterator

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from alembic import command
from tests.support.bos_database import bos_config
from tests.support.flow import TOPICS
from tests.support.servers import serve_kafka
from tests.support.stack import Stack, stack

__all__ = ["stack"]


@pytest.fixture
def kafka_bootstrap_servers() -> Iterator[str]:
    """A Kafka of the test's own: a new group reads, and runs, all that it finds there."""
    with serve_kafka() as address:
        yield address


@pytest.fixture
async def flow_stack(stack: Stack) -> Stack:
    """The stack with BOS's schema and all topics."""
    await asyncio.to_thread(command.upgrade, bos_config(stack.postgres.url), "head")
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap_servers)
    await admin.start()
    known = await admin.list_topics()
    await admin.create_topics([NewTopic(name, 3, 1) for name in TOPICS if name not in known])
    await admin.close()
    return stack
