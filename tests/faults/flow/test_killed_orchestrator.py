"""BOS dies at each side of what it awaits.

Whatever it was, each phase is commanded, always with the same bytes, and the end is reported under
one id.
"""

import asyncio
import uuid

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from alembic import command
from tests.support.bos_database import bos_config
from tests.support.flow import TOPICS, bos_process, get_state, neighbours_of
from tests.support.processes import ServiceProcess
from tests.support.stack import Stack
from tests.support.waiting import eventually

ESSAYS = ("e1", "e2", "e3")
KILL_POINTS = (
    "bos.polled",
    "bos.handled",
    "bos.uncommitted",
    "bos.committed",
    "bos.resolving",
    "bos.resolved",
    "bos.planned",
    "bos.unsent",
    "bos.sent",
    "bos.marked",
)
pytestmark = pytest.mark.timeout(240)


@pytest.fixture
async def flow_stack(stack: Stack) -> Stack:
    """The stack with BOS's schema and all topics."""
    await asyncio.to_thread(command.upgrade, bos_config(stack.postgres.url), "head")
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap_servers)
    await admin.start()
    known = await admin.list_topics()
    await admin.create_topics([NewTopic(name, 3, 1) for name in TOPICS if name not in known])
    await admin.close()
    return stack


def until_dead(process: ServiceProcess) -> None:
    """Wait for the process to have died of its failpoint."""
    assert process.wait() == 137


@pytest.mark.parametrize("turn", [1, 2])
@pytest.mark.parametrize("point", KILL_POINTS)
async def test_a_run_survives_a_death_at_any_point(
    flow_stack: Stack, point: str, turn: int
) -> None:
    batch = f"batch-{uuid.uuid4().hex}"
    with flow_stack.serve() as (_, bcs):
        async with neighbours_of(flow_stack) as neighbours:
            armed = f"{point}:{turn}"
            with bos_process(flow_stack, bcs, is_killed=True, FAILPOINT=armed) as (first, _):
                await neighbours.register(batch, ESSAYS)
                await neighbours.request(batch, "nlp")
                await asyncio.to_thread(until_dead, first)
            with bos_process(flow_stack, bcs) as (_, address):

                async def has_ended() -> bool:
                    return bool(neighbours.journal.completions(batch))

                await eventually(has_ended, timeout_seconds=90, what="the end of the run")
                await asyncio.sleep(1)  # for what may come twice
                state = await get_state(address, batch)

    journal = neighbours.journal
    assert journal.is_consistent()
    assert [run["state"] for run in state["runs"]] == ["completed_successfully"]
    assert {one["event_id"] for one in journal.completions(batch)} == {
        journal.completions(batch)[0]["event_id"]
    }
    assert list(dict.fromkeys(phase for phase, _ in journal.commands(batch))) == [
        "spellcheck",
        "nlp",
    ]
    assert len({one["event_id"] for _, one in journal.commands(batch)}) == 2
    assert journal.texts(batch, "nlp") == {one: f"corrected-{one}" for one in ESSAYS}
