"""The servers and services that are measured: real ones, each service a process of its own.

Redis, Postgres and Kafka come from where the tests have them: an address in the environment, a
container, or a wheel.
"""

import asyncio
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
from redis.asyncio import Redis

from batch_conductor_service.config import Settings
from local_stack.neighbours import Neighbours
from local_stack.ports import find_free_port
from local_stack.service import ServiceName, ServiceProcess
from tests.support.servers import execute, plain_url, serve_kafka, serve_postgres, serve_redis

PARTITIONS = 4  # of each topic


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """Where the servers are; `directory` takes the logs of what runs on them."""

    redis: str
    postgres: str
    kafka: str
    directory: Path

    def settings(self) -> dict[str, str]:
        """Return the environment in which the services find the servers."""
        return {
            "BCS_REDIS_URL": self.redis,
            "BCS_DATABASE_URL": self.postgres,
            "BOS_DATABASE_URL": self.postgres,
        } | {
            f"{prefix}_{name}": value
            for prefix in ("BCS", "BOS", "API_GATEWAY")
            for name, value in {
                "KAFKA_BOOTSTRAP_SERVERS": self.kafka,
                "KAFKA_ENABLE_IDEMPOTENCE": "false",  # the broker of the wheels does not know it
                "LOG_LEVEL": "INFO",
            }.items()
        }

    def migrate(self, name: ServiceName) -> None:
        """Bring the service's tables to the newest schema."""
        ServiceProcess(name, self.directory / name, self.settings(), port=0).migrate()

    @contextmanager
    def serving(
        self, name: ServiceName, settings: Mapping[str, str] | None = None
    ) -> Iterator[ServiceProcess]:
        """Run a service on the newest schema, and end it."""
        port = find_free_port()
        where = self.directory / f"{name}-{port}"
        service = ServiceProcess(name, where, self.settings() | dict(settings or {}), port=port)
        if name != "gateway":
            service.migrate()
        service.start()
        try:
            yield service
        finally:
            service.stop()

    async def clear(self) -> None:
        """Forget all: Redis is emptied and the tables of the services are dropped."""
        async with Redis.from_url(self.redis) as client:
            await client.flushdb()
        await execute(self.postgres, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")

    async def describe(self) -> dict[str, str]:
        """Return which servers they are."""
        async with Redis.from_url(self.redis, decode_responses=True) as client:
            info = await client.info("server")
        connection = await asyncpg.connect(plain_url(self.postgres))
        try:
            postgres = await connection.fetchval("SHOW server_version")
            fsync = await connection.fetchval("SHOW fsync")
        finally:
            await connection.close()
        redis = f"Valkey {info['valkey_version']}" if "valkey_version" in info else "Redis"
        return {
            "Redis": f"{redis} ({info['redis_version']})",
            "Postgres": f"{postgres}, fsync {fsync}",
        }


def bcs_settings(environment: Mapping[str, str]) -> Settings:
    """Return the settings of BCS in an environment, for what of it runs in this process."""
    prefix = "BCS_"
    return Settings.model_validate(
        {
            name.removeprefix(prefix).lower(): value
            for name, value in environment.items()
            if name.startswith(prefix)
        }
    )


async def ask_postgres(url: str, query: str, *arguments: object) -> Any:  # noqa: ANN401 - by query
    """Return the one value that the query asks for."""
    connection = await asyncpg.connect(plain_url(url))
    try:
        return await connection.fetchval(query, *arguments)
    finally:
        await connection.close()


@contextmanager
def serve() -> Iterator[Servers]:
    """Run the servers, with the topics there."""
    with ExitStack() as running:
        directory = running.enter_context(tempfile.TemporaryDirectory(prefix="bcs-bench-"))
        redis = running.enter_context(serve_redis())
        admin = running.enter_context(serve_postgres())
        kafka = running.enter_context(serve_kafka())
        name = f"bench_{uuid4().hex[:12]}"
        asyncio.run(execute(admin, f"CREATE DATABASE {name}"))
        running.callback(lambda: asyncio.run(execute(admin, f"DROP DATABASE {name} WITH (FORCE)")))
        asyncio.run(Neighbours.create_topics(kafka, PARTITIONS))
        postgres = admin.rpartition("/")[0] + f"/{name}"
        yield Servers(redis=redis, postgres=postgres, kafka=kafka, directory=Path(directory))
