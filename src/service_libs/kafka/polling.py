"""A poll of a bounded number of bytes, which the library bounds only by records.

Compressed, a fetch of a few kilobytes may hold hundreds of records of a megabyte.
"""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

from aiokafka import ConsumerRecord, TopicPartition

MAX_POLL_BYTES = 2 * 1024 * 1024  # as Python objects they take about twenty times that
STEP_RECORDS = 16  # of one look into what was fetched: their sizes are not known before

Record: TypeAlias = ConsumerRecord[bytes | None, bytes | None]


class FetchingProtocol(Protocol):
    """What of the library's consumer is needed here."""

    async def getmany(
        self, *, timeout_ms: int, max_records: int
    ) -> dict[TopicPartition, list[Record]]:
        """Return records that were fetched, waiting for some at most so long."""
        ...


async def collect(consumer: FetchingProtocol, *, timeout_ms: int, max_records: int) -> list[Record]:
    """Return the next records, in order within each partition; none after the time-out.

    After the first look nothing here waits, so no rebalance can come in between: what was fetched
    is handed out without giving up control. The records may be more than the bound by one step, or
    by a single record that is larger than it.
    """
    records: list[Record] = []
    size, largest = 0, 1
    while size < MAX_POLL_BYTES and len(records) < max_records:
        room = max(1, (MAX_POLL_BYTES - size) // largest)
        found = await consumer.getmany(
            timeout_ms=0 if records else timeout_ms,
            max_records=min(STEP_RECORDS, room, max_records - len(records)),
        )
        some = [record for batch in found.values() for record in batch]
        if not some:
            break
        records += some
        sizes = _sizes(some)
        size, largest = size + sum(sizes), max(largest, *sizes)
    return records


def _sizes(records: Sequence[Record]) -> list[int]:
    return [len(record.value or b"") + len(record.key or b"") for record in records]
