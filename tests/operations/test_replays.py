"""`bcs replay`, run beside a service."""

from datetime import timedelta

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from redis.asyncio import Redis

from common_core.topics import consumed_topics
from service_libs.kafka.group import KafkaConsumerGroup
from tests.support.builders import NOON, registered
from tests.support.commands import forget_in_postgres, run, send_batch, wait_for
from tests.support.stack import Stack
from tests.support.waiting import eventually

TABLES = (
    "essay_step_evidence",
    "phase_outcomes",
    "batch_registrations",
    "processing_pipeline_state",
)

SINCE = (NOON - timedelta(hours=1)).isoformat()  # before all records: they are as old as events

pytestmark = pytest.mark.timeout(240)


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


async def test_machines_get_json_and_people_names_in_full(stack: Stack, batch: str) -> None:
    [topic] = {registered(batch, 10).topic}
    with stack.serve():
        await send_batch(stack, batch)
        await wait_until_committed(stack)

        replay, piped, asked = [
            await run(stack, *command)
            for command in (
                ("replay", "--from-time", SINCE, "--json"),
                ("replay", "--from-time", SINCE),
                ("replay", "--from-time", SINCE, "--topic", topic, "--apply", "--json"),
            )
        ]

    assert (replay.code, piped.code, asked.code) == (0, 0, 0)
    *partitions, summary = replay.objects
    assert {one["topic"] for one in partitions} <= set(consumed_topics())
    assert sum(one["records"] for one in partitions) == summary["records"] >= 11
    assert (summary["applied"], summary["waiting"]) == (False, [])
    assert all(one["topic"] in piped.output for one in partitions)
    assert (asked.objects[-1]["applied"], asked.objects[-1]["members_asked"]) == (True, True)


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
