"""The whole service on servers that a test may kill."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from common_core.topics import consumed_topics
from local_stack.postgres import PostgresServer
from local_stack.valkey import ValkeyServer
from tests.support.database import migrate
from tests.support.processes import ServiceProcess, serving_process
from tests.support.servers import plain_url


@dataclass(frozen=True, kw_only=True)
class Stack:
    """The servers, and the settings by which the service finds them."""

    redis: ValkeyServer
    postgres: PostgresServer
    kafka_bootstrap_servers: str
    group_id: str

    @contextmanager
    def serve(self, **changes: object) -> Iterator[tuple[ServiceProcess, str]]:
        """Run `bcs serve` on these servers, with some settings changed; give it and its address."""
        settings: dict[str, object] = {
            "ENVIRONMENT": "production",
            "REDIS_URL": self.redis.url,
            "DATABASE_URL": self.postgres.url,
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka_bootstrap_servers,
            "KAFKA_CONSUMER_GROUP_ID": self.group_id,
            "KAFKA_ENABLE_IDEMPOTENCE": "false",
            "PERSISTENCE_TAKEOVER_SECONDS": 5,
        }
        with serving_process(**settings | changes) as serving:
            yield serving

    async def count_completed(self, batches: list[str]) -> dict[str, int]:
        """Return the completed spellchecks of each batch as Postgres has them."""
        connection = await asyncpg.connect(plain_url(self.postgres.url))
        try:
            rows = await connection.fetch(
                "SELECT batch_id, completed_count FROM processing_pipeline_state "
                "WHERE step_name = 'spellcheck' AND batch_id = ANY($1)",
                batches,
            )
        finally:
            await connection.close()
        return {row["batch_id"]: row["completed_count"] for row in rows}


@pytest.fixture
async def stack(
    own_redis: ValkeyServer, own_postgres: PostgresServer, kafka_bootstrap_servers: str
) -> Stack:
    """Real servers with our schema, and a consumer group that nobody else has.

    The group begins where the topics end: what others sent is none of its business.
    """
    await migrate(own_postgres.url)
    group_id = f"group-{uuid.uuid4().hex}"
    await commit_ends(kafka_bootstrap_servers, group_id)
    return Stack(
        redis=own_redis,
        postgres=own_postgres,
        kafka_bootstrap_servers=kafka_bootstrap_servers,
        group_id=group_id,
    )


async def commit_ends(bootstrap_servers: str, group_id: str) -> None:
    """Have the group, which has no members yet, passed over all that stands in the topics."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers, group_id=group_id, enable_auto_commit=False
    )
    await consumer.start()
    try:
        known = await consumer.topics()
        partitions = [
            TopicPartition(topic, number)
            for topic in known & set(consumed_topics())
            for number in consumer.partitions_for_topic(topic) or ()
        ]
        if partitions:
            consumer.assign(partitions)
            await consumer.commit(await consumer.end_offsets(partitions))
    finally:
        await consumer.stop()
