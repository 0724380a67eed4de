"""What the service knows and says of itself while it cannot listen as it should, on Apache Kafka.

Transactions, rights, and members of a group are as they are there only.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

from batch_conductor_service.implementations.memory.stand_ins import MemoryFreshnessBoard
from common_core.topics import EventName, consumed_topics, topic_name
from tests.support.builders import RecordedEvent, registered, spellchecked
from tests.support.consuming import ControlledRepository
from tests.support.faults.kraft import KraftBroker
from tests.support.faults.strict_broker import broker
from tests.support.kafka import create_consumed_topics, create_topics, produce, unique, until
from tests.support.listening import Replica
from tests.support.processes import serving_process

__all__ = ["broker"]

SPELLCHECK = topic_name(EventName.SPELLCHECK_PHASE_COMPLETED)
LAG = "bcs_kafka_consumer_lag"
OLDEST = "bcs_kafka_oldest_unread_record_age_seconds"
DELETED = "bcs_kafka_uncommitted_records_deleted_total"


class Cluster:
    """The broker, and the replicas of a group over one repository."""

    def __init__(self, broker: KraftBroker) -> None:
        self.servers = broker.bootstrap_servers
        self.repository = ControlledRepository()
        self.board = MemoryFreshnessBoard()
        self.group_id = unique("group")

    def replica(self) -> Replica:
        return Replica(self.servers, self.board, self.repository, group_id=self.group_id)

    async def lag_from_outside(self) -> int:
        """Return what Kafka's own tools would say of the group."""
        partitions = [TopicPartition(topic, n) for topic in consumed_topics() for n in range(2)]
        consumer = AIOKafkaConsumer(bootstrap_servers=self.servers, group_id=self.group_id)
        await consumer.start()
        try:
            ends = await consumer.end_offsets(partitions)
            committed = [await consumer.committed(tp) or 0 for tp in partitions]
        finally:
            await consumer.stop()
        return int(sum(ends.values()) - sum(committed))

    async def is_read_to_the_end(self) -> bool:
        return await self.lag_from_outside() == 0


@pytest.fixture
def cluster(broker: KraftBroker) -> Cluster:
    return Cluster(broker)


@asynccontextmanager
async def transactional_producer(servers: str) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=servers, transactional_id=unique("sender"))
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def send_all(producer: AIOKafkaProducer, events: Sequence[RecordedEvent]) -> None:
    for event in events:
        await producer.send_and_wait(event.topic, event.value, key=event.key)


class TestTransactions:
    async def test_what_an_aborted_one_wrote_never_happened(self, cluster: Cluster) -> None:
        await create_consumed_topics(cluster.servers)
        replica = cluster.replica()
        async with replica.listening(), transactional_producer(cluster.servers) as producer:
            async with producer.transaction():
                first = [registered("b1", 2, essays=["e1", "e2"]), spellchecked("b1", "e1")]
                await send_all(producer, first)
            await producer.begin_transaction()
            await send_all(producer, [spellchecked("b1", "e2")])
            await producer.abort_transaction()
            moment = datetime.now(UTC)

            await replica.freshness.wait_until(moment, timeout_seconds=20)
            answer = await replica.define("b1")

            assert not answer.is_degraded
            [phase] = answer.phases
            assert (phase.reason, phase.progress.completed, phase.progress.total) == (
                "incomplete",
                1,
                2,
            )

            await until(cluster.is_read_to_the_end)
            await until(lambda: sum(_samples(replica, LAG)) == 0)

    async def test_markers_at_the_end_are_no_lost_records(self, cluster: Cluster) -> None:
        """Emptied by retention, the log begins behind the markers."""
        await create_consumed_topics(cluster.servers)
        first = cluster.replica()
        async with first.listening(), transactional_producer(cluster.servers) as producer:
            async with producer.transaction():
                await send_all(producer, [spellchecked("b1", "e1")])
            await producer.begin_transaction()
            await send_all(producer, [spellchecked("b1", f"e{n}") for n in range(2, 6)])
            await producer.abort_transaction()
            await until(cluster.is_read_to_the_end)
        await _empty(cluster.servers)

        second = cluster.replica()
        async with second.listening():
            await until(lambda: second.freshness.current().applied_until is not None)

        assert _samples(second, DELETED) == []

    async def test_what_is_behind_an_open_one_is_not_known(self, cluster: Cluster) -> None:
        """A failure that another sender has sent for good hides behind it."""
        await create_consumed_topics(cluster.servers, partitions=1)
        replica = cluster.replica()
        done = [registered("b1", 1, essays=["e1"]), spellchecked("b1", "e1")]
        later = datetime.now(UTC) + timedelta(seconds=1)
        async with replica.listening(), transactional_producer(cluster.servers) as producer:
            await produce(cluster.servers, done)
            await replica.until_skipped("b1")

            await producer.begin_transaction()
            await send_all(producer, [spellchecked("other", "e9")])
            await produce(cluster.servers, [spellchecked("b1", "e1", "failed", later)])
            await replica.until_doubted("b1")
            await replica.until_caused("not read to the end", SPELLCHECK)
            await producer.commit_transaction()

            await replica.until_judged("b1", "failed_essays")
            await until(lambda: not replica.monitor.causes)


