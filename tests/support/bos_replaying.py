"""A broker and a database over which BOS's consumer runs, or does not."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from batch_orchestrator_service.config import Settings
from batch_orchestrator_service.events.decoding import consumed_topics
from batch_orchestrator_service.kafka_consumer import EventConsumer
from batch_orchestrator_service.metrics import Metrics
from batch_orchestrator_service.startup_setup import build_container
from common_core.topics import EventName, dlq_topic_name, topic_name
from tests.support.bos_commands import bos
from tests.support.builders import RecordedEvent
from tests.support.kafka import (
    committed_offsets,
    create_topics,
    produce,
    running,
    unique,
    until,
)
from tests.support.orchestrating import named

REQUESTS = topic_name(EventName.CLIENT_BATCH_PIPELINE_REQUEST)


class Place:
    """A broker and a database, with a group of which nobody has heard."""

    def __init__(self, servers: str, database_url: str, engine: AsyncEngine) -> None:
        self.servers = servers
        self._engine = engine
        self.group_id = unique("bos")
        self._database_url = database_url

    async def create_topics(self) -> None:
        """Create what is consumed, and the topics of the dead letters."""
        await create_topics(self.servers, *consumed_topics())
        await create_topics(self.servers, *map(dlq_topic_name, consumed_topics()))

    @asynccontextmanager
    async def consuming(self) -> AsyncIterator[Metrics]:
        """Run the consumer as the service does; give what it measures."""
        settings = Settings(
            database_url=SecretStr(self._database_url),
            kafka_bootstrap_servers=self.servers,
            kafka_consumer_group_id=self.group_id,
            kafka_enable_idempotence=False,
        )
        container = build_container(settings)
        try:
            async with running(await container.get(EventConsumer)):
                yield await container.get(Metrics)
        finally:
            await container.close()

    async def bos(self, *arguments: str) -> tuple[int, list[dict[str, object]], str]:
        """Run a command; return its exit code, the objects that it tells, and its errors."""
        ended = await bos(
            self._database_url,
            *arguments,
            BOS_KAFKA_BOOTSTRAP_SERVERS=self.servers,
            BOS_KAFKA_CONSUMER_GROUP_ID=self.group_id,
        )
        return ended.code, [json.loads(line) for line in ended.output.splitlines()], ended.errors

    async def ask(self, *names: str) -> None:
        """Have a client ask for a pipeline over a batch of each name."""
        events = [
            RecordedEvent(topic=REQUESTS, key=name.encode(), value=_request(name)) for name in names
        ]
        await produce(self.servers, events, partition=0)

    async def until_committed(self, offset: int) -> None:
        """Return when the group has committed that."""

        async def is_committed() -> bool:
            found = await committed_offsets(self.servers, self.group_id, REQUESTS, partitions=1)
            return found == {0: offset}

        await until(is_committed)

    async def count_runs(self) -> int:
        """Return how many runs there are."""
        async with self._engine.connect() as connection:
            counted = await connection.execute(text("SELECT count(*) FROM bos.pipeline_runs"))
            return int(counted.scalar_one())


def _request(name: str) -> bytes:
    data = {
        "batch_id": name,
        "requested_pipeline": "nlp",
        "client_correlation_id": str(named(name)),
        "user_id": "teacher",
        "request_id": str(named(name)),
    }
    envelope = {
        "event_id": str(named(name)),
        "event_type": REQUESTS,
        "event_timestamp": datetime.now(UTC).isoformat(),
        "source_service": "api_gateway_service",
        "correlation_id": str(named(name)),
        "data": data,
    }
    return json.dumps(envelope).encode()


def measured(metrics: Metrics, name: str, **labels: str) -> float | None:
    """Return the value of a metric."""
    return metrics.registry.get_sample_value(name, labels)
