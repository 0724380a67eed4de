"""The connection pool to Postgres. Making it connects to nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import asyncpg
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from service_libs.exceptions import UnfitStoreError
from service_libs.postgres.address import DatabaseAddress, read_address

CONNECT_TIMEOUT_SECONDS = 5
CLOSE_TIMEOUT_SECONDS = 1
POOL_TIMEOUT_SECONDS = 5
ENCODING = "UTF8"


class DatabaseSettings(Protocol):
    """What the settings of every service with tables say of their database."""

    @property
    def database_url(self) -> SecretStr: ...
    @property
    def database_pool_size(self) -> int: ...
    @property
    def database_timeout_seconds(self) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceDatabase:
    """A service's database: under which name it is connected to, and which setting has its URL."""

    application_name: str
    setting: str

    def address(self, settings: DatabaseSettings) -> DatabaseAddress:
        """Return where the database is.

        Raises:
            SettingsError: the setting is none, or has an option that is not known.
        """
        return read_address(settings.database_url.get_secret_value(), setting=self.setting)

    def engine(self, settings: DatabaseSettings) -> AsyncEngine:
        """Return the pool.

        Raises:
            SettingsError: the database's URL is none, or has an option that is not known.
        """
        return make_engine(
            self.address(settings),
            application_name=self.application_name,
            pool_size=settings.database_pool_size,
            timeout_seconds=settings.database_timeout_seconds,
        )


def make_engine(
    address: DatabaseAddress, *, application_name: str, pool_size: int, timeout_seconds: float
) -> AsyncEngine:
    """Return a pool in which every wait has an end.

    The server gives up on a statement before the driver does, which would cost the connection, and
    on a lock before it gives up on the statement, so that the error says which of them it was.
    """
    arguments = connect_arguments(
        address,
        {
            "application_name": application_name,
            "statement_timeout": _milliseconds(0.8 * timeout_seconds),
            "lock_timeout": _milliseconds(0.5 * timeout_seconds),
            "idle_in_transaction_session_timeout": _milliseconds(timeout_seconds),
            # Compiling a recount takes longer than running it.
            "jit": "off",
        },
    )
    return create_async_engine(
        address.url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_SECONDS,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={
            **arguments,
            "command_timeout": timeout_seconds,
            # A standby lags, and what it has not replayed yet may be a failure. Its demotion ends a
            # primary's connections, so it is enough to ask of new ones.
            "target_session_attrs": "primary",
        },
    )


def connect_arguments(
    address: DatabaseAddress, server_settings: Mapping[str, str]
) -> dict[str, object]:
    """Return how to connect to the address; the connection is one to a database in UTF-8.

    The server itself prefers a setting of its own to one in the URL's `options`.
    """
    return {
        "timeout": address.connect_timeout_seconds or CONNECT_TIMEOUT_SECONDS,
        **address.arguments,
        "server_settings": {**server_settings, **address.server_settings},
        "async_creator_fn": _connect_to_utf8,
    }


async def _connect_to_utf8(**arguments: Any) -> asyncpg.Connection:
    """Return a connection; the server has named its encoding by then, so asking costs nothing.

    Any other encoding takes the schema and most rows, and refuses the first name that it cannot
    spell.

    Raises:
        UnfitStoreError: the database has another encoding.
    """
    connection: asyncpg.Connection = await asyncpg.connect(**arguments)
    encoding = connection.get_settings().server_encoding
    if encoding != ENCODING:
        await connection.close(timeout=CLOSE_TIMEOUT_SECONDS)
        raise UnfitStoreError(f"The database's encoding is {encoding}; it must be {ENCODING}.")
    return connection


def _milliseconds(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))
