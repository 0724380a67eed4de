"""What answers are worth while a consumer does not get on, against a real broker."""

import asyncio
import math
from datetime import UTC, datetime, timedelta

import pytest

from batch_conductor_service.implementations.memory.freshness import MemoryFreshnessBoard
from common_core.topics import EventName, consumed_topics, topic_name
from local_stack.kafka import KafkaBroker
from local_stack.ports import find_free_port
from tests.support.builders import RecordedEvent, registered, spellchecked
from tests.support.consuming import ControlledQueue, ControlledRepository
from tests.support.kafka import create_consumed_topics, produce, unique, until
from tests.support.listening import STALENESS_SECONDS, Replica

SPELLCHECK = topic_name(EventName.SPELLCHECK_PHASE_COMPLETED)
LAG = "bcs_kafka_consumer_lag"
OLDEST = "bcs_kafka_oldest_unread_record_age_seconds"
COMPLETED = [
    registered("b1", 2, essays=["e1", "e2"]),
    spellchecked("b1", "e1"),
    spellchecked("b1", "e2"),
]


def failed(batch: str = "b1", essay: str = "e2") -> RecordedEvent:
    later = datetime.now(UTC) + timedelta(seconds=1)
    return spellchecked(batch, essay, status="failed", at=later)


def garbage() -> RecordedEvent:
    return RecordedEvent(topic=SPELLCHECK, key=b"e", value=b"not JSON")


class Cluster:
    """A broker, and the replicas of a group over one repository."""

    def __init__(self, servers: str) -> None:
        self.servers = servers
        self.repository = ControlledRepository()
        self.board = MemoryFreshnessBoard()
        self.group_id = unique("group")

    def replica(self, *, queue: ControlledQueue | None = None) -> Replica:
        return Replica(
            self.servers, self.board, self.repository, group_id=self.group_id, queue=queue
        )


@pytest.fixture
async def cluster(own_kafka: KafkaBroker) -> Cluster:
    await create_consumed_topics(own_kafka.bootstrap_servers)
    return Cluster(own_kafka.bootstrap_servers)


class TestAFailureThatWaitsInKafka:
    async def test_halted(self, cluster: Cluster) -> None:
        replica = cluster.replica()
        async with replica.listening() as consuming:
            await produce(cluster.servers, COMPLETED)
            await replica.until_skipped("b1")

            await produce(cluster.servers, [garbage() for _ in range(40)])
            await asyncio.wait({consuming}, timeout=30)
            await produce(cluster.servers, [failed()])

            await replica.until_doubted("b1")
            assert replica.sample("bcs_consumer_state", state="halted") == 1
            assert replica.sample("bcs_consumer_state", state="consuming") == 0
            await until(lambda: sum(_lags(replica)) > 0)  # this broker tells too little
            await until(lambda: (replica.sample(OLDEST) or 0) > 1)
            [halted, *_] = replica.monitor.causes
            assert "cannot be applied" in halted
            assert SPELLCHECK in halted

    async def test_paused(self, cluster: Cluster) -> None:
        queue = ControlledQueue()
        replica = cluster.replica(queue=queue)
        async with replica.listening():
            await produce(cluster.servers, COMPLETED)
            await replica.until_skipped("b1")

            queue.extra_depth = 100_000
            await until(lambda: replica.sample("bcs_consumer_state", state="paused") == 1)
            await produce(cluster.servers, [failed()])

            await replica.until_doubted("b1")
            await replica.until_caused("wait for Postgres")
            queue.extra_depth = 0
            await replica.until_judged("b1", "failed_essays")

    async def test_not_yet_caught_up_after_a_restart(self, cluster: Cluster) -> None:
        first = cluster.replica()
        async with first.listening():
            await produce(cluster.servers, COMPLETED)
            await first.until_skipped("b1")
        await produce(cluster.servers, [failed()])
        cluster.repository.may_answer.clear()
        cluster.board = MemoryFreshnessBoard()  # it believes nothing from before its start

        second = cluster.replica()
        async with second.listening():
            await until(lambda: cluster.repository.calls > 1)
            assert (await second.define("b1")).phases[0].reason == "state_unknown"
            assert second.freshness.current().applied_until is None

            cluster.repository.may_answer.set()
            await second.until_judged("b1", "failed_essays")

    async def test_a_replica_that_died_over_two(self, cluster: Cluster) -> None:
        """What the dead one had promised ages, and for half of the topics nobody promises more."""
        living, dying = cluster.replica(), cluster.replica()
        async with living.listening(), dying.listening():
            await until(lambda: _owns(living) and _owns(dying))
            await produce(cluster.servers, COMPLETED)
            await living.until_skipped("b1")
            await dying.until_skipped("b1")

            hanging = asyncio.Event()
            cluster.repository.may_answer = hanging
            await produce(cluster.servers, [failed(essay=f"e{n}") for n in range(1, 9)])

            await living.until_doubted("b1")
            await dying.until_doubted("b1")
            hanging.set()
            await until(lambda: living.freshness.behind_seconds < STALENESS_SECONDS)


async def test_a_steady_stream_keeps_the_answers_fresh(cluster: Cluster) -> None:
    """A partition that is written to all the time never gives an empty answer."""
    replica = cluster.replica()
    stopping = asyncio.Event()

    async def write() -> None:
        count = 0
        while not stopping.is_set():
            await produce(cluster.servers, [spellchecked("b2", f"e{count}")])
            count += 1

    async with replica.listening():
        writing = asyncio.create_task(write())
        await until(lambda: _is_fresh(replica))
        for _ in range(30):
            await asyncio.sleep(0.1)
            assert _is_fresh(replica)
        stopping.set()
        await writing


class TestTheLag:
    async def test_it_is_unknown_and_not_absent_while_there_is_no_broker(self) -> None:
        replica = Cluster(f"127.0.0.1:{find_free_port()}").replica()
        async with replica.listening():
            assert all(math.isnan(lag) for lag in _lags(replica))
            assert len(_lags(replica)) == len(consumed_topics())
            assert math.isnan(replica.sample(OLDEST) or 0)
            await replica.until_caused("No Kafka broker can be reached")

    async def test_it_is_unknown_again_when_the_broker_is_gone(
        self, own_kafka: KafkaBroker
    ) -> None:
        await create_consumed_topics(own_kafka.bootstrap_servers)
        replica = Cluster(own_kafka.bootstrap_servers).replica()
        async with replica.listening():
            await until(lambda: _is_zero(replica))
            own_kafka.kill()

            await until(lambda: all(math.isnan(lag) for lag in _lags(replica)))

    async def test_it_is_never_absent_in_a_scrape(self, cluster: Cluster) -> None:
        replica = cluster.replica()
        expected = len(consumed_topics())
        async with replica.listening():
            for _ in range(200):
                assert len(_lags(replica)) >= expected
                await asyncio.sleep(0.01)


def _is_zero(replica: Replica) -> bool:
    return _lags(replica) == [0] * (2 * len(consumed_topics()))


def _is_fresh(replica: Replica) -> bool:
    return replica.freshness.covers(replica.freshness.current().applied_until, None)


def _owns(replica: Replica) -> bool:
    return bool(replica.consumer.tell_freshness())


def _lags(replica: Replica) -> list[float]:
    families = {family.name: family for family in replica.registry.collect()}
    return [sample.value for sample in families[LAG].samples]
