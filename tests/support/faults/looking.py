"""What the stores hold, looked at past the proxies, and whether anything is still on its way."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import Select, literal_column, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from batch_conductor_service.domain.batch_state import BatchState
from batch_conductor_service.implementations.postgres.batch_state import (
    PostgresBatchStateRepository,
)
from batch_conductor_service.implementations.redis import keys
from batch_conductor_service.implementations.redis.batch_state import (
    RedisCachedBatchStateRepositoryImpl,
)
from batch_conductor_service.models import BatchCompletionSummary, BatchId, EssayProcessingState
from common_core.topics import PERSISTENCE_BASE_TOPIC, consumed_topics, dlq_topic_name
from service_libs.exceptions import StoreUnavailableError
from tests.support.database import open_engine
from tests.support.faults.servers import GROUP, FaultServers
from tests.support.pipelines import DEPENDENCIES
from tests.support.repositories import redis_repository

LOOK_SECONDS = 0.05
QUIET_SECONDS = 90

Offsets = dict[TopicPartition, int]


@dataclass(kw_only=True)
class Onlooker:
    """Clients of all servers that are no part of the service."""

    redis: Redis
    cache: RedisCachedBatchStateRepositoryImpl
    engine: AsyncEngine
    admin: AIOKafkaAdminClient
    offsets: AIOKafkaConsumer

    async def wait_until_quiet(self, timeout_seconds: float = QUIET_SECONDS) -> None:
        """Return once every record is consumed, persisted and committed.

        Raises:
            AssertionError: that did not come; it says what is left.
        """
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        while left := await self._find_left():
            assert asyncio.get_running_loop().time() < deadline, f"still on its way: {left}"
            await asyncio.sleep(LOOK_SECONDS)

    async def _find_left(self) -> object:
        try:
            if queued := await self.redis.xlen(keys.PERSISTENCE_QUEUE):
                return f"{queued} queued"
            return await self.find_uncommitted()
        except (RedisError, KafkaError, OSError) as exc:
            return exc

    async def find_uncommitted(self) -> dict[str, int]:
        """Return how many records of each partition the group has not committed."""
        ends = await self.ends(consumed_topics())
        committed = await self.admin.list_consumer_group_offsets(GROUP)
        behind = {
            tp: end - max(0, committed[tp].offset if tp in committed else 0)
            for tp, end in ends.items()
        }
        return {f"{tp.topic}-{tp.partition}": count for tp, count in behind.items() if count}

    async def ends(self, topics: Iterable[str]) -> Offsets:
        """Return the end of each partition of the topics that exist."""
        await self.offsets._client.force_metadata_update()
        partitions = [
            TopicPartition(topic, number)
            for topic in topics
            for number in self.offsets.partitions_for_topic(topic) or ()
        ]
        ends: Offsets = await self.offsets.end_offsets(partitions) if partitions else {}
        return ends

    async def count_dead_letters(self) -> int:
        """Return how many records and rows were ever dead-lettered."""
        topics = [dlq_topic_name(base) for base in (*consumed_topics(), PERSISTENCE_BASE_TOPIC)]
        return sum((await self.ends(topics)).values())

    async def count_records(self) -> int:
        """Return how many records the consumed topics ever had."""
        return sum((await self.ends(consumed_topics())).values())

    async def load_persisted(self, batches: list[BatchId]) -> dict[BatchId, BatchState]:
        """Return what Postgres holds of the batches."""
        return await PostgresBatchStateRepository(self.engine, DEPENDENCIES).load_states(batches)

    async def load_counts(self, batches: list[BatchId]) -> dict[tuple[str, str], tuple[int, int]]:
        """Return (completed, failed) by batch and step, as the table for people has it."""
        query = text(
            "SELECT batch_id, step_name, completed_count, failed_count "
            "FROM processing_pipeline_state WHERE batch_id = ANY(:batches)"
        )
        async with self.engine.connect() as connection:
            rows = await connection.execute(query, {"batches": batches})
            return {(row[0], row[1]): (row[2], row[3]) for row in rows}

    async def load_cached(
        self, batch: BatchId
    ) -> tuple[BatchCompletionSummary, list[EssayProcessingState], dict[str, int]]:
        """Return summary, essays and counts of the batch as Redis alone has them."""
        summary = (await self.cache.get_summary(batch)).summary
        essays = (await self.cache.get_state(batch)).essays()
        counts = await self.redis.hgetall(keys.pipeline_state(batch))
        return summary, essays, {str(step): int(count) for step, count in counts.items()}

    async def load_everything(self, batch: BatchId) -> dict[str, object]:
        """Return all of the batch in both stores, byte for byte, but for when it was written."""
        names = [keys.batch(batch), keys.pipeline_state(batch)]
        names += sorted(map(str, await self.redis.keys(f"{keys.essay_state_prefix(batch)}*")))
        found: dict[str, object] = {name: await self._read_key(name) for name in names}
        tables = {
            "essay_step_evidence": "batch_id, essay_id, step_name, source, status, occurred_at",
            "phase_outcomes": "batch_id, step_name, fingerprint, occurred_at, status, verdict",
            "batch_registrations": "batch_id, fingerprint, occurred_at, essays_total, essay_ids",
            "processing_pipeline_state": "batch_id, step_name, completed_count, failed_count",
        }
        async with self.engine.connect() as connection:
            for table, columns in tables.items():
                query: Select[Any] = select(literal_column(columns)).select_from(text(table))
                rows = await connection.execute(query.where(literal_column("batch_id") == batch))
                found[table] = sorted(map(str, rows))
        return found

    async def _read_key(self, name: str) -> object:
        match await self.redis.type(name):
            case "hash":
                return {k: _undated(str(v)) for k, v in (await self.redis.hgetall(name)).items()}
            case "set":
                return sorted(await self.redis.smembers(name))
            case "string":
                document = json.loads(await self.redis.get(name) or "{}")
                return {k: v for k, v in document.items() if k != "last_updated"}
            case kind:
                return kind


def _undated(field: str) -> str:
    """Return the field without which run of the server it is of."""
    return re.sub('"run":"[^"]*"', "", field)


class _Unheard:
    """An archive that says nothing, so that only Redis speaks."""

    async def load_states(self, batch_ids: Sequence[BatchId]) -> dict[BatchId, BatchState]:
        raise StoreUnavailableError(f"{len(batch_ids)} batches are not to be asked for")


@asynccontextmanager
async def open_onlooker(servers: FaultServers) -> AsyncIterator[Onlooker]:
    """Give clients of the servers."""
    redis = Redis.from_url(servers.redis.url, socket_timeout=5, decode_responses=True)
    admin = AIOKafkaAdminClient(bootstrap_servers=servers.kafka.bootstrap_servers)
    offsets = AIOKafkaConsumer(
        bootstrap_servers=servers.kafka.bootstrap_servers, metadata_max_age_ms=1000
    )
    await admin.start()
    await offsets.start()
    try:
        async with (
            open_engine(servers.postgres.url) as engine,
            redis_repository(servers.redis.url, _Unheard(), ttl_seconds=3600) as cache,
        ):
            yield Onlooker(
                redis=redis,
                cache=cache.repository,
                engine=engine,
                admin=admin,
                offsets=offsets,
            )
    finally:
        await offsets.stop()
        await admin.close()
        await redis.aclose()
