"""Closing an aiokafka consumer for certain, whatever state the broker has left it in.

Its `stop` closes coordinator, fetcher and client one after the other. It hangs while a join of the
group is not answered, and it raises CancelledError when a fetch waits to be tried again; either
leaves the rest running for ever.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

from aiokafka import AIOKafkaConsumer

LEFTOVER_TIMEOUT_SECONDS = 1  # for each part that `stop` did not come to


async def close_in_order(consumer: AIOKafkaConsumer, timeout_seconds: float) -> bool:
    """Leave the group and close the consumer; return whether it came to its end in time."""
    return await _ends_in_order(consumer.stop(), timeout_seconds)


async def close_in_parts(consumer: AIOKafkaConsumer) -> None:
    """Close what is left of a consumer that was not closed in order."""
    for closing in _leftovers(consumer):
        await _ends_in_order(closing, LEFTOVER_TIMEOUT_SECONDS)


def _leftovers(consumer: AIOKafkaConsumer) -> Iterator[Coroutine[Any, Any, None]]:
    if consumer._coordinator is not None:  # noqa: SLF001 - aiokafka has no public way
        yield consumer._coordinator._stop_heartbeat_task()  # noqa: SLF001 - aiokafka has no public way
    if consumer._fetcher is not None:  # noqa: SLF001 - aiokafka has no public way
        yield consumer._fetcher.close()  # noqa: SLF001 - aiokafka has no public way
    yield consumer._client.close()  # noqa: SLF001 - aiokafka has no public way


async def _ends_in_order(work: Coroutine[Any, Any, None], timeout_seconds: float) -> bool:
    """Await the work in a task of its own, so that its cancellation is not taken for ours."""
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task}, timeout=timeout_seconds)
    finally:
        task.cancel()  # and not awaited: it may swallow that
    return task.done() and not task.cancelled() and task.exception() is None
