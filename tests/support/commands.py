"""`bcs` run beside a service, as an operator does, and a batch to run it on."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg

from tests.support.builders import essay_names, registered, spellchecked
from tests.support.neighbours import send, sender
from tests.support.servers import plain_url
from tests.support.stack import Stack
from tests.support.waiting import eventually

ESSAYS = essay_names(10)


class Ended(NamedTuple):
    """What a command gave."""

    code: int
    output: str
    errors: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The lines of JSON."""
        return [json.loads(line) for line in self.output.splitlines()]


async def run(stack: Stack, *arguments: str) -> Ended:
    """Run `bcs` with the settings of the stack, as an operator does."""
    settings = {
        "BCS_REDIS_URL": stack.redis.url,
        "BCS_DATABASE_URL": stack.postgres.url,
        "BCS_KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap_servers,
        "BCS_KAFKA_CONSUMER_GROUP_ID": stack.group_id,
        "COLUMNS": "200",
    }
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("bcs"),
        *arguments,
        env=dict(os.environ) | settings,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return Ended(process.returncode or 0, output.decode(), errors.decode())


async def send_batch(stack: Stack, batch: str) -> None:
    """Send all events of a batch, and return when Postgres has them."""
    async with sender(stack.kafka_bootstrap_servers) as producer:
        events = [registered(batch, 10), *(spellchecked(batch, essay) for essay in ESSAYS)]
        await send(producer, events)
    await wait_for(stack, batch)


async def wait_for(stack: Stack, batch: str) -> None:
    """Return when Postgres has the ten completions of the batch."""

    async def is_there() -> bool:
        return await stack.count_completed([batch]) == {batch: 10}

    await eventually(is_there, timeout_seconds=60, what="the batch in Postgres")


async def forget_in_postgres(stack: Stack, batch: str, *tables: str) -> None:
    """Delete the rows of a batch."""
    connection = await asyncpg.connect(plain_url(stack.postgres.url))
    try:
        for table in tables:
            await connection.execute(f"DELETE FROM {table} WHERE batch_id = $1", batch)  # noqa: S608 - a name of ours
    finally:
        await connection.close()
