"""The hard cases of the flow, from the request on, through both services as processes."""

import asyncio
import json
import uuid
from contextlib import ExitStack

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from redis.asyncio import Redis

from batch_orchestrator_service.implementations.yaml_files.steps import PipelineFile
from tests.support.flow import (
    OUTCOMES,
    REQUESTS,
    bos_process,
    get_state,
    neighbours_of,
)
from tests.support.flow_waiting import (
    ESSAYS,
    judged,
    new_batch,
    until_commanded,
    until_ended,
    until_known,
    until_reason,
)
from tests.support.pipelines import PIPELINES_FILE
from tests.support.scripted_http import break_off, drip, says, scripted
from tests.support.stack import Stack
from tests.support.waiting import eventually

AWAY_SECONDS = 60
RECOVERY_SECONDS = 5  # in which a run starts by itself when BCS is back; the machine may be busy

pytestmark = pytest.mark.timeout(300)


async def test_case_3_bcs_away_holds_up_nothing_but_the_runs_that_need_it(
    flow_stack: Stack,
) -> None:
    batch, other = new_batch(), new_batch()
    with ExitStack() as processes:
        bcs = processes.enter_context(flow_stack.serve())
        _, address = processes.enter_context(bos_process(flow_stack, bcs[1]))
        async with neighbours_of(flow_stack) as neighbours:
            port = bcs[1].rpartition(":")[2]
            bcs[0].end()
            await neighbours.register(batch, ESSAYS)
            await neighbours.request(batch, "nlp")
            await until_reason(address, batch, "resolution_unavailable")
            await neighbours.register(other, ESSAYS)

            await until_known(address, other)
            await asyncio.sleep(AWAY_SECONDS)
            assert neighbours.journal.commands(batch) == []
            processes.enter_context(flow_stack.serve(HTTP_PORT=port))
            await until_fresh(bcs[1], batch)
            began = asyncio.get_running_loop().time()
            await until_commanded(neighbours, batch, 1)
            took = asyncio.get_running_loop().time() - began
            await until_ended(neighbours, batch)
            faults = await judged(neighbours, address, batch)

    assert took < 2 * RECOVERY_SECONDS
    assert len(neighbours.journal.completions(batch)) == 1
    assert faults == []


async def until_fresh(bcs: str, batch: str) -> None:
    """Wait until BCS has its partitions, which may be a dead member's for some time, and reads."""
    question = {"batch_id": batch, "requested_pipeline": "nlp"}

    async def answers_without_doubt() -> bool:
        async with httpx.AsyncClient(timeout=30) as client:
            answer = await client.post(f"{bcs}/internal/v1/pipelines/define", json=question)
        return answer.status_code == httpx.codes.OK and not answer.json()["degraded"]

    await eventually(answers_without_doubt, timeout_seconds=60, what="an answer without doubt")


async def test_case_4_everything_delivered_again_changes_nothing(flow_stack: Stack) -> None:
    batch = new_batch()
    with flow_stack.serve() as (_, bcs):
        async with neighbours_of(flow_stack) as neighbours:
            with bos_process(flow_stack, bcs):
                await neighbours.register(batch, ESSAYS)
                await neighbours.request(batch, "nlp")
                await until_ended(neighbours, batch)
            sent = neighbours.journal.sent_by_bos
            async with Redis.from_url(flow_stack.redis.url) as redis:
                await redis.flushall()
            group = f"again-{flow_stack.group_id}"  # has committed nothing: it reads everything
            with bos_process(flow_stack, bcs, KAFKA_CONSUMER_GROUP_ID=group) as (_, address):
                await until_read_again(flow_stack, group)
                state = await get_state(address, batch)
                faults = await judged(neighbours, address, batch)

    assert neighbours.journal.sent_by_bos == sent
    assert faults == []
    assert [run["state"] for run in state["runs"]] == ["completed_successfully"]


