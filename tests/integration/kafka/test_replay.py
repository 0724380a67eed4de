"""Moving the group back, with a real broker: while it runs, and while it does not."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from batch_conductor_service.consuming.policy import ConsumerPolicy
from batch_conductor_service.kafka_consumer import EventConsumer
from batch_conductor_service.operating.replaying import Replayer, ReplayResult
from common_core.topics import EventName, topic_name
from local_stack.kafka import KafkaBroker
from service_libs.exceptions import BrokerUnavailableError
from service_libs.kafka.group import KafkaConsumerGroup
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


async def test_the_earlier_offset_is_committed_so_that_a_crash_continues_the_replay(
    bench: Bench,
) -> None:
    async with running(bench.consumer()):
        await bench.consume_ten()
        bench.queue.extra_depth = 0
        await bench.requests.submit({(SPELLCHECK, 0): 4})
        await until(lambda: not bench.requests.waiting)

        assert await bench.committed() == 4

    async with running(bench.consumer()):
        await bench.until_committed(10)

    assert bench.read[:16] == [*range(10), *range(4, 10)]


async def test_what_was_in_flight_is_not_lost_by_a_rewind(bench: Bench) -> None:
    async with running(bench.consumer()):
        await bench.consume_ten()
        await bench.produce(11, 15)
        await until(lambda: len(bench.read) >= 15)

        await bench.requests.submit({(SPELLCHECK, 0): 4})
        await until(lambda: len(bench.read) >= 26)
        assert await bench.committed() == 4
        await bench.until_committed(15)

    assert bench.read == [*range(15), *range(4, 15)]


async def test_a_request_never_moves_the_group_forward(bench: Bench) -> None:
    async with running(bench.consumer()):
        await bench.consume_ten()
        await bench.produce(11, 15)
        await until(lambda: len(bench.read) >= 15)

        await bench.requests.submit({(SPELLCHECK, 0): 14, (SPELLCHECK, 1): 3})
        await until(lambda: not bench.requests.waiting)

        assert await bench.committed() == 10
        await bench.until_committed(15)

    assert set(bench.read) == set(range(15))


async def test_a_request_that_could_not_be_settled_is_not_obeyed_twice(bench: Bench) -> None:
    async with running(bench.consumer()):
        await bench.consume_ten()
        bench.requests.failures = 3
        await bench.requests.submit({(SPELLCHECK, 0): 4})
        await until(lambda: not bench.requests.waiting)
        await until(lambda: len(bench.read) >= 16)
        await bench.until_committed(10)

    assert bench.read == [*range(10), *range(4, 10)]


async def test_a_partition_that_is_not_assigned_waits_for_its_owner(bench: Bench) -> None:
    stranger = ("nobody.reads.this", 0)
    async with running(bench.consumer()):
        await bench.consume_ten()
        await bench.requests.submit({stranger: 0, (SPELLCHECK, 0): 4})
        await until(lambda: bench.requests.waiting == {stranger})


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
