"""BOS dies at each side of what it awaits, or does not hear that it was done.

Whatever it was, each phase is commanded, always with the same bytes, and the end is reported under
one id.
"""

import asyncio
import uuid

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from batch_orchestrator_service.events.decoding import consumed_topics
from service_libs.failpoints import EXIT_CODE
from tests.support.failpoints import find_failpoints
from tests.support.faults.proxy import FaultyProxy, ProxyThread, postgres_commit
from tests.support.flow import bos_process, dying_bos_process, get_state, neighbours_of
from tests.support.flow_waiting import ESSAYS, judged, new_batch, until_ended, until_known
from tests.support.stack import Stack

# Each with the turn at which it kills: where a run has only begun, and where it is under way.
KILL_POINTS = (
    "bos.polled:2",
    "bos.handled:3",
    "bos.uncommitted:3",
    "bos.committed:2",
    "bos.resolving:1",
    "bos.resolved:1",
    "bos.planned:1",
    "bos.unsent:2",
    "bos.sent:1",
    "bos.sent:2",
    "bos.marked:1",
)
pytestmark = pytest.mark.timeout(600)


async def test_case_5_runs_survive_a_death_at_any_point(flow_stack: Stack) -> None:
    """One process after the other dies, each with a run more; the last one ends them all.

    Each is of a group of its own that stands where the one before did, for the broker holds on to a
    dead member for longer than all the rest takes.
    """
    servers, group = flow_stack.kafka_bootstrap_servers, f"bos-{uuid.uuid4().hex}"
    batches = {point: new_batch() for point in KILL_POINTS}
    with flow_stack.serve() as (_, bcs):
        async with neighbours_of(flow_stack) as neighbours:
            for point, batch in batches.items():
                changes = {"KAFKA_CONSUMER_GROUP_ID": group, "FAILPOINT": point}
                with dying_bos_process(flow_stack, bcs, **changes) as process:
                    await neighbours.register(batch, ESSAYS)
                    await neighbours.request(batch, "nlp")
                    assert await asyncio.to_thread(process.wait) == EXIT_CODE, point
                group = await take_over(servers, group)
            names = {"KAFKA_CONSUMER_GROUP_ID": group}
            with bos_process(flow_stack, bcs, **names) as (_, address):
                for batch in batches.values():
                    await until_ended(neighbours, batch)
                states = {batch: await get_state(address, batch) for batch in batches.values()}
                faults = await judged(neighbours, address, *batches.values())

    journal = neighbours.journal
    assert faults == []
    for point, batch in batches.items():
        assert [one["state"] for one in states[batch]["runs"]] == ["completed_successfully"], point
        commanded = dict.fromkeys(phase for phase, _ in journal.commands(batch))
        assert list(commanded) == ["spellcheck", "nlp"], point
        assert journal.texts(batch, "nlp") == {one: f"corrected-{one}" for one in ESSAYS}, point


def test_every_failpoint_of_the_orchestrator_is_tried() -> None:
    of_bos = {name for name in find_failpoints() if name.startswith("bos.")}
    assert {point.partition(":")[0] for point in KILL_POINTS} == of_bos


async def take_over(servers: str, group: str) -> str:
    """Return a group without members that stands where this one does."""
    other = f"bos-{uuid.uuid4().hex}"
    async with AIOKafkaConsumer(bootstrap_servers=servers, group_id=group) as consumer:
        topics = set(consumed_topics()) & await consumer.topics()
        partitions = [TopicPartition(topic, n) for topic in topics for n in range(3)]
        points = {one: await consumer.committed(one) for one in partitions}
    async with AIOKafkaConsumer(
        bootstrap_servers=servers, group_id=other, enable_auto_commit=False
    ) as consumer:
        consumer.assign(partitions)
        await consumer.commit({one: at for one, at in points.items() if at is not None})
    return other


async def test_case_2_a_request_sent_twice_is_one_run_though_its_commit_was_not_heard_of(
    flow_stack: Stack,
) -> None:
    """Of every second commit the answer is lost: Postgres has it, and BOS does not know."""
    batch, click = new_batch(), str(uuid.uuid4())
    again = {"request_id": click, "client_correlation_id": str(uuid.uuid4())}
    thread, proxy = ProxyThread(), FaultyProxy(flow_stack.postgres.port)
    thread.add(proxy)
    url = flow_stack.postgres.url.replace(f":{flow_stack.postgres.port}", f":{proxy.port}")
    with flow_stack.serve() as (_, bcs), bos_process(flow_stack, bcs, DATABASE_URL=url) as bos:
        async with neighbours_of(flow_stack) as neighbours:
            await neighbours.register(batch, ESSAYS)
            await until_known(bos[1], batch)
            proxy.lose_replies(postgres_commit, 2)
            await neighbours.request(batch, "nlp", **again)
            await neighbours.request(batch, "nlp", **again)
            await until_ended(neighbours, batch)
            await neighbours.request(batch, "nlp", **again)
            lost = proxy.fired
            proxy.heal()
            await neighbours.register(other := new_batch(), ESSAYS)
            await until_known(bos[1], other)
            await asyncio.sleep(1)  # for what should not come
            state = await get_state(bos[1], batch)
            faults = await judged(neighbours, bos[1], batch)
    thread.close()

    assert faults == []
    assert [run["request_ids"] for run in state["runs"]] == [[click]]
    assert lost
