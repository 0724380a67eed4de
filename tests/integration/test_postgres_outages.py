"""Postgres away, stuck, read-only or without its tables: to be waited for, never to be given up."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from batch_conductor_service.config import Settings
from batch_conductor_service.implementations.postgres.batch_state import (
    PostgresBatchStateRepository,
)
from batch_conductor_service.models import BatchId
from local_stack.postgres import PostgresServer
from service_libs.exceptions import StoreUnavailableError
from service_libs.postgres import engine as engine_module
from service_libs.postgres.health import PostgresProbe
from tests.support.builders import evidence, update
from tests.support.database import migrate, open_engine
from tests.support.pipelines import DEPENDENCIES

BATCH = BatchId("batch")
SHORT_SECONDS = 1.0
TERMINATE_WAITING_SOON = text("""
    SELECT bool_or(pg_terminate_backend(pid)) FROM pg_locks, pg_sleep(0.05)
    WHERE NOT granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
""")

USES: dict[str, Callable[[AsyncEngine], Coroutine[object, object, object]]] = {
    "apply": lambda engine: PostgresBatchStateRepository(engine, DEPENDENCIES).apply(
        [update(BATCH, evidence("essay-1"))]
    ),
    "load_states": lambda engine: PostgresBatchStateRepository(engine, DEPENDENCIES).load_states(
        [BATCH]
    ),
    "get_summary": lambda engine: PostgresBatchStateRepository(engine, DEPENDENCIES).get_summary(
        BATCH
    ),
    "get_state": lambda engine: PostgresBatchStateRepository(engine, DEPENDENCIES).get_state(BATCH),
    "ping": lambda engine: PostgresProbe(engine).ping(),
}


@asynccontextmanager
async def locked_evidence(url: str) -> AsyncIterator[None]:
    """Let nobody else read or write the evidence."""
    async with open_engine(url) as other, other.begin() as connection:
        await connection.execute(text("LOCK TABLE essay_step_evidence"))
        yield


async def execute(engine: AsyncEngine, statement: str) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(statement))


@pytest.mark.parametrize("use", USES)
async def test_a_server_that_does_not_listen_is_waited_for(use: str) -> None:
    async with open_engine("postgresql://bcs:hidden@127.0.0.1:1/bcs") as engine:
        with pytest.raises(StoreUnavailableError) as caught:
            await USES[use](engine)

    assert str(caught.value) == "The database cannot be used now."


async def test_the_pool_recovers_from_a_server_that_died(own_postgres: PostgresServer) -> None:
    await migrate(own_postgres.url)
    async with open_engine(own_postgres.url) as engine:
        await USES["apply"](engine)

        own_postgres.kill()
        for use in USES.values():
            with pytest.raises(StoreUnavailableError):
                await use(engine)
        own_postgres.start()

        await USES["ping"](engine)
        assert (
            len(
                (await PostgresBatchStateRepository(engine, DEPENDENCIES).get_state(BATCH)).essays()
            )
            == 1
        )


async def test_a_connection_that_dies_in_a_transaction_is_replaced(
    migrated_database_url: str, migrated_engine: AsyncEngine
) -> None:
    async with locked_evidence(migrated_database_url):
        applying = asyncio.create_task(USES["apply"](migrated_engine))
        async with open_engine(migrated_database_url) as other, other.connect() as connection:
            async with asyncio.timeout(30):
                while not await connection.scalar(TERMINATE_WAITING_SOON):
                    pass  # the statement itself takes a moment
        with pytest.raises(StoreUnavailableError):
            await applying

    await USES["apply"](migrated_engine)


@pytest.mark.parametrize("use", ["apply", "get_summary"])
async def test_a_lock_is_waited_for_only_so_long(migrated_database_url: str, use: str) -> None:
    async with (
        locked_evidence(migrated_database_url),
        open_engine(migrated_database_url, timeout_seconds=SHORT_SECONDS) as engine,
    ):
        with pytest.raises(StoreUnavailableError):
            async with asyncio.timeout(10 * SHORT_SECONDS):
                await USES[use](engine)


async def test_an_exhausted_pool_is_waited_for_only_so_long(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "POOL_TIMEOUT_SECONDS", 0.1)
    async with open_engine(database_url) as engine, AsyncExitStack() as held:
        for _ in range(Settings().database_pool_size):
            connection = await engine.connect()
            held.push_async_callback(connection.close)

        with pytest.raises(StoreUnavailableError):
            await USES["ping"](engine)


async def test_a_read_only_database_is_waited_for(
    migrated_database_url: str, migrated_engine: AsyncEngine
) -> None:
    name = urlsplit(migrated_database_url).path.removeprefix("/")
    await execute(migrated_engine, f"ALTER DATABASE {name} SET default_transaction_read_only = on")

    async with open_engine(migrated_database_url) as engine:
        with pytest.raises(StoreUnavailableError):
            await USES["apply"](engine)
        assert (
            await PostgresBatchStateRepository(engine, DEPENDENCIES).get_state(BATCH)
        ).essays() == []


@pytest.mark.parametrize("use", ["apply", "get_summary"])
async def test_a_database_without_its_tables_is_waited_for(database_url: str, use: str) -> None:
    async with open_engine(database_url) as engine:
        with pytest.raises(StoreUnavailableError):
            await USES[use](engine)

        await migrate(database_url)

        await USES[use](engine)


async def test_a_missing_column_is_waited_for(migrated_engine: AsyncEngine) -> None:
    await execute(migrated_engine, "ALTER TABLE essay_step_evidence DROP COLUMN storage_id")

    with pytest.raises(StoreUnavailableError):
        await USES["apply"](migrated_engine)


async def test_a_database_that_is_not_there_is_waited_for(database_url: str) -> None:
    async with open_engine(f"{database_url}_of_another") as engine:
        with pytest.raises(StoreUnavailableError):
            await USES["ping"](engine)
