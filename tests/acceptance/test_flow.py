"""From a client's request on Kafka to the end of the run, through both services."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from alembic import command
from tests.support.bos_database import bos_config
from tests.support.flow import TOPICS, Neighbours, bos_process, get_state, neighbours_of
from tests.support.flow_oracle import judge
from tests.support.gateway.app import pipelines_path, status_path
from tests.support.gateway.process import gateway_process
from tests.support.gateway.streams import listening
from tests.support.gateway.tokens import bearer
from tests.support.servers import serve_kafka
from tests.support.stack import Stack
from tests.support.waiting import eventually

ESSAYS = ("e1", "e2", "e3")


@dataclass
class Flow:
    """Both services with their neighbours, and a batch that nobody else has."""

    address: str
    neighbours: Neighbours
    batch: str

    async def until_ended(self, runs: int) -> list[dict[str, Any]]:
        """Wait until so many runs of the batch were reported as ended; return those reports."""

        async def have_ended() -> bool:
            return len(self.neighbours.journal.completions(self.batch)) >= runs

        await eventually(have_ended, timeout_seconds=60, what=f"the end of {runs} runs")
        return [one["data"] for one in self.neighbours.journal.completions(self.batch)]

    async def state(self) -> dict[str, Any]:
        """Return the runs of the batch."""
        return await get_state(self.address, self.batch)


@pytest.fixture
def kafka_bootstrap_servers() -> Iterator[str]:
    """A Kafka of the test's own: a new group reads, and runs, all that it finds there."""
    with serve_kafka() as address:
        yield address


@pytest.fixture
async def flow(stack: Stack) -> AsyncIterator[Flow]:
    await asyncio.to_thread(command.upgrade, bos_config(stack.postgres.url), "head")
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap_servers)
    await admin.start()
    known = await admin.list_topics()
    await admin.create_topics([NewTopic(name, 3, 1) for name in TOPICS if name not in known])
    await admin.close()
    with stack.serve() as (_, bcs), bos_process(stack, bcs) as (_, address):
        async with neighbours_of(stack) as neighbours:
            yield Flow(address=address, neighbours=neighbours, batch=f"batch-{uuid.uuid4().hex}")


async def test_a_second_pipeline_skips_spellcheck_and_hands_out_corrected_texts(
    flow: Flow,
) -> None:
    """Case 11."""
    neighbours, batch = flow.neighbours, flow.batch
    await neighbours.register(batch, ESSAYS)
    first = await neighbours.request(batch, "nlp")
    [ended] = await flow.until_ended(1)
    second = await neighbours.request(batch, "cj_assessment")
    [_, again] = await flow.until_ended(2)

    assert ended["final_status"] == "completed_successfully"
    assert ended["completed_phases"] == ["spellcheck", "nlp"]
    assert (ended["successful_essay_count"], ended["failed_essay_count"]) == (3, 0)
    assert again["completed_phases"] == ["cj_assessment"]
    journal = neighbours.journal
    assert [phase for phase, _ in journal.commands(batch)] == [
        "spellcheck",
        "nlp",
        "cj_assessment",
    ]
    assert journal.texts(batch, "spellcheck") == {one: f"original-{one}" for one in ESSAYS}
    for phase in ("nlp", "cj_assessment"):
        assert journal.texts(batch, phase) == {one: f"corrected-{one}" for one in ESSAYS}
    state = await flow.state()
    assert state["batch_status"] == "completed_successfully"
    newest, oldest = state["runs"]
    assert (newest["request_ids"], oldest["request_ids"]) == ([second], [first])
    assert [(one["name"], one["status"], one["skip_reason"]) for one in newest["phases"]] == [
        ("spellcheck", "skipped_by_user_config", "already_completed"),
        ("cj_assessment", "completed_successfully", None),
    ]
    assert judge(journal, {batch: state}) == []


