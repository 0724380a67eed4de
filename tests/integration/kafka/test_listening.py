"""What a real broker shows of how far it is read, and of the lag."""

import asyncio
import math

import pytest

from batch_conductor_service.implementations.memory.stand_ins import MemoryFreshnessBoard
from common_core.topics import consumed_topics
from local_stack.kafka import KafkaBroker
from local_stack.ports import find_free_port
from tests.support.builders import spellchecked
from tests.support.consuming import ControlledRepository
from tests.support.kafka import create_consumed_topics, produce, unique, until
from tests.support.listening import Replica

LAG = "bcs_kafka_consumer_lag"
OLDEST = "bcs_kafka_oldest_unread_record_age_seconds"


class Cluster:
    """A broker, and the replicas of a group over one repository."""

    def __init__(self, servers: str) -> None:
        self.servers = servers
        self.repository = ControlledRepository()
        self.board = MemoryFreshnessBoard()
        self.group_id = unique("group")

    def replica(self) -> Replica:
        return Replica(self.servers, self.board, self.repository, group_id=self.group_id)


@pytest.fixture
async def cluster(own_kafka: KafkaBroker) -> Cluster:
    await create_consumed_topics(own_kafka.bootstrap_servers)
    return Cluster(own_kafka.bootstrap_servers)


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


def _lags(replica: Replica) -> list[float]:
    families = {family.name: family for family in replica.registry.collect()}
    return [sample.value for sample in families[LAG].samples]
