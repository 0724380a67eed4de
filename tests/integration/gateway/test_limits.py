"""How often who may ask, and what the answers say about it."""

import asyncio
from collections import Counter

import httpx
import pytest

from local_stack.valkey import ValkeyServer
from tests.support.gateway.app import GENEROUS, Gateway, gateway_app, pipelines_path, status_path
from tests.support.gateway.tokens import bearer
from tests.support.gateway.web import Web, batch
from tests.support.waiting import eventually

LIMITS = {
    "rate_limit_requests": 100,
    "rate_limit_pipelines_per_minute": 20,
    "rate_limit_pipelines_burst": 5,
    "rate_limit_status_per_minute": 120,
    "rate_limit_auth_failures_per_minute": 30,
}
PIPELINES = "/v1/batches/{batch_id}/pipelines"


def statuses(answers: list[httpx.Response]) -> Counter[int]:
    """Return how often each status was answered."""
    return Counter(answer.status_code for answer in answers)


@pytest.fixture(params=["process", "redis"])
async def limits(request: pytest.FixtureRequest, redis_url: str) -> dict[str, object]:
    return {**LIMITS, "redis_url": redis_url if request.param == "redis" else ""}


async def test_of_fifty_clicks_at_once_five_are_taken(
    web: Web, kafka: str, limits: dict[str, object], batch_id: str
) -> None:
    web.put(batch(batch_id))

    async with gateway_app(bos_url=web.url, kafka_bootstrap_servers=kafka, **limits) as gateway:
        answers = await asyncio.gather(*(gateway.post(batch_id) for _ in range(50)))
        other = await gateway.post(batch_id, user="somebody else")

        assert statuses(answers) == {202: 5, 429: 45}
        assert other.status_code == 404  # not his, and not limited
        refused = [answer for answer in answers if answer.status_code == 429]
        for answer in refused:
            assert answer.json()["code"] == "rate_limited"
            assert answer.json()["retryable"] is True
            assert 1 <= int(answer.headers["Retry-After"]) <= 10
            assert '"burst";r=0;' in answer.headers["RateLimit"]
        assert answers[0].headers["RateLimit-Policy"] == '"burst";q=5;w=10, "minute";q=20;w=60'
        limited = {"endpoint": PIPELINES, "policy": "burst"}
        assert gateway.sample("gateway_rate_limited_total", **limited) == 45


async def test_two_replicas_share_what_a_user_has(
    web: Web, kafka: str, redis_url: str, batch_id: str
) -> None:
    web.put(batch(batch_id))
    settings = {
        **LIMITS,
        "redis_url": redis_url,
        "bos_url": web.url,
        "kafka_bootstrap_servers": kafka,
    }

    async with gateway_app(**settings) as one, gateway_app(**settings) as two:
        answers = await asyncio.gather(
            *((one, two)[number % 2].post(batch_id) for number in range(50))
        )

    assert statuses(answers) == {202: 5, 429: 45}


async def test_each_route_has_limits_of_its_own(
    web: Web, limits: dict[str, object], batch_id: str
) -> None:
    web.put(batch(batch_id))

    async with gateway_app(bos_url=web.url, **limits) as gateway:
        status = [await gateway.status(batch_id) for _ in range(121)]
        unknown = [await gateway.client.get("/v1/x", headers=bearer()) for _ in range(101)]
        other_batch = await gateway.status("another")

    assert statuses(status) == {200: 120, 429: 1}
    assert statuses(unknown) == {404: 100, 429: 1}
    assert other_batch.status_code == 429  # the route counts, not the batch


async def test_a_refusal_that_is_not_for_the_limit_says_how_one_stands_too(
    gateway: Gateway,
) -> None:
    answers = [
        await gateway.post("unknown"),
        await gateway.status("unknown"),
        await gateway.client.get("/v1/unknown", headers=bearer()),
        await gateway.client.delete(status_path("unknown"), headers=bearer()),
        await gateway.client.get(status_path("unknown")),
    ]

    assert [answer.status_code for answer in answers] == [404, 404, 404, 405, 401]
    for answer in answers:
        assert answer.headers["RateLimit"]
        assert answer.headers["RateLimit-Policy"]


async def test_failures_count_by_address_and_never_against_a_good_token(
    web: Web, limits: dict[str, object], batch_id: str
) -> None:
    """A school is one address."""
    web.put(batch(batch_id))

    async with gateway_app(bos_url=web.url, **limits) as gateway:
        bad = {"Authorization": "Bearer nonsense"}
        failed = [await gateway.client.get(status_path(batch_id), headers=bad) for _ in range(31)]
        good = await gateway.status(batch_id)

        assert statuses(failed) == {401: 30, 429: 1}
        assert good.status_code == 200
        assert failed[0].headers["RateLimit-Policy"] == '"auth-failures";q=30;w=60'
        assert failed[-1].headers["Retry-After"]


@pytest.mark.parametrize(
    ("trusted", "expected"),
    [([], {401: 2, 429: 2}), (["192.0.2.0/24"], {401: 4})],
    ids=["from-anybody", "from-a-proxy-that-is-trusted"],
)
async def test_an_address_in_a_header_is_believed_of_listed_peers_only(
    trusted: list[str], expected: dict[int, int]
) -> None:
    async with gateway_app(
        rate_limit_auth_failures_per_minute=2, trusted_proxies=trusted
    ) as gateway:
        answers = [
            await gateway.client.get(
                status_path("batch-1"), headers={"X-Forwarded-For": f"203.0.113.{number}"}
            )
            for number in range(4)
        ]

    assert statuses(answers) == expected


async def test_a_store_that_dies_leaves_limits_to_each_process(
    web: Web, kafka: str, own_redis: ValkeyServer, batch_id: str
) -> None:
    web.put(batch(batch_id))
    settings = {
        **LIMITS,
        "redis_url": own_redis.url,
        "bos_url": web.url,
        "kafka_bootstrap_servers": kafka,
    }

    async with gateway_app(**settings) as gateway:
        before = [await gateway.post(batch_id) for _ in range(2)]
        own_redis.kill()
        during = await asyncio.gather(*(gateway.post(batch_id) for _ in range(20)))

        assert statuses(before) == {202: 2}
        assert statuses(during) == {202: 5, 429: 15}
        assert gateway.sample("gateway_limits_per_process") == 1


@pytest.mark.parametrize("drop", [b"", b"+"], ids=["silent", "dripping"])
async def test_a_store_that_never_ends_its_answer_is_not_waited_for(
    web: Web, drop: bytes, batch_id: str
) -> None:
    web.put(batch(batch_id))

    open_connections = 0

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_connections
        open_connections += 1
        leaving = asyncio.ensure_future(reader.read())
        while not leaving.done():
            writer.write(drop)
            await asyncio.wait({leaving}, timeout=0.1)
        await asyncio.gather(leaving, return_exceptions=True)
        writer.close()
        open_connections -= 1

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with gateway_app(bos_url=web.url, redis_url=url) as gateway, asyncio.timeout(3):
        answers = await asyncio.gather(*(gateway.status(batch_id) for _ in range(10)))

        assert statuses(answers) == {200: 10}
        assert gateway.sample("gateway_limits_per_process") == 1
    await eventually(lambda: not open_connections)
    server.close()


async def test_nobody_is_limited_by_what_others_do(gateway: Gateway, web: Web) -> None:
    web.put(batch("batch-1"))

    answer = await gateway.status("batch-1")

    assert answer.headers["RateLimit"] == f'"minute";r={GENEROUS - 1};t=60'
    assert (await gateway.client.post(pipelines_path("batch-1"))).status_code == 401