async def test_a_person_clicks_at_the_gateway_watches_and_clicks_again(
    flow: Flow, stack: Stack
) -> None:
    """Cases 1 and 11, from the client's end."""
    neighbours, batch = flow.neighbours, flow.batch
    servers = stack.kafka_bootstrap_servers
    await neighbours.register(batch, ESSAYS)
    with gateway_process(BOS_URL=flow.address, KAFKA_BOOTSTRAP_SERVERS=servers) as (_, gateway):
        async with httpx.AsyncClient(base_url=gateway, headers=bearer(), timeout=20) as client:

            async def is_known() -> bool:
                return (await client.get(status_path(batch))).is_success

            async def click(pipeline: str) -> list[str]:
                body, key = {"requested_pipeline": pipeline}, {"Idempotency-Key": pipeline}
                path = pipelines_path(batch)
                twice = [await client.post(path, json=body, headers=key) for _ in range(2)]
                return [answer.json()["request_id"] for answer in twice]

            await eventually(is_known, timeout_seconds=30, what="the batch's registration")
            async with listening(gateway, batch, bearer()) as stream:
                first = await click("nlp")
                await flow.until_ended(1)
                second = await click("cj_assessment")
                await flow.until_ended(2)

                async def has_heard() -> bool:
                    return len(stream.events[-1]["details"]["requests"]) == 2 and (
                        stream.events[-1]["status"] == "completed_successfully"
                    )

                await eventually(has_heard, timeout_seconds=30, what="the end of both runs")
            foreign = await client.get(status_path(batch), headers=bearer("somebody else"))

    last = stream.events[-1]["details"]
    assert len({*first, *second}) == 2
    assert [one["request_id"] for one in last["requests"]] == [second[0], first[0]]
    assert [(one["name"], one["skip_reason"]) for one in last["phases"]] == [
        ("spellcheck", "already_completed"),
        ("cj_assessment", None),
    ]
    assert [phase for phase, _ in neighbours.journal.commands(batch)] == [
        "spellcheck",
        "nlp",
        "cj_assessment",
    ]
    assert stream.events[0]["status"] == "ready"
    assert foreign.status_code == 404


async def test_a_request_before_its_batch_waits_and_then_runs(flow: Flow) -> None:
    await flow.neighbours.request(flow.batch, "nlp")

    await asyncio.sleep(1)  # nothing is shown of a batch without an owner
    await flow.neighbours.register(flow.batch, ESSAYS)

    [ended] = await flow.until_ended(1)
    assert ended["final_status"] == "completed_successfully"


async def test_a_retry_does_again_only_what_failed(flow: Flow) -> None:
    """Case 9, after 8."""
    neighbours, batch = flow.neighbours, flow.batch
    neighbours.failing = {"spellcheck": frozenset({"e2"})}
    await neighbours.register(batch, ESSAYS)
    await neighbours.request(batch, "nlp")
    [ended] = await flow.until_ended(1)
    neighbours.failing = {}
    await neighbours.request(batch, "nlp", is_retry=True, retry_reason="e2 failed")
    [_, again] = await flow.until_ended(2)

    assert ended["final_status"] == "completed_with_failures"
    assert (ended["successful_essay_count"], ended["failed_essay_count"]) == (2, 1)
    assert again["final_status"] == "completed_successfully"
    assert neighbours.journal.texts(batch, "spellcheck") == {"e2": "original-e2"}
    assert neighbours.journal.texts(batch, "nlp") == {"e2": "corrected-e2"}
    ids = [one["event_id"] for _, one in neighbours.journal.commands(batch)]
    assert len(set(ids)) == len(ids) == 4


async def test_asking_when_all_is_done_ends_at_once(flow: Flow) -> None:
    """Case 7."""
    await flow.neighbours.register(flow.batch, ESSAYS)
    await flow.neighbours.request(flow.batch, "spellcheck")
    await flow.until_ended(1)
    await flow.neighbours.request(flow.batch, "spellcheck")
    [_, again] = await flow.until_ended(2)

    assert (again["final_status"], again["completed_phases"]) == ("completed_successfully", [])
    assert (await flow.state())["runs"][0]["state"] == "nothing_to_do"
    assert len(flow.neighbours.journal.commands(flow.batch)) == 1
