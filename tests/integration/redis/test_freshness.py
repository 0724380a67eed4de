"""What replicas promise each other, in a real Redis."""

from datetime import timedelta

import pytest
from redis.asyncio import Redis

from batch_conductor_service.domain.freshness import PartitionFreshness
from batch_conductor_service.implementations.redis.freshness import RedisFreshnessBoard
from batch_conductor_service.implementations.redis.queue import RedisPersistenceQueue
from tests.support.builders import NOON
from tests.support.repositories import RedisSetup

ONE, OTHER = ("topic.v1", 0), ("topic.v1", 11)


def promise(seconds: float = 0, *, queue: str | None = None) -> PartitionFreshness:
    until = NOON + timedelta(seconds=seconds)
    archived = None if queue else until
    return PartitionFreshness(applied_until=until, archived_until=archived, queue=queue)


@pytest.fixture
async def boards(
    setup: RedisSetup, redis: Redis
) -> tuple[RedisFreshnessBoard, RedisFreshnessBoard]:
    """Those of two replicas that have looked before."""
    await redis.delete("bcs:freshness")
    boards = RedisFreshnessBoard(setup.client), RedisFreshnessBoard(setup.client)
    for board in boards:
        assert (await board.exchange({})).partitions == {}
    return boards


Boards = tuple[RedisFreshnessBoard, RedisFreshnessBoard]


async def test_what_one_writes_both_know_at_once(boards: Boards) -> None:
    one, other = boards

    assert (await one.exchange({ONE: promise(1)})).partitions == {ONE: promise(1)}
    assert (await other.exchange({OTHER: promise(2)})).partitions == {
        ONE: promise(1),
        OTHER: promise(2),
    }


async def test_it_takes_one_round_trip(boards: Boards, redis: Redis) -> None:
    before = (await redis.info("stats"))["total_commands_processed"]

    await boards[0].exchange({ONE: promise()})

    # MULTI, EXEC, the hash read, written and renewed, the queue, and twice who the server is.
    after = (await redis.info("stats"))["total_commands_processed"]
    assert after - before <= 10


async def test_the_promises_of_a_dead_replica_stay_and_age(boards: Boards) -> None:
    one, other = boards
    await one.exchange({ONE: promise(1)})

    for _ in range(3):
        assert (await other.exchange({})).partitions[ONE] == promise(1)


async def test_what_was_there_before_the_start_does_not_count(
    boards: Boards, setup: RedisSetup
) -> None:
    one, _ = boards
    await one.exchange({ONE: promise(1), OTHER: promise(1)})
    late = RedisFreshnessBoard(setup.client)
    assert (await late.exchange({})).partitions == {}

    await one.exchange({ONE: promise(1)})  # the same promise, but a new one

    assert (await late.exchange({})).partitions == {ONE: promise(1)}


async def test_our_own_promises_count_from_the_first_on(setup: RedisSetup) -> None:
    assert (await RedisFreshnessBoard(setup.client).exchange({ONE: promise()})).partitions == {
        ONE: promise()
    }


async def test_a_promise_dies_with_the_queue_that_it_rests_on(
    boards: Boards, queue: RedisPersistenceQueue, redis: Redis
) -> None:
    """Redis came back empty: what waited in the queue is lost, and has to be read again."""
    one, other = boards
    generation = (await queue.get_watermark()).generation
    resting = promise(1, queue=generation)
    await one.exchange({ONE: resting, OTHER: promise(1)})
    assert (await other.exchange({})).partitions[ONE] == resting

    await redis.delete("bcs:persistence:epoch", "bcs:persistence:queue")
    await queue.get_watermark()

    assert (await other.exchange({})).partitions.keys() == {OTHER}
    assert (await one.exchange({ONE: resting})).partitions.keys() == {OTHER}


async def test_what_cannot_be_read_is_as_good_as_unknown(boards: Boards, redis: Redis) -> None:
    await redis.hset("bcs:freshness", "topic.v1:0", "1")
    await redis.hset("bcs:freshness", "topic.v1:1", "no JSON")
    await redis.hset("bcs:freshness", "topic.v1:2", '{"queue": null, "applied": "x"}')

    assert (await boards[0].exchange({})).partitions == {}


async def test_it_is_gone_an_hour_after_the_last_replica(boards: Boards, redis: Redis) -> None:
    await boards[0].exchange({ONE: promise()})

    assert 0 < await redis.ttl("bcs:freshness") <= 3600