class TestHealth:
    async def test_a_member_without_partitions_stands_by(self, cluster: Cluster) -> None:
        await create_topics(cluster.servers, SPELLCHECK)
        one, other = cluster.replica(), cluster.replica()
        absent = {topic for topic in consumed_topics() if topic != SPELLCHECK}
        async with one.listening(), other.listening():
            await until(lambda: sorted(map(_state, (one, other))) == ["consuming", "standby"])
            await produce(cluster.servers, [spellchecked("b1", "e1")])

            for replica in (one, other):
                await replica.until_caused("does not exist")
                assert replica.freshness.behind_seconds < 2
                assert set(replica.monitor.causes) == {
                    f"The topic {topic} does not exist." for topic in absent
                }

    async def test_a_topic_that_is_made_at_last_is_read(self, cluster: Cluster) -> None:
        await create_topics(cluster.servers, *(t for t in consumed_topics() if t != SPELLCHECK))
        replica = cluster.replica()
        async with replica.listening():
            await until(lambda: replica.freshness.behind_seconds < 1)
            await until(lambda: replica.sample(LAG, topic=SPELLCHECK, partition="0") == 0)
            await replica.until_caused(SPELLCHECK, "does not exist")
            cluster.repository.may_answer.clear()

            await create_topics(cluster.servers, SPELLCHECK)
            await produce(cluster.servers, [spellchecked("b1", "e1", "failed")])
            await replica.until_doubted("b1")
            cluster.repository.may_answer.set()

            await replica.until_judged("b1", "failed_essays")
            await until(lambda: not replica.monitor.causes)

    async def test_a_member_with_another_assignor(self, cluster: Cluster) -> None:
        await create_consumed_topics(cluster.servers)
        strange = AIOKafkaConsumer(
            *consumed_topics(),
            bootstrap_servers=cluster.servers,
            group_id=cluster.group_id,
            partition_assignment_strategy=(RangePartitionAssignor,),
        )
        await strange.start()
        try:
            replica = cluster.replica()
            async with replica.listening():
                await replica.until_caused(cluster.group_id, "another way")

                assert replica.monitor.status == "degraded"
                assert replica.sample("bcs_consumer_state", state="consuming") == 0
                assert (await replica.define("b1")).is_degraded
        finally:
            await strange.stop()

    async def test_no_right_to_join(self, cluster: Cluster, broker: KraftBroker) -> None:
        await create_consumed_topics(cluster.servers)
        await broker.allow_only("Describe", "--group", cluster.group_id)
        replica = cluster.replica()
        async with replica.listening():
            await replica.until_caused(cluster.group_id, "No right to join")

    async def test_no_right_to_read_a_topic(self, cluster: Cluster, broker: KraftBroker) -> None:
        await create_consumed_topics(cluster.servers)
        await broker.allow_only("Describe", "--topic", SPELLCHECK)
        replica = cluster.replica()
        async with replica.listening():
            await replica.until_caused(SPELLCHECK, "No right to read")

    async def test_no_right_to_see_a_topic(self, cluster: Cluster, broker: KraftBroker) -> None:
        await create_consumed_topics(cluster.servers)
        await broker.allow_only("DescribeConfigs", "--topic", SPELLCHECK)
        replica = cluster.replica()
        async with replica.listening():
            await replica.until_caused(SPELLCHECK, "No right to see")
            assert (await replica.define("b1")).is_degraded


