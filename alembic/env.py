"""How Alembic reaches the database: over asyncpg, at the URL of the service's settings.

One transaction holds a whole run, and a lock lets one run at a time: of two processes that migrate
at once the second waits, then finds nothing left to do.
"""

import asyncio

from sqlalchemy import Connection, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

from alembic import context
from batch_conductor_service.config import load_settings
from batch_conductor_service.implementations.postgres.engine import database_address
from batch_conductor_service.implementations.postgres.tables import Base
from service_libs.postgres.address import read_address
from service_libs.postgres.engine import connect_arguments

APPLICATION_NAME = "bcs-migrate"
LOCK_TIMEOUT = "60s"  # a migration that waits for a table's lock makes all others wait behind it
RUN_LOCK = 4002_0001  # any number that nothing else locks in this database


async def migrate() -> None:
    """Run the migrations against the database."""
    given: str | None = context.config.attributes.get("database_url")
    address = (
        read_address(given, setting="database_url") if given else database_address(load_settings())
    )
    engine = create_async_engine(
        address.url,
        poolclass=pool.NullPool,
        connect_args=connect_arguments(
            address, {"application_name": APPLICATION_NAME, "lock_timeout": LOCK_TIMEOUT}
        ),
    )
    async with engine.connect() as connection:
        await connection.run_sync(run_migrations)


def run_migrations(connection: Connection) -> None:
    """Run the migrations in one transaction."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_type=True,
        compare_server_default=True,
    )
    with context.begin_transaction():
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": RUN_LOCK})
        context.run_migrations()


def print_migrations() -> None:
    """Print the SQL of the migrations, for `--sql`."""
    context.configure(dialect_name="postgresql", literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    print_migrations()
else:
    asyncio.run(migrate())
