"""What many consumers are: each event by itself, applied, kept and committed before the next.

It applies events by the same code as the service.
"""

import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer

from batch_conductor_service.consuming.handling import PollHandler
from batch_conductor_service.persisting.worker import PersistenceWorker
from batch_conductor_service.startup_setup import build_container
from bench.event_stream import Sent, Stream, send
from bench.servers import Servers, bcs_settings
from service_libs.protocols import BackgroundTaskProtocol

GROUP = "bench-one-by-one"

Result = TypeVar("Result")


def consume_one_by_one(servers: Servers, stream: Stream) -> Coroutine[Any, Any, float]:
    """Return how many events a second get to Postgres so, the sending left out."""
    servers.migrate("bcs")
    return _consume(servers, send(servers.kafka, stream), stream.essays_in_all)


async def _consume(servers: Servers, sent: Sent, events: int) -> float:
    container = build_container(bcs_settings(servers.settings()))
    handler = await container.get(PollHandler)
    tasks = await container.get(Sequence[BackgroundTaskProtocol])
    [worker] = [task for task in tasks if isinstance(task, PersistenceWorker)]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers.kafka, group_id=GROUP, enable_auto_commit=False
    )
    await consumer.start()
    try:
        consumer.assign(list(sent.firsts))
        for partition, offset in sent.firsts.items():
            consumer.seek(partition, offset)
        began_at = time.monotonic()
        for _ in range(events):
            await handler.handle([await consumer.getone()], _at_once)
            await worker.drain()
            await consumer.commit()
        return events / (time.monotonic() - began_at)
    finally:
        await consumer.stop()
        await container.close()


async def _at_once(attempt: Callable[[], Awaitable[Result]], /) -> Result:
    return await attempt()
