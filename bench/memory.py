"""What memory an essay takes, and whether the service's grows.

Bytes in Redis and in Postgres are what the servers say they use more after the events of 20,000
essays in one step than before, with nothing queued any more. Redis has each essay twice, in the
batch's hash and as a document for others; Postgres's bytes are tables and indices.

The resident memory of the process is read each time that a tenth of the events has passed. What is
compared is the middle of three readings, at the beginning and at the end: single ones lie up to a
tenth apart, in either direction.
"""

import asyncio
from collections.abc import Iterator

from redis.asyncio import Redis

from bench.event_stream import Stream, committed, send
from bench.figures import Figure, Goal, middle
from bench.machine import resident_mebibytes
from bench.projection import check_held
from bench.servers import Servers, ask_postgres

EVENTS, EVENTS_OF_PART = 500_000, 50_000
ESSAYS = 100  # of a batch
READINGS = 3
GROWTH = 1.1  # that is no more than noise

_TABLES = """
    SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
"""


def measure(servers: Servers, is_quick: bool) -> Iterator[Figure]:
    """Yield bytes an essay, and the process's memory. Too long to be quick."""
    if is_quick:
        return
    with servers.serving("bcs") as service:
        assert service.pid is not None
        pass_through(servers, Stream(name="warming", batches=20))
        before = asyncio.run(bytes_used(servers))
        stored = Stream(name="stored", batches=200, essays=ESSAYS)
        pass_through(servers, stored)
        asyncio.run(check_held(servers, stored))
        after = asyncio.run(bytes_used(servers))
        for store in before:
            yield Figure(
                work=f"an essay in {store}",
                measured=(after[store] - before[store]) / stored.essays_in_all,
                unit="bytes",
            )
        sizes = []
        for number in range(EVENTS // EVENTS_OF_PART):
            part = Stream(name=f"part-{number}", batches=EVENTS_OF_PART // ESSAYS, essays=ESSAYS)
            pass_through(servers, part)
            sizes.append(resident_mebibytes(service.pid))
    yield Figure(
        work=f"the process after {EVENTS:,} events",
        measured=middle(sizes[-READINGS:]),
        unit="MiB",
        limit=(f"after {EVENTS_OF_PART:,}", middle(sizes[:READINGS])),
        goal=Goal(bound=GROWTH, kind="at most"),
    )


def pass_through(servers: Servers, stream: Stream) -> None:
    """Send a stream, and return when it is committed."""
    asyncio.run(committed(servers.kafka, send(servers.kafka, stream).ends))


async def bytes_used(servers: Servers) -> dict[str, int]:
    """Return how many bytes each store uses."""
    async with Redis.from_url(servers.redis) as redis:
        info = await redis.info("memory")
    return {
        "Redis": int(info["used_memory_dataset"]) + int(info["used_memory_overhead"]),
        "Postgres": int(await ask_postgres(servers.postgres, _TABLES)),
    }
