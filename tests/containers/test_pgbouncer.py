"""Postgres behind PgBouncer, set up as the README says."""

import asyncio
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack

import pytest

from batch_conductor_service.implementations.postgres.batch_state import (
    PostgresBatchStateRepository,
)
from batch_conductor_service.models import BatchId
from local_stack.service import BCS, clean_environment
from tests.support.builders import evidence, update
from tests.support.composition import ROOT
from tests.support.database import open_engine
from tests.support.pgbouncer import serve_postgres_behind_pgbouncer
from tests.support.pipelines import DEPENDENCIES

REPLICAS, WRITERS, ROUNDS = 3, 12, 20
POOL_SIZE = 5  # of each replica
README = (ROOT / "README.md").read_text(encoding="utf-8")


def documented_parameters() -> str:
    [parameters] = re.findall(r"^ignore_startup_parameters = (.*)$", README, re.MULTILINE)
    return str(parameters)


@pytest.fixture(
    params=[
        ("session", POOL_SIZE * REPLICAS, ""),
        ("transaction", 2, "?statement_cache_size=0"),
    ],
    ids=["session", "transaction"],
)
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a database with our schema, for replicas of the service."""
    mode, size, options = request.param
    with serve_postgres_behind_pgbouncer(mode, size=size, ignored=documented_parameters()) as url:
        subprocess.run(
            [*BCS, "migrate"],
            cwd=ROOT,
            env=clean_environment() | {"BCS_DATABASE_URL": url + options},
            check=True,
        )
        yield url + options


async def write_and_read(stores: Sequence[PostgresBatchStateRepository], writer: int) -> int:
    """Write as a replica's worker does, read it all back, and return how many batches it is."""
    store = stores[writer % len(stores)]
    batch_ids = [BatchId(f"batch-{writer}-{number}") for number in range(ROUNDS)]
    for batch_id in batch_ids:
        await store.apply([update(batch_id, evidence("essay"))])
    return len(await store.load_states(batch_ids))


async def test_several_replicas_write_without_an_error(address: str) -> None:
    async with AsyncExitStack() as stack:
        engines = [await stack.enter_async_context(open_engine(address)) for _ in range(REPLICAS)]
        stores = [PostgresBatchStateRepository(engine, DEPENDENCIES) for engine in engines]

        written = await asyncio.gather(*(write_and_read(stores, n) for n in range(WRITERS)))

    assert written == [ROUNDS] * WRITERS
