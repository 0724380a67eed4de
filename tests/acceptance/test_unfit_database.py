"""`bcs serve` and a database that is not in UTF-8."""

import asyncio

import httpx

from batch_conductor_service.local.ports import find_free_port
from batch_conductor_service.local.postgres import PostgresServer
from tests.support.encodings import REFUSAL, count_tables, latin1_url, make_latin1
from tests.support.processes import service_process, serving_process
from tests.support.waiting import eventually

__all__ = ["latin1_url"]


async def test_serve_does_not_start_on_it(latin1_url: str) -> None:
    with service_process(
        ENVIRONMENT="production",
        REDIS_URL=f"redis://127.0.0.1:{find_free_port()}",
        DATABASE_URL=latin1_url,
        KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{find_free_port()}",
    ) as process:
        assert await asyncio.to_thread(process.wait) == 1

        line = process.log[-1]
        assert (line["event"], line["reason"]) == ("start_failed", REFUSAL)


async def test_one_that_comes_up_later_is_named_by_health_and_never_written_to(
    own_postgres: PostgresServer, redis_url: str
) -> None:
    url = await make_latin1(own_postgres.url)
    own_postgres.stop()
    with serving_process(
        ENVIRONMENT="production",
        REDIS_URL=redis_url,
        DATABASE_URL=url,
        KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{find_free_port()}",
        KAFKA_ENABLE_IDEMPOTENCE="false",
    ) as (_, address):
        own_postgres.start()

        async def is_named() -> bool:
            health = await client.get(f"{address}/healthz")
            told = health.json()["dependencies"]["postgresql"]
            return bool(told == {"status": "down", "message": REFUSAL})

        async with httpx.AsyncClient() as client:
            await eventually(is_named)
        assert await count_tables(url) == 0
