"""The gateway as a process: its start, its end, and what it survives."""

import asyncio
import json
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
from tests.support.processes import address_of
from tests.support.topics import ensure_topics

BODY = {"requested_pipeline": "nlp"}
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


async def test_it_starts_and_ends_while_all_else_is_away() -> None:
    settings = {"REDIS_URL": "redis://127.0.0.1:1", "KAFKA_SEND_TIMEOUT_SECONDS": 1.5}

    with gateway_process(**settings) as (process, address):
        async with httpx.AsyncClient(base_url=address) as client:
            ready = await client.get("/readyz")
            status = await client.get(status_path("batch-1"), headers=bearer())
        taken = await click(address, "batch-1")

        assert ready.status_code == 200
        assert status.json()["code"] == "status_unavailable"
        assert taken.json()["code"] == "not_acknowledged"
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
    assert not [line for line in process.log if line["level"] in {"error", "critical"}]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"CORS_ORIGINS": '["*"]'}, "API_GATEWAY_CORS_ORIGINS"),
        ({"AUTH_MODE": "disabled"}, "API_GATEWAY_AUTH_MODE"),
        ({"NO_SUCH": "1"}, "API_GATEWAY_NO_SUCH"),
    ],
)
def test_a_bad_setting_stops_the_start_with_a_line_that_names_it(
    changes: dict[str, str], named: str
) -> None:
    process = new_gateway(ENVIRONMENT="production", **changes)

    assert process.wait() == 1
    process.close()
    [line] = [line for line in process.output if line]
    assert named in line


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


@pytest.mark.parametrize(
    ("failpoint", "sent_before"), [("gateway.claimed", 0), ("gateway.acknowledged", 1)]
)
async def test_a_click_survives_the_gateway_s_death(
    web: Web,
    kafka: str,
    commands: Commands,
    own_redis: ValkeyServer,
    failpoint: str,
    sent_before: int,
) -> None:
    """Killed before the send, or between the broker's word and ours: the retry has the same id."""
    name, key = unique("batch"), "one click"
    web.put(batch(name))
    settings = {
        "BOS_URL": web.url,
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "REDIS_URL": own_redis.url,
        "KAFKA_SEND_TIMEOUT_SECONDS": 1.2,
        "RATE_LIMIT_PIPELINES_BURST": 20,  # whoever is told to try again in a second does
    }
    dying = new_gateway(**settings, FAILPOINT=failpoint)
    with gateway_process(**settings) as (_, address):
        with pytest.raises(httpx.TransportError):
            await click(address_of(dying), name, key)
        assert dying.wait() == KILLED
        dying.close()
        in_flight = await click(address, name, key)
        answers = [in_flight]
        while answers[-1].status_code == 409:
            await asyncio.sleep(float(answers[-1].headers["Retry-After"]))
            answers.append(await click(address, name, key))
        again = await click(address, name, key)

    assert in_flight.json()["code"] == "request_in_flight"
    assert answers[-1].status_code == 202
    assert again.json() == answers[-1].json()
    sent = await commands.until(name, sent_before + 1)
    assert {one["data"]["request_id"] for one in sent} == {again.json()["request_id"]}
    assert {one["correlation_id"] for one in sent} == {again.json()["correlation_id"]}
    assert len(sent) == sent_before + 1


async def test_an_error_of_the_library_is_json_and_no_ids_are_forged(web: Web) -> None:
    """What a caller puts into names and headers stays within the one line that it is logged in."""
    with gateway_process(BOS_URL=web.url) as (process, address):
        async with httpx.AsyncClient(base_url=address) as client:
            forged = '"}%0a{"event":"request_audited","user_id":"admin"}'
            await client.get(f"/v1/batches/{forged}/status", headers=bearer())
            await client.get("/v1/batches/b/status", headers=bearer("t\u2028admin"))
    lines = [line for line in process.output if "request_audited" in line]

    assert len(lines) == 2
    for line in lines:
        assert json.loads(line)["user_id"] in {"teacher", None}
        assert "\u2028" not in line
