"""Moving the group back, with a real broker: while it runs, and while it does not."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from batch_conductor_service.consuming.policy import ConsumerPolicy
from batch_conductor_service.kafka_consumer import EventConsumer
from common_core.topics import EventName, topic_name
from local_stack.kafka import KafkaBroker
from service_libs.exceptions import BrokerUnavailableError
from service_libs.kafka.group import KafkaConsumerGroup
from service_libs.kafka.replaying import Replayer, ReplayResult
from tests.support.builders import spellchecked
from tests.support.consuming import ControlledQueue, ControlledRepository
from tests.support.kafka import (
    committed_offsets,
    create_consumed_topics,
    produce,
    running,
    unique,
    until,
)
from tests.support.membership import consumer_with
from tests.support.replaying import MemoryReplayRequests

SPELLCHECK = topic_name(EventName.SPELLCHECK_PHASE_COMPLETED)
INTERVAL_SECONDS = 0.1


class Bench:
    """A broker with a group that has committed ten records of one partition."""

    def __init__(self, servers: str) -> None:
        self.servers, self.group_id = servers, unique("group")
        self.queue = ControlledQueue()
        self.repository = ControlledRepository(self.queue)
        self.requests = MemoryReplayRequests()
        self.group = KafkaConsumerGroup(servers, self.group_id, request_timeout_seconds=10)
        self.replayer = Replayer(self.group, self.requests)

    def consumer(self) -> EventConsumer:
        """Return a member of the group that can be asked."""
        policy = ConsumerPolicy(
            bootstrap_servers=self.servers,
            group_id=self.group_id,
            commit_interval_seconds=INTERVAL_SECONDS,
            drain_timeout_seconds=1,
            metadata_max_age_seconds=1,
            max_backoff_seconds=0.2,
        )
        return consumer_with(policy, self.repository, queue=self.queue, requests=self.requests)

    async def produce(self, first: int, last: int) -> None:
        """Produce one event for each essay."""
        events = [spellchecked("b1", f"e{number}") for number in range(first, last + 1)]
        await produce(self.servers, events, partition=0)

    async def committed(self) -> int | None:
        """Return what is committed of the partition."""
        return (await committed_offsets(self.servers, self.group_id, SPELLCHECK)).get(0)

    async def until_committed(self, offset: int) -> None:
        """Return when that is committed."""

        async def is_committed() -> bool:
            self.queue.hold_all()
            return await self.committed() == offset

        await until(is_committed)

    @property
    def read(self) -> list[int]:
        """The offsets read, in order."""
        return [position.offset for position in self.repository.applied]

    async def consume_ten(self) -> None:
        """Produce ten, and return when they are committed."""
        await self.produce(1, 10)
        await self.until_committed(10)


@pytest.fixture
async def bench(own_kafka: KafkaBroker) -> Bench:
    """A broker with all topics."""
    await create_consumed_topics(own_kafka.bootstrap_servers)
    return Bench(own_kafka.bootstrap_servers)


async def test_a_running_consumer_rewinds_when_it_is_asked_and_only_once(bench: Bench) -> None:
    async with running(bench.consumer()):
        await bench.consume_ten()
        plan = await bench.replayer.plan_from_offsets({(SPELLCHECK, 0): 4})

        result = await bench.replayer.carry_out(plan, wait_seconds=20)
        await until(lambda: len(bench.read) >= 16)
        await bench.until_committed(10)
        await asyncio.sleep(3 * INTERVAL_SECONDS)

    assert plan[0].records == 6
    assert result == ReplayResult(is_asked=True)
    assert bench.read == [*range(10), *range(4, 10)]


async def test_a_group_that_never_committed_has_nothing_to_replay(bench: Bench) -> None:
    await bench.produce(1, 3)
    past = datetime.now(UTC) - timedelta(hours=1)

    plan = await bench.replayer.plan_from_time(past, [SPELLCHECK])

    assert [one.partition for one in plan] == [(SPELLCHECK, 0), (SPELLCHECK, 1)]
    assert {one.new for one in plan} == {None}


async def test_a_time_gives_the_first_record_not_older(bench: Bench) -> None:
    await bench.produce(1, 3)
    past = datetime.now(UTC) - timedelta(hours=1)

    assert await bench.group.find_offsets([(SPELLCHECK, 0)], past) == {(SPELLCHECK, 0): 0}
    assert await bench.group.find_offsets([], past) == {}
    assert await bench.group.read_positions([]) == {}


async def test_a_broker_that_is_away_is_told() -> None:
    group = KafkaConsumerGroup("127.0.0.1:1", "group", request_timeout_seconds=1)

    with pytest.raises(BrokerUnavailableError):
        await group.list_partitions([SPELLCHECK])
