"""What stands in Redis: a contract with whoever reads it, and with earlier versions."""

import json

import pytest
from redis.asyncio import Redis

from batch_conductor_service.domain.resolution import judge_step
from batch_conductor_service.implementations.postgres.batch_state import (
    PostgresBatchStateRepository,
)
from batch_conductor_service.implementations.redis.queue import RedisPersistenceQueue
from batch_conductor_service.models import BatchId, StepName
from tests.support.builders import (
    DAY,
    essay_names,
    evidence,
    minutes,
    outcome,
    registration,
    update,
)
from tests.support.repositories import IN_LANES, RedisSetup, redis_repository

BATCH = BatchId("batch")
SPELLCHECK = StepName("spellcheck")


@pytest.mark.parametrize("policy", [None, IN_LANES], ids=["by-watch", "in-lanes"])
async def test_the_essay_document_has_the_fields_of_the_contract(
    redis_url: str, redis: Redis, policy: None
) -> None:
    said = evidence("essay-1", at=minutes(1), storage_id="text-1")
    failed = evidence("essay-1", "failed", minutes(2), step="nlp")
    async with redis_repository(redis_url, policy=policy) as setup:
        await setup.repository.apply([update("batch", said, failed)])

    document = json.loads(await redis.get("bcs:essay_state:batch:essay-1") or "")

    assert document["essay_id"] == "essay-1"
    assert document["batch_id"] == "batch"
    assert document["completed_steps"] == ["spellcheck"]
    assert document["step_metadata"]["spellcheck"] == {
        "status": "completed",
        "timestamp": f"{DAY}T12:01:00.000000Z",
        "storage_id": "text-1",
        "sources": {
            "": {"status": "completed", "at": f"{DAY}T12:01:00.000000Z", "storage_id": "text-1"}
        },
    }
    assert document["step_metadata"]["nlp"]["storage_id"] is None
    assert document["created_at"] == document["last_updated"]


async def test_what_is_written_is_noted_the_latest_last(redis_url: str) -> None:
    async with redis_repository(redis_url) as setup:
        await setup.repository.apply([update(one, evidence("essay-1")) for one in ("a", "b")])
        await setup.repository.get_summary(BatchId("c"))
        await setup.repository.apply([update("a", evidence("essay-2"))])

    assert list(setup.recent) == ["a", "b", "a"]


@pytest.mark.parametrize("policy", [None, IN_LANES], ids=["by-watch", "in-lanes"])
async def test_an_essay_without_a_completed_step_has_an_empty_list(
    redis_url: str, redis: Redis, policy: None
) -> None:
    async with redis_repository(redis_url, policy=policy) as setup:
        await setup.repository.apply([update("batch", evidence("essay-1", "failed"))])

    document = json.loads(await redis.get("bcs:essay_state:batch:essay-1") or "")

    assert document["completed_steps"] == []


async def test_counts_stand_in_the_hash_of_the_contract(setup: RedisSetup, redis: Redis) -> None:
    said = [evidence(essay) for essay in essay_names(3)]
    await setup.repository.apply([update("batch", *said, evidence("essay-1", step="nlp"))])

    counts = await redis.hgetall("batch:batch:pipeline_state")

    assert counts == {"spellcheck": "3", "nlp": "1"}


async def test_every_key_of_a_batch_lives_as_long_as_set_and_is_renewed(
    setup: RedisSetup, redis: Redis
) -> None:
    said = update("batch", evidence("essay-1"), outcome(), registration(1, essays=essay_names(1)))
    await setup.repository.apply([said])
    batch_keys = [key async for key in redis.scan_iter("*batch*")]
    for key in batch_keys:
        await redis.expire(key, 5)
    await setup.repository.apply([update("batch", evidence("essay-1", at=minutes(1)))])

    assert len(batch_keys) == 3
    for key in batch_keys:
        assert 590 <= await redis.ttl(key) <= 600, key


class TestDocumentsOfEarlierVersions:
    """They have `batch_id`, `completed_steps`, `step_metadata` and `created_at`, and no index."""

    @pytest.fixture(autouse=True)
    async def documents(self, redis: Redis) -> None:
        for essay in essay_names(9):
            await self.write(redis, essay, {"spellcheck": {}})
        await self.write(redis, "essay-10", {"spellcheck": {"status": "failed"}})
        await redis.hset("batch:batch:pipeline_state", mapping={"spellcheck": 10})

    @staticmethod
    async def write(redis: Redis, essay: str, metadata: dict[str, dict[str, str]]) -> None:
        document = {
            "batch_id": "batch",
            "completed_steps": ["spellcheck"],
            "step_metadata": metadata,
            "created_at": "2025-05-01T10:00:00+00:00",
        }
        await redis.set(f"bcs:essay_state:batch:{essay}", json.dumps(document))

    async def test_they_count_but_for_the_failed_one(self, setup: RedisSetup) -> None:
        """Earlier versions counted failed essays as done."""
        summary = (await setup.repository.get_summary(BATCH)).summary

        assert (summary.steps[SPELLCHECK].completed, summary.steps[SPELLCHECK].failed) == (9, 1)
        assert not judge_step(summary, SPELLCHECK, 10).is_complete

    async def test_events_go_on_from_them(self, setup: RedisSetup) -> None:
        registered = registration(10, essays=essay_names(10))
        retried = evidence("essay-10", at=minutes(1))
        await setup.repository.apply([update("batch", registered, retried)])

        summary = (await setup.repository.get_summary(BATCH)).summary

        assert summary.steps[SPELLCHECK].completed == 10
        assert judge_step(summary, SPELLCHECK).is_complete

    async def test_what_they_say_reaches_postgres(
        self,
        setup: RedisSetup,
        queue: RedisPersistenceQueue,
        archive: PostgresBatchStateRepository,
    ) -> None:
        await setup.repository.get_summary(BATCH)
        queued = await queue.read(10, block_seconds=0)
        await archive.apply([entry.update for entry in queued if entry.update])

        step = (await archive.get_summary(BATCH)).summary.steps[SPELLCHECK]

        assert (step.completed, step.failed) == (9, 1)

    async def test_a_writer_in_a_lane_takes_them_over_as_well(self, redis_url: str) -> None:
        async with redis_repository(redis_url, policy=IN_LANES) as setup:
            await setup.repository.apply([update("batch", evidence("essay-10", at=minutes(1)))])
            summary = (await setup.repository.get_summary(BATCH)).summary

        assert summary.steps[SPELLCHECK].completed == 10
