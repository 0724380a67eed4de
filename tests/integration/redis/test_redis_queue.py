"""The persistence queue: what is below its watermark is in Postgres, whatever happened."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from batch_conductor_service.implementations.redis.queue import RedisPersistenceQueue
from service_libs.exceptions import StoreUnavailableError
from service_libs.redis.connections import RedisPolicy
from tests.support.builders import evidence, update
from tests.support.repositories import RedisSetup

STREAM = "bcs:persistence:queue"


@pytest.fixture
async def hasty(redis_url: str) -> AsyncIterator[RedisPersistenceQueue]:
    """A worker that takes over at once what others hold."""
    opened = RedisPersistenceQueue(
        redis_url, RedisPolicy(), worker_name="worker-2", takeover_seconds=0
    )
    yield opened
    await opened.close()


async def enqueue(setup: RedisSetup, count: int) -> list[str]:
    """Apply updates of as many batches, and return the ids of their entries."""
    said = [update(f"batch-{n}", evidence("essay-1"), position=("t", 0, n)) for n in range(count)]
    return [entry_id for entry_id in await setup.repository.apply(said) if entry_id]


async def test_an_update_comes_out_as_it_went_in(
    setup: RedisSetup, queue: RedisPersistenceQueue
) -> None:
    said = update("batch", evidence("essay-1", storage_id="text"))
    [entry_id] = await setup.repository.apply([said])

    [entry] = await queue.read(10, block_seconds=0)

    assert (entry.entry_id, entry.update) == (entry_id, said)


async def test_an_event_that_changes_nothing_in_redis_is_queued_all_the_same(
    setup: RedisSetup, queue: RedisPersistenceQueue
) -> None:
    """Redis may know it while Postgres never got it."""
    said = update("batch", evidence("essay-1"))
    await setup.repository.apply([said])
    await setup.repository.apply([said])

    assert [e.update for e in await queue.read(10, block_seconds=0)] == [said, said]


async def test_the_watermark_follows_acknowledgement_and_stops_at_a_gap(
    setup: RedisSetup, queue: RedisPersistenceQueue
) -> None:
    ids = await enqueue(setup, 4)
    before = await queue.get_watermark()
    await queue.read(3, block_seconds=0)
    await queue.acknowledge([ids[0], ids[2]])

    mark = await queue.get_watermark()

    assert [before.holds(entry_id) for entry_id in ids] == [False] * 4
    assert [mark.holds(entry_id) for entry_id in ids] == [True, False, False, False]


async def test_with_nothing_pending_all_that_was_delivered_is_held(
    setup: RedisSetup, queue: RedisPersistenceQueue
) -> None:
    ids = await enqueue(setup, 3)
    await queue.read(2, block_seconds=0)
    await queue.acknowledge(ids[:2])

    mark = await queue.get_watermark()

    assert [mark.holds(entry_id) for entry_id in ids] == [True, True, False]


@pytest.mark.parametrize("lost", [STREAM, "bcs:persistence:epoch", "everything"])
async def test_a_queue_that_was_lost_gets_another_generation(
    setup: RedisSetup, queue: RedisPersistenceQueue, redis: Redis, lost: str
) -> None:
    await enqueue(setup, 1)
    before = await queue.get_watermark()
    await (redis.flushall() if lost == "everything" else redis.delete(lost))
    await enqueue(setup, 1)

    after = await queue.get_watermark()

    assert after.generation != before.generation


async def test_a_queue_that_is_left_alone_keeps_its_generation(
    setup: RedisSetup, queue: RedisPersistenceQueue, hasty: RedisPersistenceQueue
) -> None:
    before = await queue.get_watermark()
    await enqueue(setup, 2)
    await hasty.read(10, block_seconds=0)

    assert (await queue.get_watermark()).generation == before.generation


async def test_what_a_dead_worker_held_is_taken_over(
    setup: RedisSetup, queue: RedisPersistenceQueue, hasty: RedisPersistenceQueue
) -> None:
    ids = await enqueue(setup, 2)
    await queue.read(10, block_seconds=0)

    taken = await hasty.read(10, block_seconds=0)

    assert [entry.entry_id for entry in taken] == ids


async def test_what_a_live_worker_holds_is_not_taken(
    setup: RedisSetup, queue: RedisPersistenceQueue
) -> None:
    await enqueue(setup, 2)
    await queue.read(10, block_seconds=0)

    assert list(await queue.read(10, block_seconds=0.1)) == []


async def test_the_backlog_tells_depth_and_age(
    setup: RedisSetup, queue: RedisPersistenceQueue
) -> None:
    empty = await queue.get_backlog()
    ids = await enqueue(setup, 3)
    full = await queue.get_backlog()
    await queue.read(10, block_seconds=0)
    await queue.acknowledge(ids)
    drained = await queue.get_backlog()

    assert (empty.depth, empty.oldest_age_seconds) == (0, 0)
    assert full.depth == 3
    assert 0 <= full.oldest_age_seconds < 10
    assert drained == empty


async def test_an_entry_that_cannot_be_read_comes_with_its_bytes(
    queue: RedisPersistenceQueue, redis: Redis
) -> None:
    await redis.xadd(STREAM, {"update": b"\xffnot json"})
    await redis.xadd(STREAM, {"something": "else"})

    entries = await queue.read(10, block_seconds=0)

    assert [(e.update, e.payload) for e in entries] == [(None, b"\xffnot json"), (None, b"")]


async def test_a_worker_that_leaves_with_empty_hands_is_forgotten(
    setup: RedisSetup, redis_url: str, redis: Redis
) -> None:
    ids = await enqueue(setup, 1)
    queue = RedisPersistenceQueue(redis_url, RedisPolicy(), worker_name="w", takeover_seconds=30)
    await queue.read(10, block_seconds=0)
    await queue.acknowledge(ids)
    await queue.close()

    assert await redis.xinfo_consumers(STREAM, "bcs:persistence:workers") == []


async def test_a_worker_that_leaves_with_an_entry_in_hand_stays_in_the_group(
    setup: RedisSetup, redis_url: str, hasty: RedisPersistenceQueue
) -> None:
    """Removed with it, the entry would be nobody's, and the watermark would pass it."""
    ids = await enqueue(setup, 1)
    queue = RedisPersistenceQueue(redis_url, RedisPolicy(), worker_name="w", takeover_seconds=30)
    await queue.read(10, block_seconds=0)
    await queue.close()

    assert not (await hasty.get_watermark()).holds(ids[0])
    assert [entry.entry_id for entry in await hasty.read(10, block_seconds=0)] == ids


