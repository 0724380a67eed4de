"""A Postgres whose disk is really full is one that is away: nothing is given up for it."""

from collections.abc import Iterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from batch_conductor_service.implementations.postgres.batch_state import (
    PostgresBatchStateRepository,
)
from batch_conductor_service.models import BatchUpdate
from service_libs.exceptions import StoreUnavailableError
from tests.support.builders import essay_names, evidence, update
from tests.support.containers import ContainerServer, postgres_container
from tests.support.database import migrate, open_engine
from tests.support.pipelines import DEPENDENCIES
from tests.support.servers import ping_postgres, wait_until_ready
from tests.support.waiting import eventually

DATA = "/var/lib/postgresql/data"
FILLER = f"{DATA}/filler"
SIZE = "size=200m"
ESSAYS = essay_names(2000)
MOST_BATCHES = 100  # far more than fit into what the write-ahead log has already taken


@pytest.fixture
def small_postgres() -> Iterator[ContainerServer]:
    server = postgres_container()
    server.container.with_tmpfs_mount(DATA, SIZE)
    server.start()
    try:
        wait_until_ready(lambda: ping_postgres(url_of(server)))
        yield server
    finally:
        server.stop()


def url_of(server: ContainerServer) -> str:
    return f"postgresql+asyncpg://bcs:bcs@{server.host}:{server.published_port}/bcs"


def batch_of_many(number: int) -> BatchUpdate:
    return update(f"batch-{number}", *(evidence(essay) for essay in ESSAYS))


async def fill(engine: AsyncEngine) -> list[BatchUpdate]:
    """Apply until there is no room; return what was taken, and last what was not."""
    tried: list[BatchUpdate] = []
    for number in range(MOST_BATCHES):
        tried.append(batch_of_many(number))
        try:
            await PostgresBatchStateRepository(engine, DEPENDENCIES).apply(tried[-1:])
        except StoreUnavailableError:
            return tried
    raise AssertionError("the disk was not full")


async def test_what_a_full_disk_refuses_is_taken_when_there_is_room_again(
    small_postgres: ContainerServer,
) -> None:
    await migrate(url_of(small_postgres))
    async with open_engine(url_of(small_postgres)) as engine:
        repository = PostgresBatchStateRepository(engine, DEPENDENCIES)
        small_postgres.container.exec(f"dd if=/dev/zero of={FILLER} bs=1M")
        tried = await fill(engine)
        small_postgres.container.exec(f"rm {FILLER}")

        async def is_taken() -> bool:
            try:
                await repository.apply(tried)
            except StoreUnavailableError:  # it may be recovering from its own panic
                return False
            return True

        await eventually(is_taken, timeout_seconds=60, what="the write")
        states = await repository.load_states([one.batch_id for one in tried])
        assert {id_: len(state.essays()) for id_, state in states.items()} == {
            one.batch_id: len(ESSAYS) for one in tried
        }
