"""Whether Postgres answers."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service_libs.postgres.errors import translated_errors


class PostgresProbe:
    """Asks over the pool that the repository uses, so that an exhausted pool is seen too."""

    name = "postgresql"

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def ping(self) -> None:
        with translated_errors():
            async with self._engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
