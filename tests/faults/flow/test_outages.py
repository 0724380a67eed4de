"""What the flow stands on goes away, and comes back."""

import asyncio
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from local_stack.kafka import KafkaBroker
from local_stack.ports import find_free_port
from tests.support.flow import TOPICS, bos_process, get_state, neighbours_of
from tests.support.flow_waiting import ESSAYS, judged, new_batch, until_commanded, until_ended
from tests.support.stack import Stack

AWAY_SECONDS = 60  # far longer than anything waits for
BATCHES = 12

pytestmark = pytest.mark.timeout(300)


async def test_postgres_away_under_load_loses_and_doubles_nothing(flow_stack: Stack) -> None:
    """Requests before, meanwhile and after; a run is open when it goes."""
    batches = [new_batch() for _ in range(BATCHES)]
    with flow_stack.serve() as (_, bcs), bos_process(flow_stack, bcs) as (_, address):
        async with neighbours_of(flow_stack) as neighbours:
            for number, batch in enumerate(batches):
                if number == BATCHES // 3:
                    await until_commanded(neighbours, batches[0], 1)
                    flow_stack.postgres.kill()
                await neighbours.register(batch, ESSAYS)
                await neighbours.request(batch, "nlp")
            await asyncio.sleep(AWAY_SECONDS)
            await asyncio.to_thread(flow_stack.postgres.start)
            for batch in batches:
                await until_ended(neighbours, batch)
            states = [await get_state(address, batch) for batch in batches]
            faults = await judged(neighbours, address, *batches)

    journal = neighbours.journal
    assert faults == []
    for batch, state in zip(batches, states, strict=True):
        assert [run["state"] for run in state["runs"]] == ["completed_successfully"]
        commanded = dict.fromkeys(phase for phase, _ in journal.commands(batch))
        assert list(commanded) == ["spellcheck", "nlp"]
        assert len({one["event_id"] for _, one in journal.commands(batch)}) == 2
        assert len({one["event_id"] for one in journal.completions(batch)}) == 1


async def test_both_services_start_without_kafka_and_work_once_it_is_there(
    flow_stack: Stack, tmp_path: Path
) -> None:
    port = find_free_port()
    broker = KafkaBroker(tmp_path, port=port)
    stack = replace(flow_stack, kafka_bootstrap_servers=f"127.0.0.1:{port}")
    batch = new_batch()
    with ExitStack() as processes:
        _, bcs = processes.enter_context(stack.serve())
        _, address = processes.enter_context(bos_process(stack, bcs))
        assert await get_state(address, batch) == {"runs": []}
        broker.start()
        processes.callback(broker.stop)
        await create_topics(stack.kafka_bootstrap_servers)
        async with neighbours_of(stack) as neighbours:
            await neighbours.register(batch, ESSAYS)
            await neighbours.request(batch, "nlp")
            await until_ended(neighbours, batch)

    [end] = neighbours.journal.completions(batch)
    assert end["data"]["final_status"] == "completed_successfully"


async def create_topics(servers: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    await admin.create_topics([NewTopic(name, 3, 1) for name in TOPICS])
    await admin.close()
