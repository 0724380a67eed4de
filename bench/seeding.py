"""Batches that are there before something is measured."""

import asyncio
import time
from collections.abc import Mapping

from aiokafka import AIOKafkaProducer
from redis.asyncio import Redis

from batch_conductor_service.implementations.redis import keys
from batch_conductor_service.models import BatchId
from bench.servers import Servers
from local_stack.asking import ServiceClient
from tests.support.builders import essay_names, phase_outcome, registered

SEEDED_SECONDS = 60

# Copy a batch under other names; its summary says whose it is.
_COPY = """
local fields = redis.call('HGETALL', KEYS[1])
for number = ARGV[2], ARGV[3] do
    local copied = {}
    for index, part in ipairs(fields) do copied[index] = part end
    for index = 1, #copied, 2 do
        if copied[index] == 'summary' then
            copied[index + 1] = string.gsub(
                copied[index + 1], '"batch_id":"[^"]*"', '"batch_id":"' .. ARGV[1] .. number .. '"')
        end
    end
    redis.call('HSET', ARGV[4] .. number, unpack(copied))
end
"""


async def register(servers: Servers, client: ServiceClient, batches: Mapping[str, int]) -> None:
    """Send what makes spellcheck complete in batches of so many essays; return once it is known."""
    producer = AIOKafkaProducer(bootstrap_servers=servers.kafka, max_request_size=2**22)
    await producer.start()
    try:
        for batch, essays in batches.items():
            for event in (registered(batch, essays), phase_outcome(batch, essay_names(essays))):
                await producer.send_and_wait(event.topic, event.value, key=event.key)
    finally:
        await producer.stop()
    end = time.monotonic() + SEEDED_SECONDS
    for batch in batches:
        question = {"batch_id": batch, "requested_pipeline": "cj_assessment"}
        while client.post("/internal/v1/pipelines/define", question)[1]["final_pipeline"] != [
            "cj_assessment"
        ]:
            if time.monotonic() > end:
                raise TimeoutError(f"{batch} has not become complete.")
            await asyncio.sleep(0.05)


async def fill_redis(servers: Servers, like: str, count: int) -> list[str]:
    """Have Redis hold so many batches like the one that is there; return their ids."""
    prefix, at_once = "copy-", 1_000
    async with Redis.from_url(servers.redis, socket_timeout=60) as client:
        copy = client.register_script(_COPY)
        for first in range(0, count, at_once):
            await copy(
                keys=[keys.batch(BatchId(like))],
                args=[prefix, first, min(first + at_once, count) - 1, keys.batch(BatchId(prefix))],
            )
    return [f"{prefix}{number}" for number in range(count)]
