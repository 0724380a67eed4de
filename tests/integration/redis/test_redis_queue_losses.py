"""Entries that are lost from the queue, skipped, or of another version: none is taken for held."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from batch_conductor_service.implementations.postgres.batch_state import (
    PostgresBatchStateRepository,
)
from batch_conductor_service.implementations.redis.queue import RedisPersistenceQueue
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.models import BatchId, StepName
from batch_conductor_service.persisting.codec import PAYLOAD_VERSION, encode_update
from batch_conductor_service.persisting.worker import PersistenceWorker, WorkPolicy
from service_libs.redis.connections import RedisPolicy
from tests.support.builders import essay_names, evidence, update
from tests.support.consuming import ControlledDlq
from tests.support.repositories import RedisSetup

STREAM, GROUP = "bcs:persistence:queue", "bcs:persistence:workers"
SPELLCHECK = StepName("spellcheck")

Loss = Callable[[Redis, Sequence[str]], Awaitable[object]]


@pytest.fixture
async def hasty(redis_url: str) -> AsyncIterator[RedisPersistenceQueue]:
    """A worker that takes over at once what others hold."""
    opened = RedisPersistenceQueue(
        redis_url, RedisPolicy(), worker_name="worker-2", takeover_seconds=0
    )
    yield opened
    await opened.close()


async def enqueue(setup: RedisSetup, count: int) -> list[str]:
    """Apply one update for each essay, and return the ids of their entries."""
    said = [update("batch", evidence(essay)) for essay in essay_names(count)]
    return [entry_id for entry_id in await setup.repository.apply(said) if entry_id]


def command(*parts: str | int) -> Loss:
    """Return the loss that the command makes; `first`, `middle`, `last` stand for entries."""

    async def lose(redis: Redis, ids: Sequence[str]) -> None:
        names: dict[str | int, str] = {
            "first": ids[0],
            "middle": ids[len(ids) // 2],
            "last": ids[-1],
        }
        arguments = (names.get(part, part) for part in parts)
        await redis.execute_command(*arguments)

    return lose


async def make_the_group_again_at_the_end(redis: Redis, _: Sequence[str]) -> None:
    await redis.xgroup_destroy(STREAM, GROUP)
    await redis.xgroup_create(STREAM, GROUP, "$")


LOST = {
    "trimmed-by-one": command("XTRIM", STREAM, "MAXLEN", 3),
    "trimmed-to-nothing": command("XTRIM", STREAM, "MAXLEN", 0),
    "one-deleted-in-the-middle": command("XDEL", STREAM, "middle"),
    "the-last-deleted": command("XDEL", STREAM, "last"),
    "all-deleted": command("DEL", STREAM),
}
MOVED = {
    "to-the-end": command("XGROUP", "SETID", STREAM, GROUP, "$"),
    "past-one": command("XGROUP", "SETID", STREAM, GROUP, "first"),
    "made-again-at-the-end": make_the_group_again_at_the_end,
    "destroyed": command("XGROUP", "DESTROY", STREAM, GROUP),
}


@pytest.mark.parametrize("in_hand", [0, 2, 4], ids=["undelivered", "partly-in-hand", "in-hand"])
@pytest.mark.parametrize("lose", LOST.values(), ids=LOST)
async def test_a_queue_that_lost_entries_is_another_queue(
    setup: RedisSetup, queue: RedisPersistenceQueue, redis: Redis, lose: Loss, in_hand: int
) -> None:
    before = await queue.get_watermark()
    ids = await enqueue(setup, 4)
    if in_hand:
        await queue.read(in_hand, block_seconds=0)
    assert (await queue.get_watermark()).generation == before.generation

    await lose(redis, ids)
    after = await queue.get_watermark()

    assert after.generation != before.generation
    assert (await queue.get_watermark()).generation == after.generation


async def test_a_loss_is_seen_though_as_many_entries_have_come_since(
    setup: RedisSetup, queue: RedisPersistenceQueue, redis: Redis
) -> None:
    before = await queue.get_watermark()
    ids = await enqueue(setup, 2)
    await redis.xdel(STREAM, *ids)
    await enqueue(setup, 2)

    assert (await queue.get_watermark()).generation != before.generation


@pytest.mark.parametrize("move", MOVED.values(), ids=MOVED)
async def test_entries_that_a_group_was_moved_past_are_delivered_and_not_held(
    setup: RedisSetup, queue: RedisPersistenceQueue, redis: Redis, move: Loss
) -> None:
    before = await queue.get_watermark()
    ids = await enqueue(setup, 4)
    await move(redis, ids)

    after = await queue.get_watermark()
    delivered = [entry.entry_id for entry in await queue.read(9, block_seconds=0)]

    assert after.generation != before.generation
    assert not any(after.holds(entry_id) for entry_id in ids)
    assert delivered == ids


async def test_what_a_removed_worker_had_in_hand_is_delivered_when_it_is_the_first(
    setup: RedisSetup, queue: RedisPersistenceQueue, hasty: RedisPersistenceQueue, redis: Redis
) -> None:
    """Nobody has it, and it is not held; what others have in hand before it holds the mark back."""
    ids = await enqueue(setup, 3)
    await queue.read(1, block_seconds=0)
    await hasty.read(1, block_seconds=0)  # takes the first
    await queue.read(1, block_seconds=0)
    await redis.xgroup_delconsumer(STREAM, GROUP, "worker-1")
    await hasty.acknowledge(ids[:1])

    mark = await hasty.get_watermark()
    delivered = [entry.entry_id for entry in await hasty.read(9, block_seconds=0)]

    assert [mark.holds(entry_id) for entry_id in ids[1:]] == [False, False]
    assert set(delivered) == set(ids[1:])


class TestOfAnotherVersion:
    """A worker of that version takes it over; until then it waits, and nothing is misread."""

    PAYLOAD = encode_update(update("batch", evidence("essay-1"))).replace(
        b'"v":%d' % PAYLOAD_VERSION, b'"v":%d' % (PAYLOAD_VERSION + 1)
    )

    @pytest.fixture(autouse=True)
    async def foreign(self, redis: Redis) -> str:
        return str(await redis.xadd(STREAM, {"batch": "batch", "update": self.PAYLOAD}))

    async def test_it_stays_in_the_queue_and_what_follows_is_persisted(
        self,
        setup: RedisSetup,
        archive: PostgresBatchStateRepository,
        queue: RedisPersistenceQueue,
        redis: Redis,
        foreign: str,
    ) -> None:
        ids = await enqueue(setup, 3)
        dlq = ControlledDlq()
        metrics = Metrics(CollectorRegistry())
        await PersistenceWorker(queue, archive, dlq, metrics, WorkPolicy(max_entries=50)).drain()

        summary = (await archive.get_summary(BatchId("batch"))).summary
        assert summary.steps[SPELLCHECK].completed == 3
        assert dlq.letters == []
        assert [entry_id for entry_id, _ in await redis.xrange(STREAM) or ()] == [foreign]
        mark = await queue.get_watermark()
        assert not any(mark.holds(entry_id) for entry_id in (foreign, *ids))

    async def test_a_worker_that_looks_again_gives_it_to_nobody(
        self, queue: RedisPersistenceQueue, hasty: RedisPersistenceQueue, redis: Redis
    ) -> None:
        for worker in (queue, hasty, hasty):
            assert list(await worker.read(9, block_seconds=0)) == []

        assert await redis.xlen(STREAM) == 1
        assert (await redis.xpending(STREAM, GROUP))["pending"] == 1

    async def test_its_batch_is_not_whole_while_it_waits(
        self,
        setup: RedisSetup,
        queue: RedisPersistenceQueue,
    ) -> None:
        """It may be a failure, and Redis may have lost the batch."""
        await queue.get_watermark()

        summary = (await setup.repository.get_summary(BatchId("batch"))).summary

        assert not summary.is_whole
