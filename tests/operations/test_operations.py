"""The commands that look after a service, run beside one that runs."""

import asyncio
import json
import os
import sys
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import httpx
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from redis.asyncio import Redis

from common_core.topics import consumed_topics
from service_libs.kafka.group import KafkaConsumerGroup
from tests.support.builders import NOON, essay_names, registered, spellchecked
from tests.support.neighbours import ask, send, sender
from tests.support.servers import plain_url
from tests.support.stack import Stack
from tests.support.waiting import eventually

ESSAYS = essay_names(10)
SINCE = (NOON - timedelta(hours=1)).isoformat()  # before all records: they are as old as events
PAUSE_SECONDS = 0.05  # between two events of a batch under load
TABLES = (
    "essay_step_evidence",
    "phase_outcomes",
    "batch_registrations",
    "processing_pipeline_state",
)

pytestmark = pytest.mark.timeout(240)


class Ended(NamedTuple):
    """What a command gave."""

    code: int
    output: str
    errors: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The lines of JSON."""
        return [json.loads(line) for line in self.output.splitlines()]


async def run(stack: Stack, *arguments: str) -> Ended:
    """Run `bcs` with the settings of the stack, as an operator does."""
    settings = {
        "BCS_REDIS_URL": stack.redis.url,
        "BCS_DATABASE_URL": stack.postgres.url,
        "BCS_KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap_servers,
        "BCS_KAFKA_CONSUMER_GROUP_ID": stack.group_id,
        "COLUMNS": "200",
    }
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("bcs"),
        *arguments,
        env=dict(os.environ) | settings,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return Ended(process.returncode or 0, output.decode(), errors.decode())


@pytest.fixture
def batch() -> str:
    return f"batch-{uuid.uuid4().hex}"


async def send_batch(stack: Stack, batch: str) -> None:
    """Send all events of a batch, and return when Postgres has them."""
    async with sender(stack.kafka_bootstrap_servers) as producer:
        events = [registered(batch, 10), *(spellchecked(batch, essay) for essay in ESSAYS)]
        await send(producer, events)
    await wait_for(stack, batch)


async def wait_for(stack: Stack, batch: str) -> None:
    """Return when Postgres has the ten completions of the batch."""

    async def is_there() -> bool:
        return await stack.count_completed([batch]) == {batch: 10}

    await eventually(is_there, timeout_seconds=60, what="the batch in Postgres")


async def lie_in_redis(stack: Stack, batch: str, completed: int) -> None:
    """Have both hashes say so."""
    key = f"bcs:batch:{batch}"
    async with Redis.from_url(stack.redis.url, decode_responses=True) as redis:
        summary = json.loads(await redis.hget(key, "summary") or "")
        summary["steps"]["spellcheck"]["counts"][0] = completed
        await redis.hset(key, "summary", json.dumps(summary))
        await redis.hset(f"batch:{batch}:pipeline_state", "spellcheck", str(completed))


async def forget_in_postgres(stack: Stack, batch: str, *tables: str) -> None:
    """Delete the rows of a batch."""
    connection = await asyncpg.connect(plain_url(stack.postgres.url))
    try:
        for table in tables:
            await connection.execute(f"DELETE FROM {table} WHERE batch_id = $1", batch)  # noqa: S608 - a name of ours
    finally:
        await connection.close()


async def test_an_audit_finds_what_differs_and_a_repair_mends_it(stack: Stack, batch: str) -> None:
    with stack.serve() as (_, address):
        await send_batch(stack, batch)
        before = await run(stack, "audit", "--json")
        await lie_in_redis(stack, batch, 7)
        await forget_in_postgres(stack, batch, "batch_registrations")
        assert (await ask(address, batch))["final_pipeline"] == ["spellcheck", "cj_assessment"]

        told = await run(stack, "audit", "--json")
        shown = await run(stack, "audit", batch)
        repaired = await run(stack, "audit", "--repair")
        after = await run(stack, "audit", "--json", batch)

        codes = (before.code, told.code, shown.code, repaired.code, after.code)
        assert codes == (0, 1, 1, 0, 0)
        differs, summary = told.objects
        assert differs["batch_id"] == batch
        assert {d["place"] for d in differs["differences"]} == {"redis", "postgres"}
        assert before.objects[-1]["audited"] > 0
        assert summary["audited"] == before.objects[-1]["audited"]  # other tests left theirs, too
        assert summary["differing"] == 1
        assert "counts of spellcheck" in shown.output
        assert "1 repaired" in repaired.output
        assert after.objects[-1]["differing"] == 0
        assert (await ask(address, batch))["final_pipeline"] == ["cj_assessment"]


async def test_an_audit_under_load_finds_nothing(stack: Stack, batch: str) -> None:
    """What is in flight is no difference."""
    batches = [f"{batch}-{number}" for number in range(5)]
    is_over = asyncio.Event()

    async def load() -> None:
        async with sender(stack.kafka_bootstrap_servers) as producer:
            await send(producer, [registered(one, 2000) for one in batches])
            number = 0
            while not is_over.is_set():
                number += 1
                await send(producer, [spellchecked(one, f"e{number}") for one in batches])
                await asyncio.sleep(PAUSE_SECONDS)

    with stack.serve():
        loading = asyncio.create_task(load())
        await eventually(
            lambda: _has_some(stack, batches), timeout_seconds=60, what="the first events"
        )
        audits = [await run(stack, "audit", "--json") for _ in range(3)]
        is_over.set()
        await loading

    assert [audit.code for audit in audits] == [0, 0, 0], audits
    assert audits[-1].objects[-1]["audited"] >= 5


async def _has_some(stack: Stack, batches: list[str]) -> bool:
    return len(await stack.count_completed(batches)) == len(batches)


async def test_a_rebuild_makes_an_emptied_redis_anew(stack: Stack, batch: str) -> None:
    with stack.serve() as (_, address):
        await send_batch(stack, batch)
        async with Redis.from_url(stack.redis.url, decode_responses=True) as redis:
            await redis.delete(*[key async for key in redis.scan_iter(f"*{batch}*")])
            assert (await run(stack, "audit")).code == 0

            rehearsed = await run(stack, "rebuild")
            assert not await redis.exists(f"batch:{batch}:pipeline_state")
            applied = await run(stack, "rebuild", "--apply", batch)

            assert (rehearsed.code, applied.code) == (1, 0)
            assert "Nothing was changed" in rehearsed.output
            assert await redis.hgetall(f"batch:{batch}:pipeline_state") == {"spellcheck": "10"}
        assert (await ask(address, batch))["final_pipeline"] == ["cj_assessment"]


async def test_a_replay_brings_back_what_both_stores_have_lost(stack: Stack, batch: str) -> None:
    with stack.serve():
        await send_batch(stack, batch)
        await wait_until_committed(stack)
        await lose_everything(stack, batch)

        planned = await run(stack, "replay", "--from-time", SINCE)
        replayed = await run(stack, "replay", "--from-time", SINCE, "--apply")

        assert planned.code == 0, planned
        assert "Nothing was changed" in planned.output
        assert replayed.code == 0, replayed
        assert "Running consumers have rewound" in replayed.output
        await wait_for(stack, batch)
        assert (await run(stack, "audit")).code == 0


async def test_a_group_that_does_not_run_reads_again_when_it_is_started(
    stack: Stack, batch: str
) -> None:
    """Kafka moves it at once; a broker that takes its last members for alive has them asked."""
    with stack.serve():
        await send_batch(stack, batch)
        await wait_until_committed(stack)
    await lose_everything(stack, batch)

    replayed = await run(stack, "replay", "--from-time", SINCE, "--apply", "--wait", "0")

    assert "were moved" in replayed.output or "Not yet rewound" in replayed.output
    with stack.serve():
        await wait_for(stack, batch)


async def lose_everything(stack: Stack, batch: str) -> None:
    """Have both stores forget the batch."""
    await forget_in_postgres(stack, batch, *TABLES)
    async with Redis.from_url(stack.redis.url, decode_responses=True) as redis:
        await redis.delete(*[key async for key in redis.scan_iter(f"*{batch}*")])


async def wait_until_committed(stack: Stack) -> None:
    """Return when the group has committed all records of the topics that are sent to."""
    group = KafkaConsumerGroup(
        stack.kafka_bootstrap_servers, stack.group_id, request_timeout_seconds=30
    )
    partitions = await group.list_partitions(consumed_topics())
    consumer = AIOKafkaConsumer(bootstrap_servers=stack.kafka_bootstrap_servers)
    await consumer.start()
    try:
        assigned = [TopicPartition(*partition) for partition in partitions]
        consumer.assign(assigned)
        ends = await consumer.end_offsets(assigned)
    finally:
        await consumer.stop()

    async def is_committed() -> bool:
        positions = await group.read_positions(partitions)
        return all((positions[one].committed or 0) >= end for one, end in ends.items())

    await eventually(is_committed, timeout_seconds=60, what="the commit of everything")


async def test_machines_are_told_in_json_and_people_whole_names(stack: Stack, batch: str) -> None:
    [topic] = {registered(batch, 10).topic}
    with stack.serve():
        await send_batch(stack, batch)
        await wait_until_committed(stack)

        replay, piped, asked, rebuild = [
            await run(stack, *command)
            for command in (
                ("replay", "--from-time", SINCE, "--json"),
                ("replay", "--from-time", SINCE),
                ("replay", "--from-time", SINCE, "--topic", topic, "--apply", "--json"),
                ("rebuild", "--json"),
            )
        ]

    assert (replay.code, piped.code, asked.code, rebuild.code) == (0, 0, 0, 0)
    *partitions, summary = replay.objects
    assert {one["topic"] for one in partitions} <= set(consumed_topics())
    assert sum(one["records"] for one in partitions) == summary["records"] >= 11
    assert (summary["applied"], summary["waiting"]) == (False, [])
    assert all(one["topic"] in piped.output for one in partitions)
    assert (asked.objects[-1]["applied"], asked.objects[-1]["members_asked"]) == (True, True)
    assert rebuild.objects[-1]["not_whole"] == 0
    assert rebuild.objects[-1]["whole"] >= 1


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

        told = await run(stack, "audit", "--json", batch)

    assert told.code == 1
    counts = [d for d in told.objects[0]["differences"] if d["subject"] == "counts of spellcheck"]
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
        told = await run(stack, "audit", "--json", batch)
        is_over.set()
        await writing

    assert (told.code, told.objects[-1]["differing"]) == (0, 0), told


async def test_a_bad_command_line_and_an_absent_server_are_told_in_a_line(stack: Stack) -> None:
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
                await send(producer, [spellchecked(batch, f"stranger-{next(numbers)}")])
                await asyncio.sleep(0.5)
                text = (await client.get(f"{address}/metrics")).text
                return "bcs_state_drift 1.0" in text

            await eventually(is_shown, timeout_seconds=60, what="the drift")