async def until_read_again(stack: Stack, group: str) -> None:
    """Wait until the group has committed all that there is."""
    consumer = AIOKafkaConsumer(bootstrap_servers=stack.kafka_bootstrap_servers, group_id=group)
    await consumer.start()
    partitions = [TopicPartition(t, n) for t in (REQUESTS, OUTCOMES) for n in range(3)]

    async def has_caught_up() -> bool:
        ends = await consumer.end_offsets(partitions)
        at = {one: await consumer.committed(one) or 0 for one in partitions}
        return all(at[one] >= ends[one] for one in partitions)

    await eventually(has_caught_up, timeout_seconds=60, what="everything read again")
    await consumer.stop()


async def test_case_6_outcomes_that_are_not_awaited_move_nothing(flow_stack: Stack) -> None:
    """Early, foreign, of a phase never commanded, in reverse order, twice, late."""
    batch = new_batch()
    with flow_stack.serve() as (_, bcs), bos_process(flow_stack, bcs) as (_, address):
        async with neighbours_of(flow_stack) as neighbours:
            neighbours.silent = {"spellcheck", "nlp"}
            await neighbours.register(batch, ESSAYS)
            await neighbours.request(batch, "nlp")
            await until_commanded(neighbours, batch, 1)
            _, command = neighbours.journal.commands(batch)[0]
            foreign = command | {"correlation_id": str(uuid.uuid4())}
            await neighbours.answer("nlp", command)  # early
            await neighbours.answer("spellcheck", foreign)
            await neighbours.answer("ai_feedback", command)  # of no phase of the run
            await asyncio.sleep(2)
            before = (await get_state(address, batch))["runs"][0]["phases"]
            await neighbours.answer("spellcheck", command)
            await until_commanded(neighbours, batch, 2)
            await neighbours.answer("spellcheck", command)  # twice
            neighbours.critical = {"nlp"}
            await neighbours.answer("nlp", command)
            await until_ended(neighbours, batch)
            neighbours.critical = set()
            await neighbours.answer("nlp", command)  # late
            await asyncio.sleep(2)
            state = await get_state(address, batch)
            faults = await judged(neighbours, address, batch)

    assert faults == []
    assert [one["status"] for one in before] == ["in_progress", "requested_by_user"]
    assert [phase for phase, _ in neighbours.journal.commands(batch)] == ["spellcheck", "nlp"]
    [end] = neighbours.journal.completions(batch)
    assert end["data"]["final_status"] == "failed_critically"
    assert (end["data"]["successful_essay_count"], end["data"]["failed_essay_count"]) == (0, 3)
    assert state["runs"][0]["state"] == "failed_critically"


async def test_case_1_and_10_two_replicas_take_each_click_once_and_start_no_phase_early(
    flow_stack: Stack,
) -> None:
    """Several pipelines and clicks at once, and a rebalance midway."""
    batches = [new_batch() for _ in range(4)]
    with ExitStack() as processes:
        _, bcs = processes.enter_context(flow_stack.serve())
        processes.enter_context(flow_stack.serve())
        processes.enter_context(bos_process(flow_stack, bcs))
        async with neighbours_of(flow_stack) as neighbours:
            for batch in batches:
                await neighbours.register(batch, ESSAYS)
            click = str(uuid.uuid4())
            clicks: dict[str, set[str]] = {}
            for batch in batches:
                pipelines = ("nlp", "nlp", "comprehensive", "comprehensive")
                clicks[batch] = {await neighbours.request(batch, one) for one in pipelines}
            clicks[batches[0]].add(click)
            _, address = processes.enter_context(bos_process(flow_stack, bcs))
            again = {"request_id": click, "client_correlation_id": str(uuid.uuid4())}
            for _ in range(3):
                await neighbours.request(batches[0], "cj_assessment", **again)
            for batch in batches:
                await until_ended(neighbours, batch, 2 + (batch == batches[0]))
            states = {batch: await get_state(address, batch) for batch in batches}
            faults = await judged(neighbours, address, *batches)

    journal = neighbours.journal
    assert faults == []
    for batch in batches:
        commanded = [phase for phase, _ in journal.commands(batch)]
        assert commanded[:2] == ["spellcheck", "nlp"]
        assert commanded.count("spellcheck") == commanded.count("nlp") == 1
        assert set(commanded) == {"spellcheck", "nlp", "cj_assessment", "ai_feedback"}
        ends = [one["event_id"] for one in journal.completions(batch)]
        assert len(set(ends)) == len(states[batch]["runs"])
        assert len(states[batch]["runs"]) == 2 + (batch == batches[0])
        found = [one for run in states[batch]["runs"] for one in run["request_ids"]]
        assert sorted(found) == sorted(clicks[batch])


