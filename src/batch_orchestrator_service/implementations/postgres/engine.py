"""The connection pool to Postgres, and where it leads, from the settings."""

from sqlalchemy.ext.asyncio import AsyncEngine

from batch_orchestrator_service.config import Settings
from service_libs.postgres.address import DatabaseAddress, read_address
from service_libs.postgres.engine import make_engine

APPLICATION_NAME = "batch-orchestrator-service"
SETTING = "BOS_DATABASE_URL"


def create_engine(settings: Settings) -> AsyncEngine:
    """Return the pool.

    Raises:
        SettingsError: the database's URL is none, or has an option that is not known.
    """
    return make_engine(
        database_address(settings),
        application_name=APPLICATION_NAME,
        pool_size=settings.database_pool_size,
        timeout_seconds=settings.database_timeout_seconds,
    )


def database_address(settings: Settings) -> DatabaseAddress:
    """Return where the database is.

    Raises:
        SettingsError: the setting is none, or has an option that is not known.
    """
    return read_address(settings.database_url.get_secret_value(), setting=SETTING)
