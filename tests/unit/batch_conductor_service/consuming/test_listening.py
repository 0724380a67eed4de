"""What answers are worth while a consumer does not get on."""

import asyncio
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from batch_conductor_service.implementations.memory.stand_ins import MemoryFreshnessBoard
from common_core.records import Partition
from common_core.topics import consumed_topics
from service_libs.kafka.policy import SourcePolicy
from service_libs.memory.broker import MemoryBroker
from tests.support.builders import RecordedEvent, registered, spellchecked
from tests.support.consuming import ControlledQueue, ControlledRepository
from tests.support.listening import Replica
from tests.support.loops import (
    SPELLCHECK,
    create_consumed_topics,
    garbage,
    produce,
    quick_policy,
    until,
)

OLDEST = "bcs_kafka_oldest_unread_record_age_seconds"
COMPLETED = [
    registered("b1", 2, essays=["e1", "e2"]),
    spellchecked("b1", "e1"),
    spellchecked("b1", "e2"),
]


def failed(batch: str = "b1", essay: str = "e2") -> RecordedEvent:
    """Return a failure that is later than all that was completed."""
    later = datetime.now(UTC) + timedelta(seconds=1)
    return spellchecked(batch, essay, status="failed", at=later)


class Squatter:
    """A member of the group that is given partitions, and reads none of them."""

    policy: SourcePolicy = quick_policy()
    topics: Sequence[str] = consumed_topics()
    is_closed = False

    async def give_up(self) -> None:
        """It has nothing to finish."""

    def take(self, partitions: Collection[Partition]) -> None:
        """Nobody reads them."""


class Cluster:
    """A broker, and the replicas of a group over one repository."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self.repository = ControlledRepository()
        self.board = MemoryFreshnessBoard()
        create_consumed_topics(self.broker)

    def replica(self, *, queue: ControlledQueue | None = None) -> Replica:
        return Replica(
            "", self.board, self.repository, group_id="group", queue=queue, memory=self.broker
        )

    def produce(self, *events: RecordedEvent) -> None:
        produce(self.broker, events)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


class TestAFailureThatWaitsInKafka:
    async def test_halted(self, cluster: Cluster) -> None:
        replica = cluster.replica()
        async with replica.listening() as consuming:
            cluster.produce(*COMPLETED)
            await replica.until_skipped("b1")

            cluster.produce(*[garbage(n) for n in range(40)])
            await asyncio.wait({consuming}, timeout=30)
            cluster.produce(failed())

            await replica.until_doubted("b1")
            assert replica.sample("bcs_consumer_state", state="halted") == 1
            assert replica.sample("bcs_consumer_state", state="consuming") == 0
            await until(lambda: _lag(replica) >= 40 + 1)
            await until(lambda: (replica.sample(OLDEST) or 0) > 0.05)
            [halted, *_] = replica.monitor.causes
            assert "cannot be applied" in halted
            assert SPELLCHECK in halted

    async def test_paused(self, cluster: Cluster) -> None:
        queue = ControlledQueue()
        replica = cluster.replica(queue=queue)
        async with replica.listening():
            cluster.produce(*COMPLETED)
            await replica.until_skipped("b1")

            queue.extra_depth = 100_000
            await until(lambda: replica.sample("bcs_consumer_state", state="paused") == 1)
            cluster.produce(failed())

            await replica.until_doubted("b1")
            await replica.until_caused("wait for Postgres")
            queue.extra_depth = 0
            await replica.until_judged("b1", "failed_essays")

    async def test_not_yet_caught_up_after_a_restart(self, cluster: Cluster) -> None:
        first = cluster.replica()
        async with first.listening():
            cluster.produce(*COMPLETED)
            await first.until_skipped("b1")
        cluster.produce(failed())
        cluster.repository.may_answer.clear()
        cluster.board = MemoryFreshnessBoard()  # it believes nothing from before its start

        second = cluster.replica()
        async with second.listening():
            await until(lambda: cluster.repository.calls > 1)
            assert (await second.define("b1")).phases[0].reason == "state_unknown"
            assert second.freshness.current().applied_until is None

            cluster.repository.may_answer.set()
            await second.until_judged("b1", "failed_essays")

    async def test_without_partitions(self, cluster: Cluster) -> None:
        replica = cluster.replica()
        async with replica.listening():
            cluster.produce(*COMPLETED)
            await replica.until_skipped("b1")

            group = cluster.broker.group("group")
            group.members = [*(Squatter() for _ in cluster.broker.logs), *group.members]
            group.rebalance()
            await until(lambda: replica.sample("bcs_consumer_state", state="standby") == 1)
            cluster.produce(failed())

            await replica.until_doubted("b1")
            await replica.until_caused("No partitions are assigned")

    async def test_a_replica_that_died_over_two(self, cluster: Cluster) -> None:
        """What the dead one had promised ages, and for half of the topics nobody promises more."""
        living, dying = cluster.replica(), cluster.replica()
        async with living.listening(), dying.listening():
            await until(lambda: _owns(living) and _owns(dying))
            cluster.produce(*COMPLETED)
            await living.until_skipped("b1")
            await dying.until_skipped("b1")

            hanging = asyncio.Event()
            cluster.repository.may_answer = hanging
            cluster.produce(*[failed(essay=f"e{n}") for n in range(1, 9)])

            await living.until_doubted("b1")
            await dying.until_doubted("b1")
            hanging.set()
            await until(lambda: living.freshness.behind_seconds < living.staleness_seconds)


def _owns(replica: Replica) -> bool:
    return bool(replica.consumer.promises())


def _lag(replica: Replica) -> float:
    families = {family.name: family for family in replica.registry.collect()}
    return sum(sample.value for sample in families["bcs_kafka_consumer_lag"].samples)
