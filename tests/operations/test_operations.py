"""The commands that look after a service, run beside one that runs."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import httpx
import pytest
from redis.asyncio import Redis

from tests.support.builders import registered, spellchecked
from tests.support.commands import forget_in_postgres, run, send_batch
from tests.support.neighbours import ask, send, sender
from tests.support.servers import plain_url
from tests.support.stack import Stack
from tests.support.waiting import eventually

PAUSE_SECONDS = 0.05  # between two events of a batch under load

pytestmark = pytest.mark.timeout(240)


async def lie_in_redis(stack: Stack, batch: str, completed: int) -> None:
    """Have both hashes say so."""
    key = f"bcs:batch:{batch}"
    async with Redis.from_url(stack.redis.url, decode_responses=True) as redis:
        kept = json.loads(await redis.hget(key, "summary") or "")
        kept["summary"]["steps"]["spellcheck"]["completed"] = completed
        # As compact as it was: a summary that is written otherwise is not believed.
        await redis.hset(key, "summary", json.dumps(kept, separators=(",", ":")))
        await redis.hset(f"batch:{batch}:pipeline_state", "spellcheck", str(completed))


async def test_an_audit_finds_what_differs_and_a_repair_mends_it(stack: Stack, batch: str) -> None:
    with stack.serve() as (_, address):
        await send_batch(stack, batch)
        before = await run(stack, "audit", "--json")
        await lie_in_redis(stack, batch, 7)
        await forget_in_postgres(stack, batch, "batch_registrations")
        assert (await ask(address, batch))["final_pipeline"] == ["spellcheck", "cj_assessment"]

        found = await run(stack, "audit", "--json")
        shown = await run(stack, "audit", batch)
        repaired = await run(stack, "audit", "--repair")
        after = await run(stack, "audit", "--json", batch)

        codes = (before.code, found.code, shown.code, repaired.code, after.code)
        assert codes == (0, 1, 1, 0, 0)
        differs, summary = (one for one in found.objects if one["type"] != "unmerged")
        assert differs["batch_id"] == batch
        assert {d["place"] for d in differs["differences"]} == {"redis", "postgres"}
        assert before.objects[-1]["audited"] > 0
        assert summary["audited"] == before.objects[-1]["audited"]  # other tests left theirs, too
        assert summary["differing"] == 1
        assert "counts of spellcheck" in shown.output
        assert "1 repaired" in repaired.output
        assert after.objects[-1]["differing"] == 0
        assert (await ask(address, batch))["final_pipeline"] == ["cj_assessment"]


@asynccontextmanager
async def load(stack: Stack, batches: list[str]) -> AsyncIterator[list[int]]:
    """Complete an essay of each batch after the other meanwhile; gives how many it were so far."""
    is_over, sent = asyncio.Event(), [0]

    async def send_on() -> None:
        async with sender(stack.kafka_bootstrap_servers) as producer:
            await send(producer, [registered(one, 2000) for one in batches])
            while not is_over.is_set():
                sent[0] += 1
                await send(producer, [spellchecked(one, f"essay-{sent[0]}") for one in batches])
                await asyncio.sleep(PAUSE_SECONDS)

    sending = asyncio.create_task(send_on())
    await eventually(lambda: _has_some(stack, batches), timeout_seconds=60, what="the first events")
    yield sent
    is_over.set()
    await sending


async def test_an_audit_under_load_finds_nothing(stack: Stack, batch: str) -> None:
    """What is in flight is no difference."""
    batches = [f"{batch}-{number}" for number in range(5)]

    with stack.serve():
        async with load(stack, batches):
            audits = [await run(stack, "audit", "--json") for _ in range(3)]

    assert [audit.code for audit in audits] == [0, 0, 0], audits
    assert audits[-1].objects[-1]["audited"] >= 5


async def test_a_repair_under_load_of_what_redis_loses_again_and_again_loses_nothing(
    stack: Stack, batch: str
) -> None:
    batches = [f"{batch}-{number}" for number in range(5)]

    with stack.serve():
        await send_batch(stack, batch)  # and nothing more of it
        async with load(stack, batches) as sent, Redis.from_url(stack.redis.url) as redis:
            for _ in range(3):
                await redis.delete(*[key async for key in redis.scan_iter(f"*{batch}*")])
                repaired = await run(stack, "audit", "--repair", "--json", batch, *batches)
                assert repaired.code in (0, 1), repaired  # 1: something waits all the time
                assert repaired.objects[-1]["differing"] == 0
                assert {"type": "merged", "batch_id": batch} in repaired.objects

        async def is_there() -> bool:
            return await stack.count_completed(batches) == dict.fromkeys(batches, sent[0])

        await eventually(is_there, timeout_seconds=60, what="all events in Postgres")
        after = await run(stack, "audit", "--repair", "--json", batch, *batches)
        assert (after.code, after.objects[-1]["differing"]) == (0, 0), after
        async with Redis.from_url(stack.redis.url, decode_responses=True) as redis:
            for one in batches:
                counts = await redis.hgetall(f"batch:{one}:pipeline_state")
                assert counts == {"spellcheck": str(sent[0])}


async def test_a_repair_fills_a_redis_that_was_emptied(stack: Stack, batch: str) -> None:
    with stack.serve() as (_, address):
        await send_batch(stack, batch)
        async with Redis.from_url(stack.redis.url, decode_responses=True) as redis:
            await redis.delete(*[key async for key in redis.scan_iter(f"*{batch}*")])

            audited = await run(stack, "audit", "--json", batch)
            shown = await run(stack, "audit", batch)
            assert not await redis.exists(f"batch:{batch}:pipeline_state")
            repaired = await run(stack, "audit", "--repair", "--json", batch)

            assert (audited.code, shown.code, repaired.code) == (0, 0, 0)
            assert audited.objects[0] == {"type": "unmerged", "batch_id": batch}
            assert audited.objects[-1]["unmerged"] == 1
            assert "1 to be merged when they are next needed" in shown.output
            assert {"type": "merged", "batch_id": batch} in repaired.objects
            assert await redis.hgetall(f"batch:{batch}:pipeline_state") == {"spellcheck": "10"}
            await redis.flushdb()

            everything = await run(stack, "audit", "--repair", "--json")

            assert everything.code == 0, everything
            assert everything.objects[-1]["unmerged"] == everything.objects[-1]["merged"] >= 1
            assert await redis.hgetall(f"batch:{batch}:pipeline_state") == {"spellcheck": "10"}
        assert (await ask(address, batch))["final_pipeline"] == ["cj_assessment"]
        assert (await run(stack, "audit", "--json")).objects[-1]["unmerged"] == 0


async def test_what_is_not_there_is_an_error(stack: Stack, batch: str) -> None:
    [topic] = {registered(batch, 10).topic}
    with stack.serve():
        await send_batch(stack, batch)
        unknown, named_too, no_topic, no_partition = [
            await run(stack, *command)
            for command in (
                ("audit", "no-such-batch"),
                ("audit", "--json", batch, "no-such-batch"),
                ("replay", "--from-time", "2025-01-01", "--topic", "no.such.topic"),
                ("replay", "--from-offset", f"{topic}:99:0"),
            )
        ]

    assert [e.code for e in (unknown, named_too, no_topic, no_partition)] == [2, 2, 2, 2]
    assert "Nobody has heard of batch no-such-batch." in unknown.output
    assert named_too.objects[0] == {"type": "unknown", "batch_id": "no-such-batch"}
    assert (named_too.objects[-1]["audited"], named_too.objects[-1]["differing"]) == (1, 0)
    assert "'no.such.topic' is no topic that is consumed" in no_topic.errors
    assert no_partition.errors == f"Error: There is no partition {topic}:99.\n"


async def test_an_audit_tells_the_count_that_follows_from_what_all_of_them_know(
    stack: Stack, batch: str
) -> None:
    """Postgres has lost an essay, and counts yet another number."""
    with stack.serve():
        await send_batch(stack, batch)
        connection = await asyncpg.connect(plain_url(stack.postgres.url))
        for statement in (
            "DELETE FROM essay_step_evidence WHERE batch_id = $1 AND essay_id = 'essay-5'",
            "UPDATE processing_pipeline_state SET completed_count = 7 WHERE batch_id = $1",
        ):
            await connection.execute(statement, batch)
        await connection.close()

        found = await run(stack, "audit", "--json", batch)

    assert found.code == 1
    counts = [d for d in found.objects[0]["differences"] if d["subject"] == "counts of spellcheck"]
    assert counts
    assert all(one["right"].startswith("10 completed") for one in counts), counts


async def test_a_batch_that_is_written_for_longer_than_it_is_kept_idle_is_no_drift(
    stack: Stack, batch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ttl_seconds, is_over = 4, asyncio.Event()
    monkeypatch.setenv("BCS_REDIS_TTL_SECONDS", str(ttl_seconds))

    async def write() -> None:
        """Say something of another essay twice a second, of none again."""
        async with sender(stack.kafka_bootstrap_servers) as producer:
            await send(producer, [registered(batch, 1000)])
            number = 0
            while not is_over.is_set():
                number += 1
                await send(producer, [spellchecked(batch, f"essay-{number}")])
                await asyncio.sleep(0.5)

    with stack.serve():
        writing = asyncio.create_task(write())
        await eventually(lambda: _has_some(stack, [batch]), timeout_seconds=60)
        await asyncio.sleep(1.5 * ttl_seconds)
        found = await run(stack, "audit", "--json", batch)
        is_over.set()
        await writing

    assert (found.code, found.objects[-1]["differing"]) == (0, 0), found


async def test_a_bad_command_line_and_an_absent_server_are_reported_in_a_line(stack: Stack) -> None:
    stack.redis.kill()

    absent, bad, wrong = await asyncio.gather(
        run(stack, "audit", "batch"),
        run(stack, "audit", "no/batch"),
        run(stack, "replay", "--topic", "t"),
    )

    assert [ended.code for ended in (absent, bad, wrong)] == [2, 2, 2]
    assert absent.errors == "Error: Redis cannot be reached or refuses.\n"
    assert "'no/batch' is no batch id" in bad.errors
    assert "Give --from-offset" in wrong.errors


async def test_a_running_service_shows_how_many_batches_differ(
    stack: Stack, batch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BCS_AUDIT_INTERVAL_SECONDS", "1")
    numbers = iter(range(1000))
    with stack.serve() as (_, address):
        await send_batch(stack, batch)
        await lie_in_redis(stack, batch, 5)

        async with sender(stack.kafka_bootstrap_servers) as producer, httpx.AsyncClient() as client:

            async def is_shown() -> bool:
                """Only what was written lately is looked at, so something is written."""
                await send(producer, [spellchecked(batch, f"unnamed-{next(numbers)}")])
                await asyncio.sleep(0.5)
                text = (await client.get(f"{address}/metrics")).text
                return "bcs_state_drift 1.0" in text

            await eventually(is_shown, timeout_seconds=60, what="the drift")


async def _has_some(stack: Stack, batches: list[str]) -> bool:
    return len(await stack.count_completed(batches)) == len(batches)