async def test_a_worker_begins_with_what_a_dead_one_of_its_name_had_in_hand(
    setup: RedisSetup, redis_url: str, queue: RedisPersistenceQueue
) -> None:
    """However long others would wait for that one; and only once: later all in hand is its own."""
    ids = await enqueue(setup, 5)
    await queue.read(3, block_seconds=0)
    successor = RedisPersistenceQueue(
        redis_url, RedisPolicy(), worker_name="worker-1", takeover_seconds=30
    )

    reads = [await successor.read(2, block_seconds=0) for _ in range(4)]
    await successor.close()

    left, more_left, new, none = [[entry.entry_id for entry in read] for read in reads]
    assert (left, more_left) == (ids[:2], ids[2:3])
    assert (new, none) == (ids[3:], [])


async def test_what_is_gone_from_the_stream_is_not_inherited(
    setup: RedisSetup, redis_url: str, redis: Redis, queue: RedisPersistenceQueue
) -> None:
    ids = await enqueue(setup, 3)
    await queue.read(3, block_seconds=0)
    await redis.xdel(STREAM, ids[0], ids[1])
    successor = RedisPersistenceQueue(
        redis_url, RedisPolicy(), worker_name="worker-1", takeover_seconds=30
    )

    read = await successor.read(2, block_seconds=0)
    await successor.close()

    assert [entry.entry_id for entry in read] == ids[2:]


async def test_who_never_read_takes_no_worker_of_its_name_out_of_the_group(
    setup: RedisSetup, redis_url: str, redis: Redis, queue: RedisPersistenceQueue
) -> None:
    ids = await enqueue(setup, 1)
    await queue.read(1, block_seconds=0)
    await queue.acknowledge(ids)
    onlooker = RedisPersistenceQueue(
        redis_url, RedisPolicy(), worker_name="worker-1", takeover_seconds=30
    )
    await onlooker.get_backlog()
    await onlooker.close()

    [consumer] = await redis.xinfo_consumers(STREAM, "bcs:persistence:workers")
    assert consumer["name"] in ("worker-1", b"worker-1")


async def test_an_acknowledgement_from_an_earlier_life_forgets_nothing(
    setup: RedisSetup, queue: RedisPersistenceQueue, hasty: RedisPersistenceQueue, redis: Redis
) -> None:
    await enqueue(setup, 1)
    [entry] = await queue.read(10, block_seconds=0)
    await redis.flushall()
    await hasty.get_watermark()
    await redis.xadd(STREAM, {"update": "another"}, id=entry.entry_id)
    await hasty.read(10, block_seconds=0)

    await queue.acknowledge([entry.entry_id])

    assert await redis.xlen(STREAM) == 1
    assert not (await hasty.get_watermark()).holds(entry.entry_id)


async def test_what_waits_is_counted_by_batch_and_only_once(
    setup: RedisSetup, queue: RedisPersistenceQueue, hasty: RedisPersistenceQueue, redis: Redis
) -> None:
    ids = [*await enqueue(setup, 2), *await enqueue(setup, 1)]
    waiting = await redis.hgetall("bcs:persistence:waiting")
    await queue.read(10, block_seconds=0)
    await hasty.read(10, block_seconds=0)  # takes over what the other is still at
    await queue.acknowledge(ids[1:])
    await hasty.acknowledge(ids[1:])

    assert waiting == {"batch-0": "2", "batch-1": "1", "*": "3"}
    assert await redis.hgetall("bcs:persistence:waiting") == {"batch-0": "1", "*": "1"}


async def test_without_redis_every_call_says_so() -> None:
    policy = RedisPolicy(timeout_seconds=0.5)
    queue = RedisPersistenceQueue(
        "redis://127.0.0.1:1", policy, worker_name="w", takeover_seconds=30
    )
    for call in (
        queue.read(1, block_seconds=0),
        queue.acknowledge(["1-1"]),
        queue.get_watermark(),
        queue.get_backlog(),
    ):
        with pytest.raises(StoreUnavailableError):
            await call
    await queue.close()