async def test_the_lag_is_what_kafka_says_with_a_consumer_that_has_halted(
    cluster: Cluster,
) -> None:
    await create_consumed_topics(cluster.servers)
    replica = cluster.replica()
    garbage = RecordedEvent(topic=SPELLCHECK, key=b"e", value=b"not JSON")
    async with replica.listening() as consuming:
        await until(lambda: sum(_samples(replica, LAG)) == 0)
        await produce(cluster.servers, [garbage] * 40)
        await asyncio.wait({consuming}, timeout=30)
        await produce(cluster.servers, [spellchecked("b1", f"e{n}") for n in range(7)])

        expected = await cluster.lag_from_outside()
        assert expected >= 7
        await until(lambda: sum(_samples(replica, LAG)) == expected)
        await until(lambda: (replica.sample(OLDEST) or 0) > 1)


@pytest.mark.alone
async def test_a_steady_stream_keeps_answers_fresh(cluster: Cluster) -> None:
    """One partition that is written to all the time gives no empty answer."""
    await create_topics(cluster.servers, SPELLCHECK)
    replica = cluster.replica()
    stopping = asyncio.Event()

    async def write() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=cluster.servers)
        await producer.start()
        count = 0
        while not stopping.is_set():
            event = spellchecked("b1", f"e{count % 100}")
            await producer.send(event.topic, event.value, key=event.key)
            await asyncio.sleep(0.005)
            count += 1
        await producer.stop()

    async with replica.listening():
        writing = asyncio.create_task(write())
        await until(lambda: replica.freshness.behind_seconds < 1)
        worst = 0.0
        for _ in range(50):
            await asyncio.sleep(0.1)
            worst = max(worst, replica.freshness.behind_seconds)
        stopping.set()
        await writing

    assert worst < 2


async def test_a_healthy_first_start_logs_no_error(broker: KraftBroker) -> None:
    """The topics are not there yet, nor is what the broker keeps of groups."""
    settings = {"ENVIRONMENT": "development", "USE_MOCK_REPOSITORY": True}
    servers = broker.bootstrap_servers
    with serving_process(**settings, KAFKA_BOOTSTRAP_SERVERS=servers) as (process, address):
        async with httpx.AsyncClient(base_url=address) as client:

            async def is_in(state: str) -> bool:
                return bool((await client.get("/healthz")).json()["consumer"]["state"] == state)

            await until(lambda: is_in("standby"))
            await create_consumed_topics(servers)
            await until(lambda: is_in("consuming"))
        process.signal(signal.SIGTERM)
        assert process.wait() == 0

    assert [line for line in process.log if line["level"] in {"error", "critical"}] == []
    assert "topic_waited_for" in {line["event"] for line in process.log}


def _samples(replica: Replica, name: str) -> list[float]:
    return [
        sample.value
        for family in replica.registry.collect()
        for sample in family.samples
        if sample.name == name
    ]


def _state(replica: Replica) -> str:
    return replica.consumer.condition.state.value


async def _empty(servers: str) -> None:
    """Have the broker delete everything, as retention does in the end."""
    partitions = [TopicPartition(topic, n) for topic in consumed_topics() for n in range(2)]
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.delete_records({tp: RecordsToDelete(before_offset=-1) for tp in partitions})
    finally:
        await admin.close()
