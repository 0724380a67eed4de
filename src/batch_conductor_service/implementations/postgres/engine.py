"""The connection pool to Postgres. Making it connects to nothing."""

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from batch_conductor_service.config import Settings
from batch_conductor_service.exceptions import SettingsError

APPLICATION_NAME = "batch-conductor-service"
CONNECT_TIMEOUT_SECONDS = 5
POOL_TIMEOUT_SECONDS = 5

_DRIVER = "postgresql+asyncpg"
_POSTGRES_NAMES = frozenset({"postgres", "postgresql"})  # before any `+driver`


def create_engine(settings: Settings) -> AsyncEngine:
    """Return a pool in which every wait has an end.

    The server gives up on a statement before the driver does, which would cost the connection, and
    on a lock before it gives up on the statement, so that the error tells which of them it was.

    Raises:
        SettingsError: the database's URL is none.
    """
    timeout = settings.database_timeout_seconds
    return create_async_engine(
        database_url(settings),
        pool_size=settings.database_pool_size,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_SECONDS,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={
            "timeout": CONNECT_TIMEOUT_SECONDS,
            "command_timeout": timeout,
            # A standby lags, and what it has not replayed yet may be a failure. Its demotion ends a
            # primary's connections, so it is enough to ask of new ones.
            "target_session_attrs": "primary",
            "server_settings": {
                "application_name": APPLICATION_NAME,
                "statement_timeout": _milliseconds(0.8 * timeout),
                "lock_timeout": _milliseconds(0.5 * timeout),
                "idle_in_transaction_session_timeout": _milliseconds(timeout),
                # Compiling a recount takes longer than running it.
                "jit": "off",
            },
        },
    )


def database_url(settings: Settings) -> URL:
    """Return the URL for our driver, also when it was written for another one or for libpq.

    Raises:
        SettingsError: it is none, or not one of Postgres. The message does not repeat it.
    """
    try:
        url = make_url(settings.database_url.get_secret_value())
    except ArgumentError:
        raise SettingsError("BCS_DATABASE_URL: not a URL") from None
    if url.get_backend_name() not in _POSTGRES_NAMES:
        raise SettingsError("BCS_DATABASE_URL: not a URL of PostgreSQL")
    options = {"ssl" if key == "sslmode" else key: value for key, value in url.query.items()}
    return url.set(drivername=_DRIVER, query=options)


def _milliseconds(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))
