"""What operators have of BOS on Apache Kafka: what it says of itself, and what it reads again."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.ext.asyncio import AsyncEngine

from batch_orchestrator_service.events.decoding import consumed_topics
from common_core.topics import dlq_topic_name
from tests.support.bos_database import bos_database_url, bos_engine
from tests.support.bos_replaying import REQUESTS, Place, measured
from tests.support.builders import RecordedEvent
from tests.support.faults.kraft import KraftBroker
from tests.support.faults.strict_broker import broker
from tests.support.kafka import committed_offsets, create_topics, produce, unique, until
from tests.support.processes import ServiceProcess, address_of, ended_in_order

__all__ = ["bos_database_url", "bos_engine", "broker"]

GRACE_SECONDS = 30  # in which a topic may come
LOOK_SECONDS = 0.2
LATE_SECONDS = 5  # after it, at most, the cause is told
RECORDS = 300  # so many invalid ones that a person has to look


class Serving:
    """BOS, as those see it who ask over HTTP."""

    def __init__(self, client: httpx.AsyncClient, group_id: str) -> None:
        self.group_id = group_id
        self._client = client
        self._since = time.monotonic()

    async def health(self) -> dict[str, Any]:
        """Return what it says of itself."""
        body: dict[str, Any] = (await self._client.get("/healthz")).json()
        return body

    async def lag(self) -> float:
        """Return the lag over all partitions."""
        shown = (await self._client.get("/metrics")).text
        return sum(
            sample.value
            for family in text_string_to_metric_families(shown)
            for sample in family.samples
            if sample.name == "bos_kafka_consumer_lag"
        )

    async def until_caused(self, cause: str) -> float:
        """Return after how many seconds the health told the cause."""
        while cause not in (await self.health())["causes"]:
            assert time.monotonic() - self._since < GRACE_SECONDS + LATE_SECONDS
            await asyncio.sleep(LOOK_SECONDS)
        return time.monotonic() - self._since


@asynccontextmanager
async def serving(broker: KraftBroker, database_url: str) -> AsyncIterator[Serving]:
    """Run `bos serve` at the broker."""
    group_id = unique("bos")
    settings = {
        "DATABASE_URL": database_url,
        "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "KAFKA_CONSUMER_GROUP_ID": group_id,
    }
    process = ServiceProcess(settings, program="bos")
    with ended_in_order(process):
        async with httpx.AsyncClient(base_url=address_of(process)) as client:
            yield Serving(client, group_id)


async def test_a_topic_that_is_missing_is_named(broker: KraftBroker, bos_database_url: str) -> None:
    """At once among what is known of the topics; after half a minute it degrades the service."""
    await create_topics(broker.bootstrap_servers, *set(consumed_topics()) - {REQUESTS})
    async with serving(broker, bos_database_url) as bos:

        async def is_named() -> bool:
            return bool((await bos.health())["topics"]["absent"] == REQUESTS)

        await until(is_named)
        waited = await bos.until_caused(f"The topic {REQUESTS} does not exist.")
        degraded = await bos.health()
        await create_topics(broker.bootstrap_servers, REQUESTS)

        async def is_well() -> bool:
            return bool((await bos.health())["status"] == "healthy")

        await until(is_well)

    assert waited > GRACE_SECONDS / 2
    assert degraded["status"] == "degraded"


async def test_a_topic_that_may_not_be_seen_is_named(
    broker: KraftBroker, bos_database_url: str
) -> None:
    await create_topics(broker.bootstrap_servers, *consumed_topics())
    await broker.allow_only("DescribeConfigs", "--topic", REQUESTS)
    async with serving(broker, bos_database_url) as bos:
        await bos.until_caused(
            f"No right to see the topic {REQUESTS}: the broker's user needs DESCRIBE on it."
        )


async def test_the_lag_is_what_waits_behind_a_consumer_that_has_halted(
    broker: KraftBroker, bos_database_url: str
) -> None:
    await create_topics(broker.bootstrap_servers, *consumed_topics())
    await create_topics(broker.bootstrap_servers, *map(dlq_topic_name, consumed_topics()))
    async with serving(broker, bos_database_url) as bos:

        async def is_behind(count: int) -> bool:
            return await bos.lag() == count

        async def has_halted() -> bool:
            return bool((await bos.health())["consumer"]["state"] == "halted")

        await until(lambda: is_behind(0))
        garbage = RecordedEvent(topic=REQUESTS, key=b"b", value=b"not JSON")
        await produce(broker.bootstrap_servers, [garbage] * RECORDS)
        await until(has_halted)
        committed = await committed_offsets(
            broker.bootstrap_servers, bos.group_id, REQUESTS, partitions=1
        )
        behind = RECORDS - committed.get(0, 0)
        await until(lambda: is_behind(behind))

    assert behind > 0


async def test_a_group_without_members_is_moved_back_at_once(
    broker: KraftBroker, bos_database_url: str, bos_engine: AsyncEngine
) -> None:
    place = Place(broker.bootstrap_servers, bos_database_url, bos_engine)
    await place.create_topics()
    async with place.consuming():
        await place.ask("a", "b", "c")
        await place.until_committed(3)

    planned = await place.bos("replay", "--from-offset", f"{REQUESTS}:0:1", "--json")
    await place.until_committed(3)
    code, told, errors = await place.bos(
        "replay", "--from-time", "2020-01-01", "--topic", REQUESTS, "--apply", "--json"
    )
    await place.until_committed(0)

    assert (planned[0], planned[1][-1]["applied"]) == (0, False)
    assert code == 0, errors
    assert (told[-1]["members_asked"], told[-1]["records"]) == (False, 3)
    async with place.consuming() as metrics:
        await until(lambda: measured(metrics, "bos_requests_total", decision="same_request") == 3)
        assert await place.count_runs() == 3
