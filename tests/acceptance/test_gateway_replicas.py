"""Two gateways, each a process of its own, are one gateway to whoever calls them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest

from api_gateway_service.implementations.kafka_publisher_impl import TOPIC
from local_stack.valkey import ValkeyServer
from tests.support.gateway.app import Commands, pipelines_path, read_commands, status_path
from tests.support.gateway.platform import clients_of
from tests.support.gateway.process import gateway_process
from tests.support.gateway.tokens import bearer
from tests.support.gateway.web import Web, batch, served_web
from tests.support.kafka import unique
from tests.support.topics import ensure_topics

CLICKS = 50
BURST, STATUSES, FAILURES = 5, 120, 30  # as production has them


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with served_web() as web:
        yield web


@pytest.fixture
def batch_id(web: Web) -> str:
    """A batch of the user who has its name."""
    name = unique("batch")
    web.put(batch(name, user=name))
    return name


@pytest.fixture(scope="module")
def kafka(kafka_bootstrap_servers: str) -> str:
    asyncio.run(ensure_topics(kafka_bootstrap_servers, TOPIC))
    return kafka_bootstrap_servers


@pytest.fixture
async def commands(kafka: str) -> AsyncIterator[Commands]:
    async with read_commands(kafka) as commands:
        yield commands


@dataclass(frozen=True, slots=True)
class Replicas:
    """Two replicas, and how their callers come to either."""

    clients: list[httpx.AsyncClient]

    async def click(
        self, batch_id: str, replica: int, key: str | None = None, **body: object
    ) -> httpx.Response:
        """Ask one of them for a pipeline, as the user who has the batch's name."""
        return await self.clients[replica % 2].post(
            pipelines_path(batch_id),
            json={"requested_pipeline": "nlp", **body},
            headers=bearer(batch_id) | ({"Idempotency-Key": key} if key else {}),
        )

    async def look(self, batch_id: str, replica: int) -> httpx.Response:
        """Ask one of them for the status."""
        path = status_path(batch_id)
        return await self.clients[replica % 2].get(path, headers=bearer(batch_id))

    async def fail(self, replica: int) -> httpx.Response:
        """Ask one of them with a token that is none."""
        headers = {"Authorization": "Bearer nonsense"}
        return await self.clients[replica % 2].get(status_path("batch-1"), headers=headers)


@pytest.fixture(scope="module")
def addresses(web: Web, kafka: str, redis_server_url: str) -> Iterator[tuple[str, str]]:
    settings = {"BOS_URL": web.url, "KAFKA_BOOTSTRAP_SERVERS": kafka, "REDIS_URL": redis_server_url}
    with gateway_process(**settings) as (_, one), gateway_process(**settings) as (_, two):
        yield one, two


@pytest.fixture
async def replicas(addresses: tuple[str, str]) -> AsyncIterator[Replicas]:
    async with replicas_at(*addresses) as replicas:
        yield replicas


@asynccontextmanager
async def replicas_at(*addresses: str) -> AsyncIterator[Replicas]:
    """Connect to them."""
    async with clients_of(*addresses) as clients:
        yield Replicas(clients)


def statuses(answers: list[httpx.Response]) -> Counter[int]:
    """Return how often each status was answered."""
    return Counter(answer.status_code for answer in answers)


async def test_what_a_user_has_is_counted_over_both(
    replicas: Replicas, commands: Commands, batch_id: str
) -> None:
    clicks = await asyncio.gather(*(replicas.click(batch_id, n) for n in range(CLICKS)))
    looks = await asyncio.gather(*(replicas.look(batch_id, n) for n in range(2 * STATUSES)))

    assert statuses(clicks) == {202: BURST, 429: CLICKS - BURST}
    assert statuses(looks) == {200: STATUSES, 429: STATUSES}
    taken = {answer.json()["request_id"] for answer in clicks if answer.is_success}
    sent = await commands.until(batch_id, BURST)
    assert {one["data"]["request_id"] for one in sent} == taken
    assert len(sent) == len(taken) == BURST


async def test_failures_of_an_address_are_counted_over_both(replicas: Replicas) -> None:
    failed = await asyncio.gather(*(replicas.fail(n) for n in range(2 * FAILURES)))

    assert statuses(failed) == {401: FAILURES, 429: FAILURES}


async def test_a_click_under_a_key_is_one_wherever_it_arrives(
    replicas: Replicas, commands: Commands, batch_id: str
) -> None:
    tries = await asyncio.gather(*(replicas.click(batch_id, n, "the one") for n in range(3)))
    again = await replicas.click(batch_id, 0, "the one")
    other_body = await replicas.click(batch_id, 1, "the one", is_retry=True)
    next_click = await replicas.click(batch_id, 1, "another")

    assert set(statuses(tries)) <= {202, 409}
    first = next(answer for answer in tries if answer.is_success)
    assert all(one.content == first.content for one in (*tries, again) if one.is_success)
    assert again.is_success
    assert (other_body.status_code, other_body.json()["code"]) == (422, "idempotency_key_reused")
    assert next_click.status_code == 429  # each try counts
    [sent] = await commands.until(batch_id)
    assert sent["data"]["request_id"] == first.json()["request_id"]


async def test_a_replica_knows_what_one_that_died_has_taken(
    web: Web, kafka: str, own_redis: ValkeyServer, batch_id: str
) -> None:
    settings = {"BOS_URL": web.url, "KAFKA_BOOTSTRAP_SERVERS": kafka, "REDIS_URL": own_redis.url}
    with ExitStack() as running:
        process, one = running.enter_context(gateway_process(**settings))
        _, two = running.enter_context(gateway_process(**settings))
        async with replicas_at(one, two) as replicas:
            taken = [await replicas.click(batch_id, 0, f"click {n}") for n in range(BURST - 1)]
            process.close()
            again = await replicas.click(batch_id, 1, "click 0")
            refused = await replicas.click(batch_id, 1, "click 5")

    assert statuses(taken) == {202: BURST - 1}
    assert again.json() == taken[0].json()
    assert refused.status_code == 429


async def test_without_the_redis_each_counts_for_itself(
    web: Web, kafka: str, own_redis: ValkeyServer, batch_id: str
) -> None:
    settings = {"BOS_URL": web.url, "KAFKA_BOOTSTRAP_SERVERS": kafka, "REDIS_URL": own_redis.url}
    with gateway_process(**settings) as (_, one), gateway_process(**settings) as (_, two):
        async with replicas_at(one, two) as replicas:
            own_redis.kill()
            clicks = await asyncio.gather(*(replicas.click(batch_id, n) for n in range(CLICKS)))

    assert statuses(clicks) == {202: 2 * BURST, 429: CLICKS - 2 * BURST}
