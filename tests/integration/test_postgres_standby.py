"""A standby may not have replayed a failure yet: it is not asked."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from batch_conductor_service.implementations.postgres.batch_state import (
    PostgresBatchStateRepository,
)
from batch_conductor_service.models import BatchId
from local_stack.postgres import PostgresServer
from service_libs.exceptions import StoreUnavailableError
from service_libs.postgres.health import PostgresProbe
from tests.support.database import open_engine
from tests.support.pipelines import DEPENDENCIES


@pytest.fixture
def standby(tmp_path: Path) -> Iterator[PostgresServer]:
    """A server that waits for a primary, as after a restore, and can be read meanwhile."""
    server = PostgresServer(tmp_path / "standby")
    server.start()
    server.stop()
    signal = server._data / "standby.signal"
    signal.touch()
    shutil.copystat(server._data / "postgresql.conf", signal)
    server._process.start()
    server._process.wait_ready(server._answers)
    try:
        yield server
    finally:
        server.kill()
        server.remove_data()


async def test_a_standby_is_no_archive(standby: PostgresServer) -> None:
    async with open_engine(standby.url) as engine:
        with pytest.raises(StoreUnavailableError):
            await PostgresProbe(engine).ping()
        with pytest.raises(StoreUnavailableError):
            await PostgresBatchStateRepository(engine, DEPENDENCIES).load_states([BatchId("batch")])
