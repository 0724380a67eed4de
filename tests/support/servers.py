"""Where the servers of the tests come from.

An address in the environment comes first, then a container where a Docker engine answers, then a
server from a wheel. Something always serves: a test is never skipped for want of a server.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from docker.errors import DockerException
from redis.asyncio import Redis
from redis.exceptions import RedisError

from local_stack.kafka import KafkaBroker
from local_stack.postgres import PostgresServer
from local_stack.valkey import ValkeyServer
from tests.support import containers
from tests.support.containers import ContainerServer

READY_TIMEOUT_SECONDS = 60
RETRY_SECONDS = 0.1


@contextmanager
def serve_redis() -> Iterator[str]:
    """Give the address of a Redis for the session."""
    if address := os.environ.get("BCS_TEST_REDIS_URL"):
        yield address
        return
    with serve_from_container(containers.redis_container) as server:
        if server:
            address = f"redis://{server.host}:{server.published_port}/0"
            wait_until_ready(lambda: ping_redis(address))
            yield address
            return
    with temporary_directory() as directory:
        valkey = ValkeyServer(directory)
        valkey.start()
        try:
            yield valkey.url
        finally:
            valkey.kill()


@contextmanager
def serve_postgres() -> Iterator[str]:
    """Give the address of a Postgres, whose user may create databases, for the session."""
    if address := os.environ.get("BCS_TEST_DATABASE_URL"):
        yield address
        return
    with serve_from_container(containers.postgres_container) as server:
        if server:
            where = f"bcs:bcs@{server.host}:{server.published_port}/bcs"
            address = f"postgresql+asyncpg://{where}"
            wait_until_ready(lambda: ping_postgres(address))
            leave_syncing_to_the_system(address)
            yield address
            return
    with temporary_directory() as directory:
        postgres = PostgresServer(directory)
        postgres.start()
        leave_syncing_to_the_system(postgres.url)
        try:
            yield postgres.url
        finally:
            postgres.kill()
            postgres.remove_data()


@contextmanager
def serve_kafka() -> Iterator[str]:
    """Give the address of a Kafka for the session."""
    if address := os.environ.get("BCS_TEST_KAFKA_BOOTSTRAP_SERVERS"):
        yield address
        return
    with serve_from_container(containers.kafka_container) as server:
        if server:
            address = f"{server.host}:{server.published_port}"
            wait_until_ready(lambda: ping_kafka(address))
            yield address
            return
    with temporary_directory() as directory:
        broker = KafkaBroker(directory)
        broker.start()
        try:
            wait_until_ready(lambda: ping_kafka(broker.bootstrap_servers))
            yield broker.bootstrap_servers
        finally:
            broker.kill()


@contextmanager
def serve_from_container(make: Callable[[], ContainerServer]) -> Iterator[ContainerServer | None]:
    """Give a started container, or None where there is no engine or no image."""
    if not engine_answers():
        yield None
        return
    server = make()
    try:
        server.start()
    except DockerException as exc:
        image = server.container.image
        sys.stderr.write(f"\nNo container of {image}, a server from a wheel instead: {exc}\n")
        yield None
        return
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """Give a directory for a server's files."""
    with tempfile.TemporaryDirectory(prefix="bcs-tests-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@cache
def engine_answers() -> bool:
    """Whether a Docker engine answers; asked once."""
    return containers.has_engine()


def wait_until_ready(ping: Callable[[], Awaitable[None]]) -> None:
    """Return once the ping succeeds; raise what it last raised after a minute."""

    async def wait() -> None:
        deadline = asyncio.get_running_loop().time() + READY_TIMEOUT_SECONDS
        while True:
            try:
                await asyncio.wait_for(ping(), timeout=10)
            except (OSError, RedisError, KafkaError, asyncpg.PostgresError, TimeoutError):
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

    asyncio.run(wait())


async def ping_redis(url: str) -> None:
    """Return if Redis answers."""
    async with Redis.from_url(url) as client:
        await client.ping()


async def ping_postgres(url: str) -> None:
    """Return if Postgres answers."""
    connection = await asyncpg.connect(plain_url(url))
    await connection.close()


async def ping_kafka(bootstrap_servers: str) -> None:
    """Return if Kafka answers."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    try:
        await admin.start()
    finally:
        await admin.close()


def leave_syncing_to_the_system(url: str) -> None:
    """Have a Postgres that nobody kills not wait for the disk: every dropped database would."""
    asyncio.run(execute(url, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()"))


async def execute(url: str, *statements: str) -> None:
    """Run the statements in Postgres, each in a transaction of its own."""
    connection = await asyncpg.connect(plain_url(url))
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def plain_url(url: str) -> str:
    """Return a database address without SQLAlchemy's driver, as asyncpg takes it."""
    return url.replace("postgresql+asyncpg://", "postgresql://", 1)
