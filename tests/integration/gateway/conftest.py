"""The gateway's application with a BOS and a Kafka."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from api_gateway_service.implementations.kafka_publisher_impl import TOPIC
from tests.support.gateway.app import Commands, Gateway, gateway_app, read_commands
from tests.support.gateway.web import Web, served_web
from tests.support.kafka import unique
from tests.support.topics import ensure_topics


@pytest.fixture(scope="session")
def served() -> Iterator[Web]:
    with served_web() as web:
        yield web


@pytest.fixture
def web(served: Web) -> Web:
    """A BOS, and an identity service, that know nothing and do what they should."""
    served.batches.clear()
    served.keys.clear()
    served.asked.clear()
    served.delay_seconds, served.broken = 0.0, None
    return served


@pytest.fixture
def batch_id() -> str:
    """A batch that nobody else has."""
    return unique("batch")


@pytest.fixture(scope="session")
def kafka(kafka_bootstrap_servers: str) -> str:
    """A Kafka that has the commands' topic."""
    asyncio.run(ensure_topics(kafka_bootstrap_servers, TOPIC))
    return kafka_bootstrap_servers


@pytest.fixture
async def commands(kafka: str) -> AsyncIterator[Commands]:
    async with read_commands(kafka) as commands:
        yield commands


@pytest.fixture
async def gateway(web: Web, kafka: str) -> AsyncIterator[Gateway]:
    async with gateway_app(bos_url=web.url, kafka_bootstrap_servers=kafka) as gateway:
        yield gateway
