"""Servers for all the tests of faults, and a world for each."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.faults.servers import FaultServers, fault_servers
from tests.support.faults.world import World, open_world


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultServers]:
    """Redis, Postgres and Kafka, which any test may break; the next one finds them healed."""
    with fault_servers(tmp_path_factory.mktemp("servers")) as started:
        yield started


@pytest.fixture
async def world(servers: FaultServers, tmp_path: Path) -> AsyncIterator[World]:
    """Everything runs, and nothing is on its way."""
    async with open_world(servers, tmp_path / "journal.jsonl") as opened:
        await opened.onlooker.wait_until_quiet()
        yield opened
