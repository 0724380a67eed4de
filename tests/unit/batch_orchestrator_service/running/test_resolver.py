"""A waiting run is planned by what BCS answers, and waits for as long as BCS does not."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from batch_orchestrator_service.domain import resolving
from batch_orchestrator_service.domain.states import PhaseStatus, RunState
from batch_orchestrator_service.implementations.yaml_files.steps import PipelineFile
from service_libs.exceptions import StoreUnavailableError
from tests.support.bos import Orchestra
from tests.support.builders import evidence, registration, update
from tests.support.orchestrating import NOON, named
from tests.support.pipelines import PIPELINES_FILE


async def test_a_run_is_planned_and_its_first_phase_commanded() -> None:
    one = Orchestra()
    await one.make_ready("e1", "e2")
    await one.request("click")

    await one.resolver.resolve("batch-1")

    assert one.run.state is RunState.RUNNING
    assert [(p.name, p.status) for p in one.run.phases] == [
        ("spellcheck", PhaseStatus.DISPATCH_INITIATED),
        ("nlp", PhaseStatus.REQUESTED_BY_USER),
    ]
    [message] = one.messages
    assert message.topic == "huleedu.els.spellcheck.initiate.command.v1"
    assert json.loads(message.value)["data"] == {
        "event_name": "batch.spellcheck.initiate.command",
        "entity_id": "batch-1",
        "entity_type": "batch",
        "parent_id": None,
        "timestamp": "2026-01-31T12:00:00+00:00",
        "essays_to_process": [
            {"essay_id": "e1", "text_storage_id": "original-e1"},
            {"essay_id": "e2", "text_storage_id": "original-e2"},
        ],
        "language": "sv",
    }


async def test_what_bcs_has_proven_is_skipped_with_the_texts_that_it_knows() -> None:
    one = Orchestra()
    await one.make_ready("e1")
    done = evidence("e1", storage_id="corrected-e1")
    await one.bcs.repository.apply([update("batch-1", registration(1, essays=["e1"]), done)])
    await one.request("click")

    await one.resolver.resolve("batch-1")

    assert one.run.phases[0].status is PhaseStatus.SKIPPED_BY_USER_CONFIG
    assert one.run.phases[0].skip_reason == "already_completed"
    [message] = one.messages
    assert b"corrected-e1" in message.value
    assert message.phase == "nlp"


async def test_texts_that_bcs_is_not_sure_of_are_waited_for_and_not_graded() -> None:
    """Its cache went away between the two questions, and its archive lacks the newest text."""
    one = Orchestra()
    await one.make_ready("e1")
    newest = evidence("e1", storage_id="corrected-e1")
    await one.bcs.repository.apply([update("batch-1", registration(1, essays=["e1"]), newest)])
    other = Orchestra()
    old = evidence("e1", storage_id="older-e1", at=NOON - timedelta(days=1))
    await other.bcs.repository.apply([update("batch-1", registration(1, essays=["e1"]), old)])
    await one.request("click", "cj_assessment")
    get_state = one.bcs.repository.get_state
    one.bcs.repository.get_state = other.bcs.repository.get_state  # type: ignore[method-assign] # what the archive has

    await one.resolver.resolve("batch-1")
    waiting = one.run
    one.bcs.repository.get_state = get_state  # type: ignore[method-assign] # the cache is back
    one.pass_time(20)
    await one.resolver.resolve("batch-1")

    assert (waiting.state, waiting.reason) == (RunState.ACCEPTED, "resolution_unavailable")
    [message] = one.messages
    assert b"corrected-e1" in message.value


async def test_a_run_that_has_nothing_to_do_ends_and_is_told() -> None:
    one = Orchestra()
    await one.make_ready("e1")
    done = evidence("e1", storage_id="corrected-e1")
    await one.bcs.repository.apply([update("batch-1", registration(1, essays=["e1"]), done)])
    await one.request("click", "spellcheck")

    await one.resolver.resolve("batch-1")

    assert one.run.state is RunState.NOTHING_TO_DO
    [message] = one.messages
    assert message.topic == "huleedu.batch.pipeline.completed.v1"
    assert one.sample("bos_runs_ended_total", state="nothing_to_do") == 1


async def test_a_pipeline_that_nobody_knows_is_rejected() -> None:
    one = Orchestra()
    await one.make_ready("e1")
    await one.request("click", "nonsense")

    await one.resolver.resolve("batch-1")

    assert (one.run.state, one.run.reason) == (RunState.REJECTED, "unknown_pipeline")
    assert one.messages == []


async def test_a_run_waits_while_bcs_is_away_and_starts_when_it_is_back() -> None:
    one = Orchestra()
    await one.make_ready("e1")
    await one.request("click")
    one.bcs.repository.error = StoreUnavailableError()

    await one.resolver.resolve("batch-1")
    waiting = one.run
    assert await one.store.find_due(one.clock.now(), 10) == []
    one.bcs.repository.error = None
    one.pass_time(20)
    assert await one.store.find_due(one.clock.now(), 10) == ["batch-1"]
    await one.resolver.resolve("batch-1")

    assert (waiting.state, waiting.reason) == (RunState.ACCEPTED, "resolution_unavailable")
    assert one.run.state is RunState.RUNNING
    assert one.sample("bos_resolutions_total", outcome="postponed") == 1


async def test_a_run_that_has_waited_ten_minutes_is_rejected() -> None:
    one = Orchestra()
    await one.make_ready("e1")
    await one.request("click")
    one.bcs.repository.error = StoreUnavailableError()

    await one.resolver.resolve("batch-1")
    one.pass_time(601)
    await one.resolver.resolve("batch-1")

    assert (one.run.state, one.run.reason) == (RunState.REJECTED, "resolution_unavailable")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, {"code": "unauthorized"}),
        (400, {"code": "invalid_request"}),
        (500, {}),
        (200, {"batch_id": "another"}),
    ],
)
async def test_what_is_no_answer_is_waited_out(status: int, body: dict[str, str]) -> None:
    problem = {"type": "t", "title": "t", "status": status, "detail": "d", "correlation_id": "c"}
    reply = httpx.Response(status, json=problem | body)
    one = Orchestra(httpx.MockTransport(lambda _request: reply))
    await one.make_ready("e1")
    await one.request("click")

    await one.resolver.resolve("batch-1")

    assert (one.run.state, one.run.reason) == (RunState.ACCEPTED, "resolution_unavailable")


async def test_a_refused_prerequisite_is_final() -> None:
    problem = {
        "type": "t",
        "title": "t",
        "status": 409,
        "detail": "d",
        "code": "prerequisite_missing",
        "correlation_id": "c",
    }
    one = Orchestra(httpx.MockTransport(lambda _request: httpx.Response(409, json=problem)))
    await one.make_ready("e1")
    await one.request("click")

    await one.resolver.resolve("batch-1")

    assert one.run.reason == "prerequisite_missing"


def degraded(names: tuple[str, ...] = ("spellcheck", "nlp")) -> httpx.MockTransport:
    """Answer that all of it runs, for nothing is known."""
    nothing = {"completed": 0, "failed": 0, "total": None, "outcome": None, "completed_at": None}
    answer = {
        "batch_id": "batch-1",
        "final_pipeline": list(names),
        "analysis_summary": "",
        "requested_pipeline": "nlp",
        "pipeline_version": PipelineFile(PIPELINES_FILE).find_version("nlp"),
        "degraded": True,
        "correlation_id": "c",
        "known_until": None,
        "phases": [
            {"name": name, "verdict": "run", "reason": "state_unknown", "evidence": nothing}
            for name in names
        ],
    }
    return httpx.MockTransport(lambda _request: httpx.Response(200, json=answer))


async def test_a_degraded_answer_is_asked_again_for_a_minute_and_then_obeyed() -> None:
    one = Orchestra(degraded())
    await one.make_ready("e1")
    await one.request("click")

    await one.resolver.resolve("batch-1")
    first = one.run.state
    one.pass_time(61)
    await one.resolver.resolve("batch-1")

    assert (first, one.run.state) == (RunState.ACCEPTED, RunState.RUNNING)


async def test_a_plan_with_a_phase_that_the_file_does_not_have_is_waited_out() -> None:
    one = Orchestra(degraded(("spellcheck", "handwriting")))
    await one.make_ready("e1")
    await one.request("click")
    one.pass_time(61)

    await one.resolver.resolve("batch-1")

    assert one.run.reason == "resolution_unavailable"


async def test_no_original_is_graded_because_the_file_lacks_what_bcs_has(tmp_path: Path) -> None:
    """BCS proves by its file; by BOS's the assessment would be made from nothing."""
    file = tmp_path / "pipelines.yaml"
    steps = "        event_data_model: BatchServiceCJAssessmentInitiateCommandDataV1\n"
    needs = steps + "        depends_on: [spellcheck]\n"
    written = PIPELINES_FILE.read_text()
    assert needs in written
    file.write_text(written.replace(needs, steps))
    one = Orchestra(pipelines=file)
    await one.make_ready("e1")
    done = evidence("e1", storage_id="corrected-e1")
    await one.bcs.repository.apply([update("batch-1", registration(1, essays=["e1"]), done)])
    await one.request("click", "cj_assessment")

    await one.resolver.resolve("batch-1")

    assert not [one for one in one.messages if b"original-e1" in one.value]
    assert (one.run.state, one.run.reason) == (RunState.ACCEPTED, "resolution_unavailable")
    assert one.sample("bos_resolutions_total", outcome="fault") == 1


