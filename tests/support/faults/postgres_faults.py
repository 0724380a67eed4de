"""What happens to Postgres."""

import asyncio

import asyncpg

from tests.support.faults import proxy
from tests.support.faults.harm import kill_for, lose_replies, reset_for, silence_for, stop_for
from tests.support.faults.world import World
from tests.support.servers import plain_url


async def postgres_killed(world: World, seconds: float) -> None:
    """Killed; comes back after its recovery."""
    await kill_for(world, "postgres", seconds)


async def postgres_stopped(world: World, seconds: float) -> None:
    """Stands still with all its backends."""
    await stop_for(world, "postgres", seconds)


async def postgres_locked(world: World, seconds: float) -> None:
    """Somebody holds the table."""
    connection = await asyncpg.connect(plain_url(world.servers.postgres.url))
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE essay_step_evidence IN ACCESS EXCLUSIVE MODE")
            world.note_fired("postgres_locked")
            await asyncio.sleep(seconds)
    finally:
        await connection.close()


async def postgres_read_only(world: World, seconds: float) -> None:
    """Takes no writes, as a standby or a full disk would not."""
    await _set_read_only(world, "on")
    try:
        await asyncio.sleep(seconds)
    finally:
        await _set_read_only(world, "off")
    world.note_fired("postgres_read_only")


async def postgres_full(world: World, seconds: float) -> None:
    """Has no room for another row: says so with the error that a full disk has."""
    body = "BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = 'disk_full'; END"
    await _administer(
        world,
        f"CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $${body}$$",
        "CREATE OR REPLACE TRIGGER refuse BEFORE INSERT ON essay_step_evidence "
        "EXECUTE FUNCTION refuse()",
    )
    try:
        await asyncio.sleep(seconds)
    finally:
        await _administer(world, "DROP TRIGGER refuse ON essay_step_evidence")
    world.note_fired("postgres_full")


async def postgres_column_gone(world: World, seconds: float) -> None:
    """Has another schema for a while, as between a deploy and its migration."""
    await _administer(world, "ALTER TABLE phase_outcomes RENAME COLUMN verdict TO judgement")
    try:
        await asyncio.sleep(seconds)
    finally:
        await _administer(world, "ALTER TABLE phase_outcomes RENAME COLUMN judgement TO verdict")
    world.note_fired("postgres_column_gone")


async def postgres_backends_ended(world: World, seconds: float) -> None:
    """An administrator ends every connection of the service."""
    connection = await asyncpg.connect(plain_url(world.servers.postgres.url))
    query = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE application_name = 'batch-conductor-service' AND pid <> pg_backend_pid()"
    )
    try:
        ended = await connection.fetchval(query)
    finally:
        await connection.close()
    world.note_fired("postgres_backends_ended", connections=ended)
    await asyncio.sleep(seconds)


async def postgres_commits_lost(world: World, seconds: float) -> None:
    """Commits transactions whose replies never arrive."""
    await lose_replies(world, "postgres", proxy.postgres_commit, seconds)


async def postgres_reset(world: World, seconds: float) -> None:
    """Every connection is reset, again and again."""
    await reset_for(world, "postgres", seconds)


async def postgres_silent(world: World, seconds: float) -> None:
    """Half-open connections."""
    await silence_for(world, "postgres", seconds)


async def _set_read_only(world: World, value: str) -> None:
    await _administer(
        world,
        "SET default_transaction_read_only = off",
        f"ALTER SYSTEM SET default_transaction_read_only = {value}",
        "SELECT pg_reload_conf()",
    )


async def _administer(world: World, *statements: str) -> None:
    """Run the statements; again when Postgres dies meanwhile, for another fault may have that."""
    while True:
        try:
            connection = await asyncpg.connect(plain_url(world.servers.postgres.url), timeout=20)
            try:
                for statement in statements:
                    await connection.execute(statement)
            finally:
                await connection.close(timeout=5)
        except (OSError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError):
            await asyncio.sleep(0.1)
        else:
            return
