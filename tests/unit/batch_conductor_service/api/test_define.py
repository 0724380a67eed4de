import asyncio

import pytest
from structlog.testing import capture_logs

from batch_conductor_service.models import BatchCompletionSummary, BatchId, SummaryReading
from tests.support.api import DEFINE, TestedApp
from tests.support.builders import NOON, evidence, registration, reported, update


async def test_the_steps_to_run_are_answered_in_order(tested: TestedApp) -> None:
    response = await tested.define(correlation_id="c-1")

    assert response.status_code == 200
    body = await response.get_json()
    assert body["batch_id"] == "batch-1"
    assert body["requested_pipeline"] == "cj_assessment"
    assert body["final_pipeline"] == ["spellcheck", "cj_assessment"]
    assert body["correlation_id"] == "c-1"
    assert body["degraded"] is False
    assert len(body["pipeline_version"]) == 16
    assert "batch-1" in body["analysis_summary"]


async def test_every_step_has_its_verdict_reason_and_evidence(tested: TestedApp) -> None:
    await tested.repository.apply([update("batch-1", registration(1), evidence("essay-1"))])

    body = await (await tested.define()).get_json()

    assert body["final_pipeline"] == ["cj_assessment"]
    assert body["phases"] == [
        {
            "name": "spellcheck",
            "verdict": "skip",
            "reason": "already_completed",
            "evidence": {
                "completed": 1,
                "failed": 0,
                "total": 1,
                "outcome": None,
                "completed_at": NOON.isoformat().replace("+00:00", "Z"),
            },
        },
        {
            "name": "cj_assessment",
            "verdict": "run",
            "reason": "requested",
            "evidence": {
                "completed": 0,
                "failed": 0,
                "total": 1,
                "outcome": None,
                "completed_at": None,
            },
        },
    ]


async def test_all_steps_complete_is_an_empty_list(tested: TestedApp) -> None:
    checked = reported(["essay-1"])
    compared = reported(["essay-1"], step="cj_assessment")
    await tested.repository.apply([update("batch-1", *checked, *compared)])

    response = await tested.define()

    assert response.status_code == 200
    body = await response.get_json()
    assert body["final_pipeline"] == []
    assert "already complete" in body["analysis_summary"]


async def test_a_step_may_be_asked_for_by_its_name(tested: TestedApp) -> None:
    body = await (await tested.define(requested_pipeline="spellcheck")).get_json()

    assert body["final_pipeline"] == ["spellcheck"]


async def test_the_callers_count_of_essays_is_used_when_there_is_no_better(
    tested: TestedApp,
) -> None:
    await tested.repository.apply([update("batch-1", evidence("essay-1"))])

    body = await (await tested.define(batch_metadata={"essays_total": 1})).get_json()

    assert body["final_pipeline"] == ["cj_assessment"]


@pytest.mark.parametrize("total", [0, -1, "1", 1.0, 1.5, True, 10**30, [1], {}])
async def test_a_count_that_is_none_is_as_good_as_unknown(tested: TestedApp, total: object) -> None:
    await tested.repository.apply([update("batch-1", evidence("essay-1"))])

    with capture_logs() as logs:
        response = await tested.define(batch_metadata={"essays_total": total})

    assert response.status_code == 200
    body = await response.get_json()
    assert body["final_pipeline"] == ["spellcheck", "cj_assessment"]
    assert body["phases"][0]["reason"] == "total_unknown"
    (line,) = [entry for entry in logs if entry["event"] == "unusable_essays_total_ignored"]
    assert line["log_level"] == "info"


async def test_a_count_that_is_not_given_is_nothing_to_log(tested: TestedApp) -> None:
    with capture_logs() as logs:
        await tested.define(batch_metadata={"essays_total": None})

    assert "unusable_essays_total_ignored" not in [entry["event"] for entry in logs]


async def test_what_bos_sends_is_taken(tested: TestedApp) -> None:
    """Fields we do not know are ignored, at every level: BOS may be newer."""
    response = await tested.define(
        batch_metadata={
            "prompt_attached": True,
            "prompt_source": "canonical",
            "assignment_id": None,
            "new": [1],
        },
        further={"nested": True},
    )

    assert response.status_code == 200