async def test_the_question_asks_for_what_includes_the_newest_outcome() -> None:
    one = Orchestra()
    await one.make_ready("e1")
    await one.request("click", "spellcheck")
    await one.resolver.resolve("batch-1")
    one.pass_time(5)
    await one.report("spellcheck", "e1")
    asked: list[dict[str, object]] = []

    def keep(request: httpx.Request) -> httpx.Response:
        asked.append(json.loads(request.content))
        return httpx.Response(500)

    other = Orchestra(httpx.MockTransport(keep))
    other.runs.states = one.runs.states
    other.clock.time = one.clock.time
    await other.request("second", "nlp")
    await other.resolver.resolve("batch-1")

    [question] = asked
    assert question["not_before"] == "2026-01-31T12:00:05Z"
    assert question["include"] == ["essays"]
    assert question["batch_metadata"] == {"essays_total": 1}


async def test_a_run_that_was_cancelled_while_bcs_was_asked_stays_so() -> None:
    one = Orchestra()
    await one.make_ready("e1")
    await one.request("click")
    one.bcs.repository.may_answer.clear()
    before = one.run

    async def cancel_meanwhile() -> None:
        await one.bcs.repository.has_been_asked.wait()
        async with one.store.lock("batch-1") as batch:
            ended = replace(one.run, state=RunState.CANCELLED, next_try_at=None)
            await batch.save(batch.state.with_run(ended))
        one.bcs.repository.may_answer.set()

    await asyncio.gather(one.resolver.resolve("batch-1"), cancel_meanwhile())

    assert before.state is RunState.ACCEPTED
    assert one.run.state is RunState.CANCELLED
    assert one.messages == []


