"""The same click is taken once, whoever retries it, and wherever it arrives."""

import asyncio
import uuid

import pytest

from tests.support.gateway.app import Commands, Gateway, gateway_app
from tests.support.gateway.tokens import bearer
from tests.support.gateway.web import Web, batch

CORRELATION = str(uuid.UUID(int=99))


@pytest.fixture(params=["process", "redis"])
def store(request: pytest.FixtureRequest, redis_url: str) -> dict[str, object]:
    return {"redis_url": redis_url if request.param == "redis" else ""}


async def test_the_same_key_has_the_same_answer_and_one_command(
    web: Web, kafka: str, commands: Commands, store: dict[str, object], batch_id: str
) -> None:
    web.put(batch(batch_id))

    async with gateway_app(bos_url=web.url, kafka_bootstrap_servers=kafka, **store) as gateway:
        first = await gateway.post(batch_id, Idempotency_Key="click-1")
        second = await gateway.post(
            batch_id, Idempotency_Key="click-1", X_Correlation_ID=CORRELATION
        )
        other = await gateway.post(batch_id, Idempotency_Key="click-2")

    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json() == second.json()
    assert second.headers["X-Correlation-ID"] == CORRELATION
    assert other.json()["request_id"] != first.json()["request_id"]
    assert len(await commands.until(batch_id, 2)) == 2


async def test_of_the_same_click_at_once_one_is_taken_and_the_others_may_retry(
    web: Web, kafka: str, commands: Commands, store: dict[str, object], batch_id: str
) -> None:
    web.put(batch(batch_id))

    async with gateway_app(bos_url=web.url, kafka_bootstrap_servers=kafka, **store) as gateway:
        answers = await asyncio.gather(
            *(gateway.post(batch_id, Idempotency_Key="click") for _ in range(10))
        )
        again = await gateway.post(batch_id, Idempotency_Key="click")

    taken = [answer for answer in answers if answer.status_code == 202]
    refused = [answer for answer in answers if answer.status_code == 409]
    assert len(taken) + len(refused) == 10
    assert taken
    assert {answer.json()["request_id"] for answer in [*taken, again]} == {
        taken[0].json()["request_id"]
    }
    for answer in refused:
        assert answer.json()["code"] == "request_in_flight"
        assert answer.json()["retryable"] is True
        assert answer.headers["Retry-After"] == "2"
    assert len(await commands.until(batch_id)) == 1


@pytest.mark.parametrize("changed", ["body", "batch"])
async def test_a_key_is_of_one_click_only(
    web: Web, kafka: str, store: dict[str, object], batch_id: str, changed: str
) -> None:
    web.put(batch(batch_id))
    web.put(batch(f"{batch_id}-2"))
    target = f"{batch_id}-2" if changed == "batch" else batch_id
    body = {"requested_pipeline": "nlp", "is_retry": changed == "body"}

    async with gateway_app(bos_url=web.url, kafka_bootstrap_servers=kafka, **store) as gateway:
        await gateway.post(batch_id, Idempotency_Key="click")
        other = await gateway.post(target, body, Idempotency_Key="click")

    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert other.json()["retryable"] is False


async def test_two_users_may_have_the_same_key(gateway: Gateway, web: Web, batch_id: str) -> None:
    web.put(batch(batch_id))
    web.put(batch(f"{batch_id}-2", user="other"))

    mine = await gateway.post(batch_id, Idempotency_Key="click")
    theirs = await gateway.post(f"{batch_id}-2", user="other", Idempotency_Key="click")

    assert (mine.status_code, theirs.status_code) == (202, 202)
    assert mine.json()["request_id"] != theirs.json()["request_id"]


async def test_what_was_not_acknowledged_may_be_tried_again_at_once(
    web: Web, kafka: str, commands: Commands, redis_url: str, batch_id: str
) -> None:
    """The send may have arrived: the retry has the same id, by which BOS knows it."""
    web.put(batch(batch_id))
    settings = {"bos_url": web.url, "redis_url": redis_url}

    async with gateway_app(**settings, kafka_send_timeout_seconds=1.2) as without_kafka:
        unknown = await without_kafka.post(batch_id, Idempotency_Key="click")
    async with gateway_app(**settings, kafka_bootstrap_servers=kafka) as gateway:
        retried = await gateway.post(batch_id, Idempotency_Key="click")

    assert (unknown.status_code, unknown.json()["code"]) == (503, "not_acknowledged")
    assert retried.status_code == 202
    [sent] = await commands.until(batch_id)
    assert sent["data"]["request_id"] == retried.json()["request_id"]
    assert sent["correlation_id"] == retried.json()["correlation_id"]
    # The first try's: whoever looks for what became of it finds the run by it.
    assert retried.json()["correlation_id"] == unknown.json()["correlation_id"]


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "a\tb", "clé"])
async def test_a_key_that_is_none_is_refused(gateway: Gateway, key: str) -> None:
    answer = await gateway.client.post(
        "/v1/batches/batch-1/pipelines",
        json={"requested_pipeline": "nlp"},
        headers=[
            *((name.encode(), value.encode()) for name, value in bearer().items()),
            (b"Idempotency-Key", key.encode("latin-1")),
        ],
    )

    assert answer.status_code == 422
    assert [fault["field"] for fault in answer.json()["errors"]] == ["Idempotency-Key"]
