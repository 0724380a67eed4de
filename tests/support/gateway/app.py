"""The gateway's application in this process, and the commands that it has sent."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from aiokafka import AIOKafkaConsumer
from dishka import AsyncContainer, Provider, Scope
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from api_gateway_service.config import Settings
from api_gateway_service.implementations.audit_log_impl import StreamAuditLog
from api_gateway_service.implementations.kafka_publisher_impl import TOPIC
from api_gateway_service.main import create_app
from api_gateway_service.protocols import AuditLogProtocol
from api_gateway_service.startup_setup import build_container
from tests.support.gateway.tokens import SECRET, bearer
from tests.support.pipelines import PIPELINES_FILE
from tests.support.waiting import eventually

GENEROUS = 100_000  # requests; what is not about limits is not limited


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """The application, without a server around it."""

    app: ASGIApp
    client: httpx.AsyncClient
    container: AsyncContainer
    registry: CollectorRegistry
    audited: io.StringIO

    async def post(
        self, batch: str, body: object = None, *, user: str = "teacher", **headers: str
    ) -> httpx.Response:
        """Ask for a pipeline."""
        return await self.client.post(
            pipelines_path(batch),
            json={"requested_pipeline": "nlp"} if body is None else body,
            headers=bearer(user) | {name.replace("_", "-"): v for name, v in headers.items()},
        )

    async def status(self, batch: str, *, user: str = "teacher", **headers: str) -> httpx.Response:
        """Ask how a batch is."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.get(status_path(batch), headers=bearer(user) | given)

    def sample(self, name: str, **labels: str) -> float:
        """Return the value of a metric."""
        return self.registry.get_sample_value(name, labels) or 0


def settings_of(**changes: object) -> Settings:
    """Return settings by which nothing is reached, nobody limited, and tokens have our secret."""
    values: dict[str, object] = {
        "environment": "testing",
        "pipeline_config_path": PIPELINES_FILE,
        "jwt_secret": SECRET,
        "bos_url": "http://127.0.0.1:1",
        "kafka_bootstrap_servers": "127.0.0.1:1",
        "kafka_enable_idempotence": False,
        "rate_limit_requests": GENEROUS,
        "rate_limit_pipelines_per_minute": GENEROUS,
        "rate_limit_pipelines_burst": GENEROUS,
        "rate_limit_status_per_minute": GENEROUS,
        "rate_limit_auth_failures_per_minute": GENEROUS,
    }
    return Settings.model_validate(values | changes)


@asynccontextmanager
async def gateway_app(**changes: object) -> AsyncIterator[Gateway]:
    """Make the application with these settings, and close what it has opened."""
    settings = settings_of(**changes)
    audited = io.StringIO()
    replaced = Provider(scope=Scope.APP)
    replaced.provide(lambda: StreamAuditLog(audited), provides=AuditLogProtocol)
    container = build_container(settings, replaced)
    app = await create_app(settings, container)
    transport = httpx.ASGITransport(app, client=("192.0.2.7", 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield Gateway(
            app=app,
            client=client,
            container=container,
            registry=await container.get(CollectorRegistry),
            audited=audited,
        )
    await container.close()


class Commands:
    """All commands that Kafka has, read from the beginning."""

    def __init__(self) -> None:
        self.envelopes: list[tuple[bytes | None, dict[str, Any]]] = []

    def of(self, batch: str) -> list[dict[str, Any]]:
        """Return the envelopes of the batch's commands, which have its id as their key."""
        return [
            envelope
            for key, envelope in self.envelopes
            if key == batch.encode() and envelope["data"]["batch_id"] == batch
        ]

    async def until(self, batch: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait until there are so many, and return them."""

        async def are_there() -> bool:
            return len(self.of(batch)) >= count

        await eventually(are_there, what=f"{count} commands")
        return self.of(batch)


@asynccontextmanager
async def read_commands(bootstrap_servers: str) -> AsyncIterator[Commands]:
    """Read the commands' topic until the end of the block."""
    consumer = AIOKafkaConsumer(
        TOPIC, bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest"
    )
    await consumer.start()
    commands = Commands()

    async def read() -> None:
        async for record in consumer:
            commands.envelopes.append((record.key, json.loads(record.value)))

    reading = asyncio.create_task(read())
    try:
        yield commands
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await consumer.stop()


def pipelines_path(batch: str) -> str:
    """Return where a pipeline is asked for."""
    return f"/v1/batches/{batch}/pipelines"


def status_path(batch: str) -> str:
    """Return where a batch's status is."""
    return f"/v1/batches/{batch}/status"