async def test_a_click_that_joins_a_run_while_bcs_is_asked_does_not_cost_it_the_answer() -> None:
    """Else whoever clicks twice waits for the end of the lease, and may do so again and again."""
    one = Orchestra()
    await one.make_ready("e1")
    await one.request("click")
    one.bcs.repository.may_answer.clear()

    async def click_meanwhile() -> None:
        await one.bcs.repository.has_been_asked.wait()
        await one.request("second click")
        one.bcs.repository.may_answer.set()

    await asyncio.gather(one.resolver.resolve("batch-1"), click_meanwhile())

    [run] = one.state.runs
    assert run.state is RunState.RUNNING
    assert run.request_ids == (named("click"), named("second click"))


async def test_an_answer_that_comes_after_the_lease_is_not_used_beside_the_next_one() -> None:
    one = Orchestra()
    await one.make_ready("e1")
    await one.request("click")
    one.bcs.repository.may_answer.clear()

    async def begin_again_meanwhile() -> None:
        await one.bcs.repository.has_been_asked.wait()
        one.pass_time(11)
        async with one.store.lock("batch-1") as batch:
            state, _ = resolving.begin(batch.state, one.clock.now(), timedelta(seconds=10))
            await batch.save(state)
        one.bcs.repository.may_answer.set()

    await asyncio.gather(one.resolver.resolve("batch-1"), begin_again_meanwhile())

    assert one.run.state is RunState.RESOLVING
    assert one.messages == []


@pytest.mark.parametrize(
    ("status", "outcome"), [(401, "fault"), (500, "fault"), (503, "postponed")]
)
async def test_what_somebody_has_to_look_at_is_counted_apart(status: int, outcome: str) -> None:
    problem = {"type": "t", "title": "t", "status": status, "detail": "d", "correlation_id": "c"}
    reply = httpx.Response(status, json=problem | {"code": "c"})
    one = Orchestra(httpx.MockTransport(lambda _request: reply))
    await one.make_ready("e1")
    await one.request("click")

    await one.resolver.resolve("batch-1")

    assert one.sample("bos_resolutions_total", outcome=outcome) == 1


async def test_a_run_that_is_rejected_is_counted_as_ended() -> None:
    one = Orchestra()
    await one.request("click")
    await one.resolver.resolve("batch-1")
    one.pass_time(601)

    await one.resolver.resolve("batch-1")

    assert one.run.reason == "batch_not_ready"
    assert one.sample("bos_runs_ended_total", state="rejected") == 1
