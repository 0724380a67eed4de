"""How long do callers wait when Redis has lost everything?

Redis is emptied, and at once 200 callers ask for a thousand different batches of 30 essays, each of
which has to be read from Postgres, merged and kept again.
"""

import asyncio
from collections.abc import Iterator

from redis.asyncio import Redis

from batch_conductor_service.implementations.redis import keys
from bench.define import ESSAYS, TOKEN, questions
from bench.figures import Figure, Goal, middle
from bench.http_load import Answers, Load, ask
from bench.seeding import register
from bench.servers import Servers
from local_stack.asking import ServiceClient
from local_stack.service import ServiceProcess

CALLERS = 200
BATCHES = 1_000
DRAINED_SECONDS = 60


def measure(servers: Servers, *, is_quick: bool) -> Iterator[Figure]:
    """Empty Redis, ask, and do so again."""
    count = 300 if is_quick else BATCHES
    batches = [f"batch-{number}" for number in range(count)]
    with servers.serving("bcs", {"BCS_SERVICE_TOKEN": TOKEN}) as service:
        client = ServiceClient(service.client.url, token=TOKEN)
        asyncio.run(register(servers, client, dict.fromkeys(batches, ESSAYS)))
        asyncio.run(_wait_until_drained(servers))
        found = [_storm(servers, service, batches) for _ in range(2 if is_quick else 5)]
        _check_pruned(client, batches)
    yield Figure(
        work=f"{count:,} unknown batches, {CALLERS} callers, p99",
        measured=middle([one.within(0.99) for one in found]),
        unit="ms",
        goal=Goal(bound=500, kind="at most"),
    )
    yield Figure(
        work="batches read from Postgres, merged and kept",
        measured=middle([one.per_second for one in found]),
        unit="batches/s",
    )


def _storm(servers: Servers, service: ServiceProcess, batches: list[str]) -> Answers:
    asyncio.run(_empty(servers))
    load = Load(
        port=service.port, requests=list(questions(batches)), connections=CALLERS, seconds=None
    )
    return ask(load).require(200)


async def _empty(servers: Servers) -> None:
    async with Redis.from_url(servers.redis) as client:
        await client.flushdb()


async def _wait_until_drained(servers: Servers) -> None:
    """Return when nothing waits for Postgres."""
    async with Redis.from_url(servers.redis) as client, asyncio.timeout(DRAINED_SECONDS):
        while await client.xlen(keys.PERSISTENCE_QUEUE):  # noqa: ASYNC110 - nobody reports it
            await asyncio.sleep(0.1)


def _check_pruned(client: ServiceClient, batches: list[str]) -> None:
    """Raise where an answer does not know what Postgres does: what is fast must be right."""
    for batch in batches[::50]:
        asked = {"batch_id": batch, "requested_pipeline": "cj_assessment"}
        runs = client.post("/internal/v1/pipelines/define", asked)[1]["final_pipeline"]
        if runs != ["cj_assessment"]:
            raise RuntimeError(f"{batch} is to run {runs}.")
