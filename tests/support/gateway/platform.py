"""The gateway, BOS and BCS as processes on servers of their own, and teachers who use them."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from alembic import command
from local_stack.kafka import KafkaBroker
from local_stack.ports import find_free_port
from local_stack.postgres import PostgresServer
from local_stack.valkey import ValkeyServer
from tests.support.bos_database import bos_config
from tests.support.database import migrate
from tests.support.faults.proxy import FaultyProxy, ProxyThread
from tests.support.flow import TOPICS, Neighbours, bos_process
from tests.support.flow_waiting import ESSAYS
from tests.support.gateway.app import pipelines_path, status_path
from tests.support.gateway.process import gateway_process, new_gateway
from tests.support.gateway.tokens import bearer
from tests.support.processes import ServiceProcess
from tests.support.stack import Stack
from tests.support.waiting import eventually

WAIT_SECONDS = 60
SEND_SECONDS = 2  # that a send to Kafka may take
LOOK_SECONDS = 0.5  # between looks at a status: a teacher has 120 a minute

Status = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Platform:
    """What a gateway needs, each part so that a test may break it.

    Attributes:
        stack: the servers of BOS and BCS.
        kafka: stands before the broker, for everybody.
        redis: the gateway's own.
        bos: the address of BOS.
    """

    stack: Stack
    kafka: FaultyProxy
    redis: ValkeyServer
    bos: str

    def settings(self, **changes: object) -> dict[str, object]:
        """Return the settings of a gateway."""
        return {
            "ENVIRONMENT": "production",
            "BOS_URL": self.bos,
            "KAFKA_BOOTSTRAP_SERVERS": self.stack.kafka_bootstrap_servers,
            "KAFKA_SEND_TIMEOUT_SECONDS": SEND_SECONDS,
            "REDIS_URL": self.redis.url,
            **changes,
        }

    @contextmanager
    def gateway(self, **changes: object) -> Iterator[tuple[ServiceProcess, str]]:
        """Run a gateway; give it and its address, and end it in order."""
        with gateway_process(**self.settings(**changes)) as serving:
            yield serving

    @contextmanager
    def dying_gateway(self, failpoint: str) -> Iterator[ServiceProcess]:
        """Run a gateway that dies at the failpoint."""
        process = new_gateway(**self.settings(FAILPOINT=failpoint))
        try:
            yield process
        finally:
            process.close()


@contextmanager
def platform_at(directory: Path) -> Iterator[Platform]:
    """Run everything but the gateway until the end of the block."""
    with ExitStack() as ending:
        stack, kafka = _servers(directory, ending)
        redis = ValkeyServer(directory / "redis-gateway")
        redis.start()
        ending.callback(redis.kill)
        _, bcs = ending.enter_context(stack.serve())
        _, bos = ending.enter_context(bos_process(stack, bcs))
        yield Platform(stack=stack, kafka=kafka, redis=redis, bos=bos)


def _servers(directory: Path, ending: ExitStack) -> tuple[Stack, FaultyProxy]:
    redis = ValkeyServer(directory / "redis")
    redis.start()
    ending.callback(redis.kill)
    postgres = PostgresServer(directory / "postgres")
    ending.callback(postgres.remove_data)
    postgres.start()
    ending.callback(postgres.kill)
    thread, port = ProxyThread(), find_free_port()
    ending.callback(thread.close)
    proxy = FaultyProxy(port)
    thread.add(proxy)
    broker = KafkaBroker(directory / "kafka", port=port, advertised_port=proxy.port)
    broker.start()
    ending.callback(broker.stop)
    servers = f"127.0.0.1:{proxy.port}"
    asyncio.run(_prepare(postgres.url, servers))
    group_id = f"group-{uuid.uuid4().hex}"
    stack = Stack(
        redis=redis, postgres=postgres, kafka_bootstrap_servers=servers, group_id=group_id
    )
    return stack, proxy


async def _prepare(postgres_url: str, kafka_bootstrap_servers: str) -> None:
    await migrate(postgres_url)
    await asyncio.to_thread(command.upgrade, bos_config(postgres_url), "head")
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap_servers)
    await admin.start()
    await admin.create_topics([NewTopic(name, 3, 1) for name in TOPICS])
    await admin.close()


class Teacher:
    """One who uses a gateway, and has batches."""

    def __init__(self, client: httpx.AsyncClient, *, name: str | None = None) -> None:
        self._client = client
        self.name = name or f"teacher-{uuid.uuid4().hex}"

    async def register(self, neighbours: Neighbours, batch: str) -> None:
        """Have a batch of his, which is ready when this returns."""
        await neighbours.register(batch, ESSAYS, user=self.name)
        await self.until(batch, lambda status: bool(status["status"] == "ready"))

    async def click(
        self, batch: str, pipeline: str = "nlp", *, key: str | None = None, **body: object
    ) -> httpx.Response:
        """Ask for a pipeline."""
        named = {"Idempotency-Key": key} if key else {}
        return await self._client.post(
            pipelines_path(batch),
            json={"requested_pipeline": pipeline, **body},
            headers=bearer(self.name) | named,
        )

    async def click_until_taken(self, batch: str, key: str) -> httpx.Response:
        """Ask for nlp, and again under the same key for as long as the answer says so."""
        answer = await self.click(batch, key=key)
        while answer.is_error and answer.json()["retryable"]:
            await asyncio.sleep(float(answer.headers["Retry-After"]))
            answer = await self.click(batch, key=key)
        return answer

    async def look(self, batch: str) -> httpx.Response:
        """Ask how a batch is."""
        return await self._client.get(status_path(batch), headers=bearer(self.name))

    async def until(self, batch: str, is_reached: Callable[[Status], bool]) -> Status:
        """Wait until the status of the batch is so, and return it."""
        seen: Status = {}

        async def is_so() -> bool:
            await asyncio.sleep(LOOK_SECONDS)
            answer = await self.look(batch)
            seen.update(answer.json())
            return answer.is_success and is_reached(seen)

        await eventually(is_so, timeout_seconds=WAIT_SECONDS, what="the status")
        return seen

    async def until_ended(self, batch: str, requests: int = 1) -> Status:
        """Wait until so many requests over the batch are known, and have ended."""

        def have_ended(status: Status) -> bool:
            known = status["details"]["requests"]
            return len(known) >= requests and all(one["ended_at"] for one in known)

        return await self.until(batch, have_ended)


@asynccontextmanager
async def clients_of(*addresses: str) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Give a client for each gateway."""
    clients = [httpx.AsyncClient(base_url=address, timeout=30) for address in addresses]
    try:
        yield clients
    finally:
        for client in clients:
            await client.aclose()
