"""How fast Postgres catches up after it was away.

The queue holds an entry for each essay, as events that came one by one leave them, and then the
service is started. The limit is a COPY of the same rows into a table of the same form: Postgres
takes them as they come, with nothing to merge, to lock or to count.

`define` is asked meanwhile at a steady rate, and again when nothing is left.

Of an entry's time the service's process takes some 14 us, most of it to decode it, to merge it and
to bind its row; Redis delivers and forgets it in 10 us, Postgres merges and counts it in 6. A COPY
of a row that nobody has to read, to compare or to forget takes 2 us.

A question meets the work in parts, at each of the few steps that it takes: two milliseconds in the
process, and in Redis scripts that deliver and forget 200 entries, of one millisecond mostly and of
seven at most. Smaller parts would make the drain slower. The longest waits are forks of Redis,
which makes its append-only file new every few seconds while the queue empties; with a quarter of
them 99 of 100 waited 9 ms instead of 11. Nobody waits for a core (0.03 ms at a time, by
`schedstat`).
"""

import asyncio
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import asyncpg
from redis.asyncio import Redis

from batch_conductor_service.implementations.redis import keys
from batch_conductor_service.models import BatchUpdate
from batch_conductor_service.persisting.codec import encode_update
from batch_conductor_service.protocols import BatchStateRepositoryProtocol
from batch_conductor_service.startup_setup import build_container
from bench.event_stream import Stream
from bench.figures import Figure, Goal, middle
from bench.http_load import Answers, Load, ask, request
from bench.servers import Servers, ask_postgres, bcs_settings
from local_stack.service import ServiceProcess
from service_libs.redis.connections import RedisCommand, execute
from tests.support.builders import essay_names, evidence, registration, update
from tests.support.servers import plain_url

ENTRIES, FEW_ENTRIES = 500_000, 50_000
SHARE = 0.3  # of COPY
TIMES = 2  # as long as else `define` may take
RATE = 50  # questions a second
COMMANDS_AT_ONCE = 1_000
LOOK_SECONDS = 0.05
AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
ASKED = "asked"  # the batch that is asked for

COLUMNS = ("batch_id", "essay_id", "step_name", "source", "status", "occurred_at", "storage_id")


def measure(servers: Servers, is_quick: bool) -> Iterator[Figure]:
    """Yield the speed of the drain, and what callers notice of it."""
    servers.migrate("bcs")
    queued = _updates(FEW_ENTRIES if is_quick else ENTRIES)
    copied = [asyncio.run(copy(servers, queued))]
    asyncio.run(fill(servers, queued))
    with servers.serving("bcs") as service, ThreadPoolExecutor(1) as beside:
        asking = beside.submit(ask_define, service, ASKED, 2.0 if is_quick else 10.0)
        drained = asyncio.run(drain(servers))
        meanwhile = asking.result()
        quiet = ask_define(service, ASKED, 2.0 if is_quick else 10.0)
    held = asyncio.run(ask_postgres(servers.postgres, "SELECT count(*) FROM essay_step_evidence"))
    if held < len(queued):
        raise RuntimeError(f"Of {len(queued)} entries Postgres has {held}.")
    copied.append(asyncio.run(copy(servers, queued)))
    yield Figure(
        work=f"{len(queued):,} entries from the queue",
        measured=drained,
        unit="rows/s",
        limit=("COPY of the same rows", middle(copied)),
        goal=Goal(bound=SHARE, alarm=SHARE / 10),
    )
    yield Figure(
        work="define meanwhile, 99 of 100 within",
        measured=meanwhile.within(0.99),
        unit="ms",
        limit=("define with nothing queued", quiet.within(0.99)),
        goal=Goal(bound=TIMES, kind="at most", alarm=50),
    )


async def copy(servers: Servers, queued: list[BatchUpdate]) -> float:
    """Return how many of the rows COPY takes in a second."""
    rows = [
        (
            said.batch_id,
            one.essay_id,
            one.step,
            one.source,
            one.evidence.status,
            one.evidence.occurred_at,
            one.evidence.storage_id,
        )
        for said in queued
        for one in said.evidence
    ]
    connection = await asyncpg.connect(plain_url(servers.postgres))
    try:
        await connection.execute("CREATE TABLE copied (LIKE essay_step_evidence INCLUDING ALL)")
        began_at = time.monotonic()
        await connection.copy_records_to_table("copied", records=rows, columns=COLUMNS)
        taken = time.monotonic() - began_at
        await connection.execute("DROP TABLE copied")
    finally:
        await connection.close()
    return len(rows) / taken


async def fill(servers: Servers, queued: list[BatchUpdate]) -> None:
    """Queue the updates as the service does, and make known a batch that is asked for."""
    container = build_container(bcs_settings(servers.settings()))
    repository = await container.get(BatchStateRepositoryProtocol)
    done = [evidence(name, storage_id=f"corrected-{name}") for name in essay_names(30)]
    await repository.apply([update(ASKED, registration(30), *done)])
    await container.close()
    async with Redis.from_url(servers.redis) as redis:
        for start in range(0, len(queued), COMMANDS_AT_ONCE):
            pipe = redis.pipeline(transaction=True)
            some = queued[start : start + COMMANDS_AT_ONCE]
            await execute(pipe, [command for said in some for command in _queue_commands(said)])


async def drain(servers: Servers) -> float:
    """Wait until the queue is empty; return how many entries left it in a second."""
    async with Redis.from_url(servers.redis) as redis:
        length, began_at = await redis.xlen(keys.PERSISTENCE_QUEUE), time.monotonic()
        left = length
        while left:
            await asyncio.sleep(LOOK_SECONDS)
            left = await redis.xlen(keys.PERSISTENCE_QUEUE)
    return float(length) / (time.monotonic() - began_at)


def ask_define(service: ServiceProcess, batch: str, seconds: float) -> Answers:
    """Ask for a pipeline of the batch at a steady rate."""
    body = json.dumps({"batch_id": batch, "requested_pipeline": "cj_assessment"}).encode()
    question = request("POST", "/internal/v1/pipelines/define", body)
    port = int(service.client.url.rpartition(":")[2])
    load = Load(port=port, requests=[question], connections=10, seconds=seconds, rate=RATE)
    return ask(load).require(200)


def _queue_commands(said: BatchUpdate) -> list[RedisCommand]:
    payload = encode_update(said)
    return [
        ("HINCRBY", keys.PERSISTENCE_WAITING, said.batch_id, 1),
        ("HINCRBY", keys.PERSISTENCE_WAITING, keys.WAITING_OF_ALL, 1),
        ("INCRBY", keys.PERSISTENCE_BYTES, len(payload)),
        ("XADD", keys.PERSISTENCE_QUEUE, "*", "batch", said.batch_id, "update", payload),
    ]


def _updates(entries: int) -> list[BatchUpdate]:
    """Return an update for each essay, in the order of the events of a stream."""
    stream = Stream(name="queued", batches=entries // 100)
    return [
        update(batch, evidence(essay, at=AT, storage_id=f"corrected-{essay}"))
        for places in stream.places()
        for batch, essay in places
    ]
