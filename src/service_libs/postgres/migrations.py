"""How Alembic reaches a service's database: over asyncpg, with what the service's URL says.

One transaction holds a whole run, and a lock lets one run at a time: of two processes that migrate
at once the second waits, then finds nothing left to do.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, MetaData, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

from alembic import context
from service_libs.postgres.address import DatabaseAddress, read_address
from service_libs.postgres.engine import DatabaseSettings, ServiceDatabase, connect_arguments

LOCK_TIMEOUT = "60s"  # a migration that waits for a table's lock makes all others wait behind it


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationTarget:
    """What is migrated.

    Attributes:
        run_lock: any number that nothing else locks in this database.
        schema: where the tables are, and the revision that they have; None is the usual one.
    """

    metadata: MetaData
    application_name: str
    run_lock: int
    schema: str | None = None


def run(
    target: MigrationTarget,
    database: ServiceDatabase,
    load_settings: Callable[[], DatabaseSettings],
) -> None:
    """Run the migrations that Alembic was asked for, or print their SQL for `--sql`.

    Whoever calls Alembic from Python may give it another URL than that of the settings.
    """
    given: str | None = context.config.attributes.get("database_url")
    if given:
        address = read_address(given, setting=database.setting)
    else:
        address = database.address(load_settings())
    if context.is_offline_mode():
        context.configure(dialect_name="postgresql", literal_binds=True, **_options(target))
        with context.begin_transaction():
            context.run_migrations()
    else:
        asyncio.run(_migrate(target, address))


async def _migrate(target: MigrationTarget, address: DatabaseAddress) -> None:
    settings = {"application_name": target.application_name, "lock_timeout": LOCK_TIMEOUT}
    engine = create_async_engine(
        address.url,
        poolclass=pool.NullPool,
        connect_args=connect_arguments(address, settings),
    )
    async with engine.connect() as connection:
        await connection.run_sync(_run_migrations, target)


def _run_migrations(connection: Connection, target: MigrationTarget) -> None:
    context.configure(
        connection=connection,
        target_metadata=target.metadata,
        compare_type=True,
        compare_server_default=True,
        **_options(target),
    )
    with context.begin_transaction():
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": target.run_lock})
        if target.schema is not None:
            connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {target.schema}"))
        context.run_migrations()


def _options(target: MigrationTarget) -> dict[str, Any]:
    if target.schema is None:
        return {}

    def is_ours(name: str | None, kind: str, _parents: object) -> bool:
        return kind != "schema" or name == target.schema

    return {
        "version_table_schema": target.schema,
        "include_schemas": True,
        "include_name": is_ours,
    }
