"""`bcs migrate` against a real Postgres."""

import asyncio
import subprocess

import asyncpg

from local_stack.postgres import PostgresServer
from local_stack.service import BCS, clean_environment
from tests.support.servers import plain_url


def start_migration(url: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*BCS, "migrate"],
        env=clean_environment() | {"BCS_DATABASE_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def test_the_documented_table_is_made_and_migrating_again_changes_nothing(
    database_url: str,
) -> None:
    for _ in range(2):
        process = start_migration(database_url)
        output, errors = await asyncio.to_thread(process.communicate, None, 60)
        assert (process.returncode, errors) == (0, "")
        assert "newest schema" in output
        connection = await asyncpg.connect(plain_url(database_url))
        table = await connection.fetchval("SELECT to_regclass('processing_pipeline_state')::text")
        await connection.close()
        assert table == "processing_pipeline_state"


def test_migration_waits_until_postgres_is_up(own_postgres: PostgresServer) -> None:
    own_postgres.stop()
    process = start_migration(own_postgres.url)
    assert process.stdout is not None
    assert "Waiting for Postgres" in process.stdout.readline()

    own_postgres.start()

    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "newest schema" in output
