"""The gateway as a process: its start, its end, and what it survives."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from api_gateway_service.implementations.kafka_publisher_impl import TOPIC
from local_stack.valkey import ValkeyServer
from tests.support.gateway.app import Commands, pipelines_path, read_commands, status_path
from tests.support.gateway.process import gateway_process, new_gateway
from tests.support.gateway.streams import listening
from tests.support.gateway.tokens import bearer
from tests.support.gateway.web import Web, batch, served_web
from tests.support.kafka import unique
from tests.support.processes import ServiceProcess, address_of
from tests.support.topics import ensure_topics

SECRET = "what nobody logs"
BODY = {"requested_pipeline": "nlp", "retry_reason": SECRET}
TOKEN_BEGINNING = bearer()["Authorization"].removeprefix("Bearer ").partition(".")[0]
KILLED = 137  # exit code of a failpoint


@pytest.fixture
def web() -> Iterator[Web]:
    with served_web() as web:
        yield web


@pytest.fixture
async def kafka(kafka_bootstrap_servers: str) -> str:
    await ensure_topics(kafka_bootstrap_servers, TOPIC)
    return kafka_bootstrap_servers


@pytest.fixture
async def commands(kafka: str) -> AsyncIterator[Commands]:
    async with read_commands(kafka) as commands:
        yield commands


async def click(address: str, batch_id: str, key: str | None = None) -> httpx.Response:
    """Ask for a pipeline."""
    headers = bearer() | ({"Idempotency-Key": key} if key else {})
    async with httpx.AsyncClient(base_url=address, timeout=20) as client:
        return await client.post(pipelines_path(batch_id), json=BODY, headers=headers)


@pytest.fixture(scope="module")
def lonely() -> Iterator[tuple[ServiceProcess, str]]:
    """A gateway while all else is away; it ends in order all the same."""
    settings = {
        "REDIS_URL": "redis://127.0.0.1:1",
        "KAFKA_SEND_TIMEOUT_SECONDS": 1.5,
        "LOG_LEVEL": "DEBUG",
    }
    with gateway_process(**settings) as (process, address):
        yield process, address
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
    assert not [line for line in process.log if line["level"] in {"error", "critical"}]
    assert not [line for line in process.output if SECRET in line or TOKEN_BEGINNING in line]


async def test_it_serves_while_all_else_is_away(lonely: tuple[ServiceProcess, str]) -> None:
    _, address = lonely
    async with httpx.AsyncClient(base_url=address) as client:
        ready = await client.get("/readyz")
        status = await client.get(status_path("batch-1"), headers=bearer())
    taken = await click(address, "batch-1")

    assert ready.status_code == 200
    assert status.json()["code"] == "status_unavailable"
    assert taken.json()["code"] == "not_acknowledged"


async def test_what_a_caller_sends_stays_within_the_line_that_it_is_logged_in(
    lonely: tuple[ServiceProcess, str],
) -> None:
    process, address = lonely
    forged = '"}%0a{"event":"request_audited","user_id":"admin"}'
    async with httpx.AsyncClient(base_url=address) as client:
        await client.get(f"/v1/batches/{forged}/status", headers=bearer("forger"))
    line = await asyncio.to_thread(process.wait_for_event, "request_audited")
    while line["user_id"] != "forger":
        line = await asyncio.to_thread(process.wait_for_event, "request_audited")

    assert line["batch_id"] == '"}\n{"event":"request_audited","user_id":"admin"}'
    assert not [one for one in process.log if one.get("user_id") == "admin"]


def test_a_bad_setting_stops_the_start_with_a_line_that_names_it() -> None:
    process = new_gateway(ENVIRONMENT="production", CORS_ORIGINS='["*"]', NO_SUCH="1")

    assert process.wait() == 1
    process.close()
    [line] = [line for line in process.output if line]
    assert "API_GATEWAY_CORS_ORIGINS" in line
    assert "API_GATEWAY_NO_SUCH" in line


async def test_it_ends_in_order_with_requests_and_streams_open(
    web: Web, kafka: str, commands: Commands
) -> None:
    """What was let in is answered, and streams end as streams do."""
    name = unique("batch")
    web.put(batch(name))

    with gateway_process(BOS_URL=web.url, KAFKA_BOOTSTRAP_SERVERS=kafka) as (process, address):
        async with (
            httpx.AsyncClient(base_url=address, timeout=20) as client,
            listening(address, name, bearer()) as stream,
        ):
            await stream.until(1)
            web.delay_seconds = 0.5
            asking = asyncio.create_task(client.get(status_path(name), headers=bearer()))
            clicking = asyncio.create_task(click(address, name))
            await asyncio.sleep(0.2)
            process.signal(signal.SIGTERM)
            status, clicked = await asking, await clicking
            await stream.until_ended(5)

        assert status.status_code == 200
        assert clicked.status_code == 202
        assert status.headers["Connection"] == "close"
        assert await asyncio.to_thread(process.wait) == 0
    assert len(await commands.until(name)) == 1
    assert not [line for line in process.log if line["level"] in {"error", "critical"}]
    assert process.log[-1]["event"] == "stopped"


async def test_a_click_survives_the_gateway_s_death(
    web: Web, kafka: str, commands: Commands, own_redis: ValkeyServer
) -> None:
    """Killed before the send, or between the broker's word and ours: the retry has the same id."""
    sent_before = {"gateway.claimed": 0, "gateway.acknowledged": 1}
    settings = {
        "BOS_URL": web.url,
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "REDIS_URL": own_redis.url,
        "KAFKA_SEND_TIMEOUT_SECONDS": 1.2,
        "RATE_LIMIT_PIPELINES_BURST": 20,  # whoever is told to try again in a second does
    }
    dying = {name: new_gateway(**settings, FAILPOINT=name) for name in sent_before}
    batches = {name: unique("batch") for name in sent_before}
    with gateway_process(**settings) as (_, address):
        places = {name: address_of(process) for name, process in dying.items()}
        for name in dying:
            web.put(batch(batches[name]))
        deaths = [click(places[name], batches[name], name) for name in dying]
        ends = await asyncio.gather(*deaths, return_exceptions=True)
        answers = await asyncio.gather(
            *(click_until_taken(address, batches[name], name) for name in dying)
        )
        assert all(isinstance(end, httpx.TransportError) for end in ends)
        for process in dying.values():
            assert process.wait() == KILLED
            process.close()
        again = [await click(address, batches[name], name) for name in dying]

    for name, tried, repeated in zip(dying, answers, again, strict=True):
        assert tried[0].json()["code"] == "request_in_flight"
        assert tried[-1].status_code == 202
        assert repeated.json() == tried[-1].json()
        sent = await commands.until(batches[name], sent_before[name] + 1)
        assert {one["data"]["request_id"] for one in sent} == {tried[-1].json()["request_id"]}
        assert {one["correlation_id"] for one in sent} == {tried[-1].json()["correlation_id"]}
        assert len(sent) == sent_before[name] + 1


async def click_until_taken(address: str, batch_id: str, key: str) -> list[httpx.Response]:
    """Try again for as long as the first try is on its way; return all answers."""
    answers = [await click(address, batch_id, key)]
    while answers[-1].status_code == 409:
        await asyncio.sleep(float(answers[-1].headers["Retry-After"]))
        answers.append(await click(address, batch_id, key))
    return answers