async def test_a_batch_id_is_stripped(tested: TestedApp) -> None:
    body = await (await tested.define(batch_id="  batch-1\n")).get_json()

    assert body["batch_id"] == "batch-1"


async def test_a_resolution_is_announced_and_counted(tested: TestedApp) -> None:
    await tested.repository.apply([update("batch-1", registration(1), evidence("essay-1"))])

    await tested.define(correlation_id="c-1")

    (resolution,) = tested.announcer.resolutions
    assert resolution.request.correlation_id == "c-1"
    assert resolution.skipped == ["spellcheck"]
    assert not tested.announcer.failures
    success = {"status": "success", "pipeline": "cj_assessment"}
    assert await tested.sample("bcs_pipeline_resolutions_total", **success) == 1
    duration = "bcs_pipeline_resolution_duration_seconds_count"
    assert await tested.sample(duration, status="success") == 1
    assert await tested.sample("bcs_pipeline_rules_success_total") == 1
    assert await tested.sample("bcs_pipeline_rules_pruned_total", step="spellcheck") == 1


async def test_charset_of_the_content_type_is_accepted(tested: TestedApp) -> None:
    response = await tested.client.post(
        DEFINE,
        data=b'{"batch_id": "b", "requested_pipeline": "nlp"}',
        headers={"Content-Type": "application/json; charset=utf-8"},
    )

    assert response.status_code == 200


async def test_an_answer_that_prunes_is_one_line_that_says_why_and_for_whom(
    tested: TestedApp,
) -> None:
    await tested.repository.apply([update("batch-1", registration(1), evidence("essay-1"))])
    question = {"batch_id": "batch-1", "requested_pipeline": "cj_assessment"}
    headers = {"User-Agent": "bos/1\x1b[31m\x7f" + "x" * 1000, "X-Correlation-ID": "c-1"}

    with capture_logs() as logs:
        response = await tested.client.post(DEFINE, json=question, headers=headers)
        await tested.define(batch_id="batch-2")  # prunes nothing

    version = (await response.get_json())["pipeline_version"]
    (line,) = [entry for entry in logs if entry["event"] == "phases_pruned"]
    agent = line.pop("user_agent")
    assert line.pop("known_until") == (await response.get_json())["known_until"].replace(
        "Z", "+00:00"
    )
    assert line == {
        "event": "phases_pruned",
        "log_level": "info",
        "batch_id": "batch-1",
        "pipeline": "cj_assessment",
        "pipeline_version": version,
        "phases": {"spellcheck": "skip: already_completed", "cj_assessment": "run: requested"},
        "essays_total": None,
        "correlation_id": "c-1",
        "caller": "<local>",
    }
    assert agent.startswith("bos/1")
    assert len(agent) == 200


async def test_answers_are_counted_by_verdict_reason_and_whether_they_are_degraded(
    tested: TestedApp,
) -> None:
    await tested.repository.apply([update("batch-1", registration(1), evidence("essay-1"))])
    await tested.define()
    tested.repository.reading = SummaryReading(
        summary=BatchCompletionSummary(batch_id=BatchId("batch-1"), is_whole=False)
    )
    await tested.define()

    skipped = {"verdict": "skip", "reason": "already_completed"}
    unknown = {"verdict": "run", "reason": "state_unknown"}
    assert await tested.sample("bcs_phase_verdicts_total", **skipped) == 1
    assert await tested.sample("bcs_phase_verdicts_total", **unknown) == 2
    assert await tested.sample("bcs_degraded_answers_total") == 1


async def test_an_answer_waits_where_what_it_has_to_tell_finds_no_room(tested: TestedApp) -> None:
    tested.announcer.has_room.clear()
    asking = asyncio.create_task(tested.define())
    await asyncio.sleep(0.05)
    assert not asking.done()
    assert tested.announcer.resolutions == []

    tested.announcer.has_room.set()

    assert (await asking).status_code == 200
    assert len(tested.announcer.resolutions) == 1
