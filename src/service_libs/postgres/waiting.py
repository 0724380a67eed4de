"""Waiting for Postgres to come up."""

import asyncio
from collections.abc import Callable

from sqlalchemy.ext.asyncio import AsyncEngine

from service_libs.exceptions import StoreUnavailableError, TransientError, UnfitStoreError
from service_libs.postgres.health import PostgresProbe

RETRY_SECONDS = 0.5


async def wait_for_database(
    engine: AsyncEngine, place: str, timeout_seconds: float, *, say: Callable[[str], None]
) -> None:
    """Return when Postgres answers; the engine is disposed of then.

    Raises:
        StoreUnavailableError: it did not in time; the message says why.
        UnfitStoreError: it did, and is not in UTF-8.
    """
    is_said = False
    deadline = asyncio.get_running_loop().time() + timeout_seconds
    try:
        while True:
            try:
                return await PostgresProbe(engine).ping()
            except UnfitStoreError:
                raise
            except TransientError as exc:
                if asyncio.get_running_loop().time() > deadline:
                    raise StoreUnavailableError(
                        f"Postgres did not answer at {place} within {timeout_seconds:g} s:"
                        f" {_root_cause(exc)}"
                    ) from exc
            if not is_said:
                say(f"Waiting for Postgres at {place} ...")
                is_said = True
            await asyncio.sleep(RETRY_SECONDS)
    finally:
        await engine.dispose()


def _root_cause(error: BaseException) -> str:
    """Return what the driver said, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__
