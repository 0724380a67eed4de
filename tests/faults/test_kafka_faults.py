"""Kafka is away at the start, brings nonsense, or brings everything again."""

import asyncio
import json

import httpx
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import RecordsToDelete

from common_core.topics import consumed_topics
from tests.support.builders import essay_names, registered, spellchecked
from tests.support.faults.loads import break_under_load, load
from tests.support.faults.proxy import kafka_produce
from tests.support.faults.servers import GROUP, process_of
from tests.support.faults.service_faults import member_comes_and_goes
from tests.support.faults.world import World
from tests.support.kafka import unique
from tests.support.waiting import eventually

GRACE_SECONDS = 25


async def test_a_broker_that_is_down_at_the_start_is_waited_for(world: World) -> None:
    early, late = load(31)
    await world.send_and_settle(early)
    await world.servers.run(process_of(world.member).stop)
    await world.relay.send(late)
    await world.servers.run(world.servers.kafka.kill)

    await world.servers.run(world.member.start)
    await asyncio.sleep(1)
    await world.ask_everything()

    assert set(world.caller.statuses) <= {"200", "degraded"}
    await world.recover_and_check()


async def test_a_process_ends_in_time_while_no_broker_takes_its_dead_letters(world: World) -> None:
    world.expects_dead_letters = True
    early, late = load(32)
    await world.send_and_settle(early)
    await world.servers.run(world.servers.kafka.kill)
    async with httpx.AsyncClient() as client:
        for _ in range(20):  # each leaves a dead letter to be sent
            answer = await client.post(
                f"{world.member.address}/internal/v1/pipelines/define",
                json={"batch_id": "batch-1", "requested_pipeline": "no-such-pipeline"},
            )
            assert answer.status_code == httpx.codes.NOT_FOUND
    loop = asyncio.get_running_loop()
    started = loop.time()

    await world.servers.run(process_of(world.member).stop)

    assert loop.time() - started < GRACE_SECONDS
    await world.servers.run(world.servers.kafka.start)
    await world.relay.send(late)
    await world.recover_and_check()


async def test_members_that_come_and_go_count_nothing_twice(world: World) -> None:
    async def rebalance() -> None:
        for _ in range(3):
            await member_comes_and_goes(world, 1)

    await break_under_load(world, rebalance(), seed=33)

    await world.recover_and_check()


async def test_everything_read_again_from_the_beginning_changes_nothing(world: World) -> None:
    early, late = load(34)
    await world.send_and_settle([*early, *late])
    await world.ask_everything()
    before = [await world.onlooker.load_everything(batch) for batch in world.model.batches]

    await world.servers.run(process_of(world.member).stop)
    await _rewind(world)
    assert await world.onlooker.find_uncommitted()
    await world.recover_and_check()

    after = [await world.onlooker.load_everything(batch) for batch in world.model.batches]
    assert after == before


async def _rewind(world: World) -> None:
    """Put the group, which has no members now, back to the beginning."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=world.servers.kafka.bootstrap_servers,
        group_id=GROUP,
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        partitions = list(await world.onlooker.ends(consumed_topics()))
        consumer.assign(partitions)
        await consumer.commit(dict.fromkeys(partitions, 0))
    finally:
        await consumer.stop()


async def test_a_bad_deploy_stops_instead_of_emptying_the_topics_into_the_dead_letters(
    world: World,
) -> None:
    batch, essays = unique("batch"), essay_names(60)
    await world.send_and_settle([registered(batch, 60)])
    await world.servers.run(process_of(world.member).stop)
    good = [spellchecked(batch, essay) for essay in essays]
    nonsense = [b"{}"] * 2 * len(good)
    await world.relay.send_nonsense(good[0].topic, *nonsense)
    await world.servers.run(lambda: world.member.start(DLQ_MIN_INVALID_RECORDS=20))

    async with httpx.AsyncClient() as client:

        async def has_halted() -> bool:
            health = (await client.get(f"{world.member.address}/healthz")).json()
            return bool(health["tasks"]["consumer"] == "halted")

        await eventually(has_halted, timeout_seconds=30, what="the consumer's halt")
    assert await world.onlooker.count_dead_letters() == world.dead_letters_before

    await world.servers.run(process_of(world.member).stop)
    world.expects_dead_letters = True
    await world.servers.run(lambda: world.member.start(DLQ_MAX_INVALID_RATIO=1))
    await world.relay.send(good)
    await world.recover_and_check()
    dead = await world.onlooker.count_dead_letters() - world.dead_letters_before
    assert dead == len(nonsense)


POISON = (
    None,  # as a compacted topic's tombstone
    b"",
    b"{}",
    b"null",
    b"\xff\xfe\x00",
    b'{"a": NaN}',
    b"[" * 100_000,
    json.dumps({"data": "x" * 900_000}).encode(),
    b'{"event_id": "no", "data": {}}',
    "\udce4".encode("utf-8", "surrogatepass"),
)


async def test_poison_of_every_kind_is_dead_lettered_and_stops_nobody(world: World) -> None:
    early, late = load(36)
    await world.send_and_settle(early)
    for topic in consumed_topics():
        await world.relay.send_nonsense(topic, *POISON)
    await world.relay.send(late)
    world.expects_dead_letters = True

    await world.recover_and_check()

    dead = await world.onlooker.count_dead_letters() - world.dead_letters_before
    assert dead == len(consumed_topics()) * len(POISON)


async def test_a_dead_letter_whose_acknowledgement_is_lost_is_sent_again(world: World) -> None:
    early, late = load(37)
    world.expects_dead_letters = True
    await world.send_and_settle(early)
    world.servers.kafka_proxy.lose_replies(kafka_produce, every=2)
    fired = world.servers.kafka_proxy.fired
    poison = [b"nonsense"] * 5
    await world.relay.send_nonsense(consumed_topics()[0], *poison)
    await world.relay.send(late)
    await asyncio.sleep(3)

    await world.recover_and_check()

    assert world.servers.kafka_proxy.fired > fired
    dead = await world.onlooker.count_dead_letters() - world.dead_letters_before
    assert dead >= len(poison)


async def test_records_that_retention_deleted_unread_are_told(world: World) -> None:
    early, late = load(38)
    topic = consumed_topics()[0]
    await world.send_and_settle(early)
    await world.servers.run(process_of(world.member).stop)
    await world.relay.send_nonsense(topic, *[b"nonsense"] * 5)
    ends = await world.onlooker.ends([topic])
    await world.onlooker.admin.delete_records(
        {partition: RecordsToDelete(before_offset=end) for partition, end in ends.items()}
    )
    world.note_fired("kafka_records_deleted")

    await world.servers.run(world.member.start)
    await world.relay.send(late)
    await world.recover_and_check()

    said = [json.loads(line) for line in world.member.log.splitlines() if "_deleted" in line]
    assert [(one["event"], one["records"]) for one in said] == [("uncommitted_records_deleted", 5)]
