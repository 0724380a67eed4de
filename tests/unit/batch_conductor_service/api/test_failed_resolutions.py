import asyncio
import json
import time

import pytest

from batch_conductor_service.exceptions import PrerequisiteMissingError, UnknownPipelineError
from service_libs.breakers import FAILURES_TO_OPEN, CircuitBreakers
from service_libs.exceptions import OverloadedError, ServiceError, StoreUnavailableError
from tests.support.api import DEFINE, TestedApp, assert_problem

JSON = {"Content-Type": "application/json"}


async def test_an_unknown_pipeline_is_named_with_the_known_ones(tested: TestedApp) -> None:
    response = await tested.define(requested_pipeline="essay_painting")

    body = await response.get_json()
    assert_problem(response, body, 404, "unknown_pipeline")
    assert "essay_painting" in body["detail"]
    assert "cj_assessment" in body["detail"]
    ((request, error),) = tested.announcer.failures
    assert request.requested_pipeline == "essay_painting"
    assert isinstance(error, UnknownPipelineError)
    unknown = {"status": "failure", "pipeline": "unknown"}
    assert await tested.sample("bcs_pipeline_resolutions_total", **unknown) == 1


@pytest.mark.parametrize(("padding", "is_kept"), [(0, True), (64 * 1024, False)])
async def test_a_failed_question_is_handed_on_as_it_was_sent(
    tested: TestedApp, padding: int, *, is_kept: bool
) -> None:
    body = b'{"batch_id":  "b1", "requested_pipeline": "essay_painting"}' + b" " * padding

    await tested.client.post(DEFINE, data=body, headers=JSON)

    ((request, _),) = tested.announcer.failures
    assert request.body == (body if is_kept else None)


async def test_no_store_that_answers_asks_to_come_again(tested: TestedApp) -> None:
    tested.repository.error = StoreUnavailableError()

    response = await tested.define()

    assert_problem(response, await response.get_json(), 503, "state_unavailable")
    assert int(response.headers["Retry-After"]) > 0
    ((_, error),) = tested.announcer.failures
    assert isinstance(error, StoreUnavailableError)
    failure = {"status": "failure", "pipeline": "cj_assessment"}
    assert await tested.sample("bcs_pipeline_resolutions_total", **failure) == 1


async def test_refused_prerequisites_are_a_conflict(tested: TestedApp) -> None:
    tested.repository.error = PrerequisiteMissingError("nlp", "spellcheck")

    response = await tested.define()

    assert_problem(response, await response.get_json(), 409, "prerequisite_missing")
    assert len(tested.announcer.failures) == 1
    assert await tested.sample("bcs_pipeline_rules_error_total") == 1


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("secret in /srv/app.py"),
        TimeoutError("secret"),
        ServiceError("secret"),
    ],
)
async def test_a_fault_of_ours_tells_nothing_of_the_inside(
    tested: TestedApp, error: Exception
) -> None:
    tested.repository.error = error

    response = await tested.define()

    assert_problem(response, await response.get_json(), 500, "internal_error")
    text = await response.get_data(as_text=True)
    assert "secret" not in text
    assert "Traceback" not in text
    assert type(error).__name__ not in text
    assert len(tested.announcer.failures) == 1


async def test_more_requests_than_allowed_are_told_to_come_again() -> None:
    tested = TestedApp(max_concurrent_requests=1)
    tested.repository.may_answer.clear()
    first = asyncio.create_task(tested.define())
    await tested.repository.has_been_asked.wait()

    refused = await tested.define()
    tested.repository.may_answer.set()

    assert_problem(refused, await refused.get_json(), 503, "overloaded")
    assert int(refused.headers["Retry-After"]) > 0
    ((_, error),) = tested.announcer.failures
    assert isinstance(error, OverloadedError)
    assert (await first).status_code == 200
    assert (await tested.define()).status_code == 200


async def test_an_answer_is_given_up_five_seconds_before_its_caller_gives_up() -> None:
    tested = TestedApp(http_timeout=5.3)
    tested.repository.may_answer.clear()
    began = time.monotonic()

    response = await tested.define()

    assert 0.3 <= time.monotonic() - began < 1.3
    assert_problem(response, await response.get_json(), 503, "deadline_exceeded")
    assert len(tested.announcer.failures) == 1
    tested.repository.may_answer.set()
    assert (await tested.define()).status_code == 200


async def test_a_body_that_never_ends_is_the_callers_fault_and_no_failed_resolution() -> None:
    tested = TestedApp(http_timeout=5.05)

    async with tested.client.request(DEFINE, method="POST", headers=JSON) as connection:
        await connection.send(b'{"batch_id": ')
    response = await connection.as_response()

    assert_problem(response, await response.get_json(), 408, "request_timeout")
    assert response.headers["Connection"] == "close"
    assert not tested.announcer.failures


async def test_a_request_without_a_place_is_refused_before_its_body_is_read() -> None:
    tested = TestedApp(max_concurrent_requests=1)
    tested.repository.may_answer.clear()
    first = asyncio.create_task(tested.define())
    await tested.repository.has_been_asked.wait()

    async with tested.client.request(DEFINE, method="POST", headers=JSON) as connection:
        await connection.send(b'{"batch_id": ')
        async with asyncio.timeout(1):
            body = json.loads(await connection.receive())
        response = await connection.as_response()

    assert_problem(response, body, 503, "overloaded")
    assert int(response.headers["Retry-After"]) > 0
    assert response.headers["Connection"] == "close"
    unread = {"status": "failure", "pipeline": "unknown"}
    assert await tested.sample("bcs_pipeline_resolutions_total", **unread) == 1
    tested.repository.may_answer.set()
    assert (await first).status_code == 200


async def test_a_body_that_is_on_its_way_takes_no_place() -> None:
    tested = TestedApp(max_concurrent_requests=1)

    async with tested.client.request(DEFINE, method="POST", headers=JSON) as connection:
        await connection.send(b'{"batch_id": ')
        await asyncio.sleep(0.01)

        assert (await tested.define()).status_code == 200
        await connection.disconnect()


async def test_callers_are_told_when_a_store_is_probed_next(tested: TestedApp) -> None:
    breakers = await tested.container.get(CircuitBreakers)

    async def fail() -> None:
        raise StoreUnavailableError

    for name in ("redis", "postgresql"):
        for _ in range(FAILURES_TO_OPEN):
            with pytest.raises(StoreUnavailableError):
                await breakers.call(name, fail)
    tested.repository.error = StoreUnavailableError()

    response = await tested.define()

    assert response.headers["Retry-After"] == str(breakers.retry_after_seconds) == "3"


async def test_a_caller_that_hangs_up_leaves_nothing_half_done() -> None:
    tested = TestedApp(max_concurrent_requests=1)
    tested.repository.may_answer.clear()
    async with tested.client.request(DEFINE, method="POST", headers=JSON) as connection:
        await connection.send(b'{"batch_id": "batch-1", "requested_pipeline": "nlp"}')
        await connection.send_complete()
        await tested.repository.has_been_asked.wait()

        await connection.disconnect()
        await asyncio.sleep(0.01)
        tested.repository.may_answer.set()
        await asyncio.sleep(0.01)

        assert not tested.announcer.resolutions
        assert not tested.announcer.failures
        assert (await tested.define()).status_code == 200
