"""Servers and a clean environment for every test."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from redis.asyncio import Redis

from local_stack.kafka import KafkaBroker
from local_stack.postgres import PostgresServer
from local_stack.valkey import ValkeyServer
from service_libs.event_loop import EventLoop
from tests.support.database import drop_database, make_database, migrate
from tests.support.servers import serve_kafka, serve_postgres, serve_redis

# A machine that has other work takes its time, and that is no fault of what is tested.
settings.register_profile(
    "unhurried", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unhurried")


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every test runs on the event loop that the service runs on."""
    return {"service": EventLoop}


@pytest.fixture(autouse=True, scope="session")
def _no_settings_from_outside() -> Iterator[None]:
    """A developer's own settings change no test, nor a service that several tests share."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("BCS_", "BOS_", "API_GATEWAY_")) and not name.startswith(
                "BCS_TEST_"
            ):
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def redis_server_url() -> Iterator[str]:
    """The session's Redis."""
    with serve_redis() as url:
        yield url


@pytest.fixture(scope="session")
def postgres_server_url() -> Iterator[str]:
    """The session's Postgres."""
    with serve_postgres() as url:
        yield url


@pytest.fixture(scope="session")
def kafka_bootstrap_servers() -> Iterator[str]:
    """The session's Kafka; topics and groups of a test need names of their own."""
    with serve_kafka() as address:
        yield address


@pytest.fixture
async def redis_url(redis_server_url: str) -> str:
    """An empty Redis."""
    async with Redis.from_url(redis_server_url) as client:
        await client.flushall()
    return redis_server_url


@pytest.fixture(scope="session")
def database_template(postgres_server_url: str) -> Iterator[str]:
    """The address of a database with our schema: migrated once, and then only copied."""
    url = asyncio.run(make_database(postgres_server_url))
    asyncio.run(migrate(url))
    yield url
    asyncio.run(drop_database(postgres_server_url, url))


@pytest.fixture
async def database_url(postgres_server_url: str) -> AsyncIterator[str]:
    """An empty database of the test's own, without a schema."""
    url = await make_database(postgres_server_url)
    yield url
    await drop_database(postgres_server_url, url)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A Redis that the test may kill; what it holds is on disk."""
    server = ValkeyServer(tmp_path / "valkey")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[PostgresServer]:
    """A Postgres that the test may kill; its `url` is that of a database without a schema."""
    server = PostgresServer(tmp_path / "postgres")
    server.start()
    yield server
    server.kill()
    server.remove_data()


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[KafkaBroker]:
    """A broker that the test may kill; what it holds ends with it."""
    broker = KafkaBroker(tmp_path / "kafka")
    broker.start()
    yield broker
    broker.kill()
