"""`bcs serve` and a database that is not in UTF-8."""

import asyncio

import httpx

from local_stack.neighbours import Neighbours
from local_stack.ports import find_free_port
from tests.support.encodings import REFUSAL, count_rows, latin1_url, make_latin1, make_schema
from tests.support.processes import service_process
from tests.support.stack import Stack
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
    stack: Stack,
) -> None:
    url = await make_latin1(stack.postgres.url)
    await make_schema(url)
    await Neighbours.create_topics(stack.kafka_bootstrap_servers)
    stack.postgres.stop()
    with stack.serve(DATABASE_URL=url) as (_, address):
        stack.postgres.start()
        async with (
            httpx.AsyncClient(base_url=address) as client,
            Neighbours(stack.kafka_bootstrap_servers) as neighbours,
        ):
            await neighbours.register("batch-1", ["essay-1"])

            async def is_named() -> bool:
                health = (await client.get("/healthz")).json()
                said = health["dependencies"]["postgresql"]
                return bool(said == {"status": "down", "message": REFUSAL})

            await eventually(is_named, what="the refusal in /healthz")
            await wait_until_tried_again(client)

        assert await count_rows(url) == 0


async def wait_until_tried_again(client: httpx.AsyncClient) -> None:
    """Return when the worker has failed to write, and failed once more."""
    failures: set[str] = set()

    async def has_failed_twice() -> bool:
        metrics = (await client.get("/metrics")).text.splitlines()
        counter = 'bcs_postgres_persistence_total{outcome="failure"}'
        failures.update(line for line in metrics if line.startswith(counter))
        return len({line for line in failures if not line.endswith(" 0.0")}) > 1

    await eventually(has_failed_twice, timeout_seconds=30, what="a second try")