async def test_case_12_the_next_request_right_after_the_last_outcome_sees_all_of_it(
    flow_stack: Stack,
) -> None:
    """BCS answers only from what includes the outcome, whatever it has read by then."""
    batches = [new_batch() for _ in range(5)]
    with flow_stack.serve() as (_, bcs), bos_process(flow_stack, bcs) as (_, address):
        async with neighbours_of(flow_stack) as neighbours:
            neighbours.failing = {"spellcheck": frozenset({"e2"})}
            for batch in batches:
                await neighbours.register(batch, ESSAYS)
                await neighbours.request(batch, "nlp")
                await until_ended(neighbours, batch)
                await neighbours.request(batch, "ai_feedback")
                await until_ended(neighbours, batch, 2)
            faults = await judged(neighbours, address, *batches)

    assert faults == []
    for batch in batches:
        good = [one for one in ESSAYS if one != "e2"]
        journal = neighbours.journal
        assert journal.texts(batch, "ai_feedback") == {one: f"corrected-{one}" for one in good}
        phases = [
            (phase, sorted(one["essay_id"] for one in command["data"]["essays_to_process"]))
            for phase, command in journal.commands(batch)
        ]
        # The essay that failed is tried again; what has been done is not done again.
        assert phases == [
            ("spellcheck", list(ESSAYS)),
            ("nlp", good),
            ("spellcheck", ["e2"]),
            ("ai_feedback", good),
        ]


async def test_case_3_bcs_that_fails_drips_doubts_or_talks_nonsense_is_waited_out(
    flow_stack: Stack,
) -> None:
    """Each in turn, then an answer; meanwhile other records are taken in."""
    batch, other = new_batch(), new_batch()
    answers = (
        says(500, b"{}"),
        says(200, b"nonsense"),
        break_off,
        drip,
        says(200, plan_of(batch, is_degraded=True)),
        says(200, plan_of(batch)),
    )
    async with scripted(*answers) as bcs, neighbours_of(flow_stack) as neighbours:
        with bos_process(flow_stack, bcs.url) as (_, address):
            await neighbours.register(batch, ESSAYS)
            await neighbours.request(batch, "nlp")
            await until_reason(address, batch, "resolution_unavailable")
            waiting = await get_state(address, batch)
            await neighbours.register(other, ESSAYS)
            await until_known(address, other)
            assert neighbours.journal.commands(batch) == []
            await until_ended(neighbours, batch)
            faults = await judged(neighbours, address, batch)

    assert faults == []
    assert (waiting["batch_status"], waiting["runs"][0]["state"]) == (
        "processing_pipelines",
        "accepted",
    )
    assert len(bcs.requests) == len(answers)


def plan_of(batch: str, *, is_degraded: bool = False) -> bytes:
    """Return BCS's answer that all of nlp is to run."""
    nothing = {"completed": 0, "failed": 0, "total": 3, "outcome": None, "completed_at": None}
    names = ["spellcheck", "nlp"]
    phases = [
        {"name": one, "verdict": "run", "reason": "not_started", "evidence": nothing}
        for one in names
    ]
    answer = {
        "batch_id": batch,
        "final_pipeline": names,
        "analysis_summary": "",
        "requested_pipeline": "nlp",
        "pipeline_version": PipelineFile(PIPELINES_FILE).find_version("nlp"),
        "degraded": is_degraded,
        "correlation_id": "c",
        "known_until": None,
        "phases": phases,
    }
    return json.dumps(answer).encode()
