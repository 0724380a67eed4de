"""The consumer and its group: members that come and go, brokers and topics that come late."""

import asyncio
from dataclasses import replace
from pathlib import Path

from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.protocol.admin import DescribeGroupsRequest
from structlog.testing import capture_logs

from common_core.topics import EventName, topic_name
from local_stack.kafka import KafkaBroker
from local_stack.ports import find_free_port
from service_libs.kafka.condition import ConsumerState
from service_libs.kafka.predecessors import leave_group
from service_libs.kafka.record_source import KafkaRecordSource
from service_libs.kafka.records import PartitionsLostError
from service_libs.protocols import RecordSourceProtocol
from service_libs.timing import SystemClock
from tests.support.builders import spellchecked
from tests.support.consuming import ControlledRepository
from tests.support.kafka import (
    committed_offsets,
    create_consumed_topics,
    create_topics,
    produce,
    running,
    until,
)
from tests.support.membership import consumer_of, policy_for

SPELLCHECK = topic_name(EventName.SPELLCHECK_PHASE_COMPLETED)


async def test_nothing_is_lost_when_members_join_and_leave(own_kafka: KafkaBroker) -> None:
    servers = own_kafka.bootstrap_servers
    await create_consumed_topics(servers, partitions=4)
    policy = policy_for(servers)
    first, second = ControlledRepository(), ControlledRepository()
    names = [f"e{n}" for n in range(300)]

    async def produce_slowly() -> None:
        for start in range(0, len(names), 20):
            await produce(servers, [spellchecked("b1", name) for name in names[start : start + 20]])
            await asyncio.sleep(0.2)

    async def everything_is_applied() -> bool:
        applied = await first.completed("b1") | await second.completed("b1")
        return applied == set(names)

    async def everything_is_committed() -> bool:
        offsets = await committed_offsets(servers, policy.group_id, SPELLCHECK, partitions=4)
        return sum(offsets.values()) == len(names)

    async with running(consumer_of(policy, first)):
        producing = asyncio.create_task(produce_slowly())
        await until(lambda: bool(first.applied))
        async with running(consumer_of(policy, second)):
            await until(lambda: bool(second.applied) or producing.done())
        await producing
        await until(everything_is_applied)
        await until(everything_is_committed)


async def test_a_member_that_hangs_does_not_hold_the_group_up(own_kafka: KafkaBroker) -> None:
    """What it has in hand is dropped and not committed by it: its successor reads it again."""
    servers = own_kafka.bootstrap_servers
    await create_consumed_topics(servers, partitions=1)
    policy = replace(policy_for(servers), rebalance_timeout_seconds=4)
    hanging, healthy = ControlledRepository(), ControlledRepository()
    hanging.may_answer.clear()
    await produce(servers, [spellchecked("b1", "e1")])

    async def is_committed() -> bool:
        offsets = await committed_offsets(servers, policy.group_id, SPELLCHECK, partitions=1)
        return offsets == {0: 1}

    with capture_logs() as logs:
        async with running(consumer_of(policy, hanging)):
            await until(lambda: hanging.calls == 1)
            async with running(consumer_of(policy, healthy)):
                await until(lambda: "partitions_given_up_undrained" in {e["event"] for e in logs})
                hanging.may_answer.set()
                await until(lambda: bool(hanging.applied))
                await until(is_committed)

    assert len(hanging.applied) + len(healthy.applied) >= 2


async def test_a_broker_that_comes_late_and_topics_that_come_later_are_waited_for(
    tmp_path: Path,
) -> None:
    broker = KafkaBroker(tmp_path, port=find_free_port())
    repository = ControlledRepository()
    consumer = consumer_of(policy_for(broker.bootstrap_servers), repository)
    try:
        async with running(consumer):
            await asyncio.sleep(0.5)
            assert consumer.condition.state is ConsumerState.CONNECTING

            broker.start()
            await until(lambda: consumer.condition.state is ConsumerState.CONSUMING)
            await create_topics(broker.bootstrap_servers, SPELLCHECK)
            await produce(broker.bootstrap_servers, [spellchecked("b1", "e1")])
            await until(lambda: bool(repository.applied))
    finally:
        broker.kill()


async def test_a_consumer_whose_broker_died_starts_afresh_with_the_next(tmp_path: Path) -> None:
    port = find_free_port()
    broker = KafkaBroker(tmp_path / "first", port=port)
    broker.start()
    servers = broker.bootstrap_servers
    await create_topics(servers, SPELLCHECK)
    repository = ControlledRepository()
    policy = replace(policy_for(servers), stuck_timeout_seconds=5)
    async with running(consumer_of(policy, repository)):
        await produce(servers, [spellchecked("b1", "e1")])
        await until(lambda: len(repository.applied) == 1)
        broker.kill()

        successor = KafkaBroker(tmp_path / "second", port=port)
        successor.start()
        try:
            await create_topics(servers, SPELLCHECK)
            await produce(servers, [spellchecked("b1", "e2")])

            async def is_known() -> bool:
                return "e2" in await repository.completed("b1")

            await until(is_known)
        finally:
            successor.kill()


async def test_who_the_group_has_forgotten_commits_nothing(own_kafka: KafkaBroker) -> None:
    """An empty group takes a commit from anybody, past what was moved back meanwhile."""
    servers, place = own_kafka.bootstrap_servers, (SPELLCHECK, 0)
    await create_topics(servers, SPELLCHECK)
    await produce(servers, [spellchecked("b1", "e1")])
    policy = policy_for(servers)
    outcomes: list[str] = []

    async def commit_once_more(source: RecordSourceProtocol) -> None:
        try:
            await source.commit({place: 1})
            outcomes.append("committed")
        except PartitionsLostError:
            outcomes.append("refused")

    source = KafkaRecordSource(policy, [SPELLCHECK], commit_once_more, SystemClock())
    try:
        await source.open()
        while not (await source.poll()).records:
            continue
        await dismiss_all(servers, policy.group_id)
        while not outcomes:
            await source.poll()

        assert outcomes == ["refused"]
        assert await source.get_committed(place) is None
    finally:
        await source.close()


async def dismiss_all(servers: str, group_id: str) -> None:
    """Have every member leave the group, without a word to it."""
    client = AIOKafkaClient(bootstrap_servers=servers)
    await client.bootstrap()
    node = await client.coordinator_lookup(CoordinationType.GROUP, group_id)
    response = await client.send(node, DescribeGroupsRequest([group_id]))
    [(*_, members)] = response.groups
    for member_id, *_ in members:
        await leave_group(client, group_id, member_id)
    await client.close()


async def test_a_cancelled_consumer_leaves_nothing_behind(own_kafka: KafkaBroker) -> None:
    await create_consumed_topics(own_kafka.bootstrap_servers)
    policy = policy_for(own_kafka.bootstrap_servers)
    repository = ControlledRepository()
    run = asyncio.create_task(consumer_of(policy, repository).run())
    await produce(own_kafka.bootstrap_servers, [spellchecked("b1", "e1")])
    await until(lambda: bool(repository.applied))

    run.cancel()
    await asyncio.wait({run}, timeout=10)

    assert run.cancelled()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not others
