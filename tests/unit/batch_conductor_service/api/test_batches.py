import pytest

from batch_conductor_service.models import BatchCompletionSummary, BatchId, SummaryReading
from service_libs.exceptions import StoreUnavailableError
from tests.support.api import TestedApp, assert_problem
from tests.support.builders import DAY, evidence, minutes, outcome, registration, update

BATCH = "/internal/v1/batches/batch-1"


async def test_the_progress_of_every_step_is_shown(tested: TestedApp) -> None:
    await tested.repository.apply(
        [
            update(
                "batch-1",
                registration(2),
                evidence("essay-1", storage_id="text-1"),
                evidence("essay-2", at=minutes(5), storage_id="text-2"),
                evidence("essay-1", step="nlp"),
                evidence("essay-2", "failed", step="nlp"),
            )
        ]
    )

    response = await tested.client.get(BATCH)

    assert response.status_code == 200
    assert await response.get_json() == {
        "batch_id": "batch-1",
        "essays_total": 2,
        "degraded": False,
        "steps": {
            "nlp": {
                "completed": 1,
                "failed": 1,
                "total": 2,
                "outcome": None,
                "completed_at": None,
                "is_complete": False,
                "reason": "failed_essays",
            },
            "spellcheck": {
                "completed": 2,
                "failed": 0,
                "total": 2,
                "outcome": None,
                "completed_at": f"{DAY}T12:05:00Z",
                "is_complete": True,
                "reason": "already_completed",
            },
        },
        "outputs": {"spellcheck": {"essay-1": "text-1", "essay-2": "text-2"}},
    }


async def test_a_step_known_by_its_outcome_alone_is_shown(tested: TestedApp) -> None:
    """A number that only an outcome tells is no number of the batch, but of what it is about."""
    await tested.repository.apply([update("batch-1", outcome(total=3))])

    body = await (await tested.client.get(BATCH)).get_json()

    assert body["essays_total"] is None
    step = body["steps"]["spellcheck"]
    assert (step["outcome"], step["total"]) == ("status-confirms", 3)
    assert step["reason"] == "total_unknown"
    assert body["outputs"] == {}


async def test_a_batch_that_is_only_registered_is_known(tested: TestedApp) -> None:
    await tested.repository.apply([update("batch-1", registration(2))])

    body = await (await tested.client.get(BATCH)).get_json()

    assert body["essays_total"] == 2
    assert body["steps"] == {}


async def test_a_batch_nobody_has_heard_of_is_unknown(tested: TestedApp) -> None:
    response = await tested.client.get(BATCH)

    assert_problem(response, await response.get_json(), 404, "unknown_batch")


async def test_a_batch_that_may_only_be_out_of_reach_is_not_called_unknown(
    tested: TestedApp,
) -> None:
    summary = BatchCompletionSummary(batch_id=BatchId("batch-1"), is_whole=False)
    tested.repository.reading = SummaryReading(summary=summary)

    response = await tested.client.get(BATCH)

    assert_problem(response, await response.get_json(), 503, "state_unavailable")


async def test_no_store_that_answers_asks_to_come_again(tested: TestedApp) -> None:
    tested.repository.error = StoreUnavailableError()

    response = await tested.client.get(BATCH)

    assert_problem(response, await response.get_json(), 503, "state_unavailable")
    assert response.headers["Retry-After"]
    assert not tested.announcer.failures


@pytest.mark.parametrize("batch_id", ["a:b", "%7Bb%7D", "b" * 256, "%20"])
async def test_what_is_no_batch_id_is_refused(tested: TestedApp, batch_id: str) -> None:
    response = await tested.client.get(f"/internal/v1/batches/{batch_id}")

    body = await response.get_json()
    assert_problem(response, body, 400, "invalid_request")
    assert body["errors"][0]["field"] == "batch_id"


async def test_the_metrics_name_the_route_not_the_batch(tested: TestedApp) -> None:
    await tested.client.get(BATCH)

    shown = await (await tested.client.get("/metrics")).get_data(as_text=True)

    assert 'endpoint="/internal/v1/batches/<batch_id>"' in shown
    assert "batch-1" not in shown
