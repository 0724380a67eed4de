"""What aiokafka has no public way for: the only module that reaches into its consumer.

Bounded here: how long closing takes, how many bytes a poll brings, and who may commit. Seen here:
what the broker answered to each fetch, and which topics there are without creating those asked for.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Protocol, TypeAlias

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import UnknownMemberIdError
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.fetch import FetchRequest

from service_libs.kafka.predecessors import UNANSWERED, leave_group
from service_libs.kafka.reading_progress import FetchAnswer
from service_libs.protocols import ClockProtocol

LEFTOVER_TIMEOUT_SECONDS = 1  # for each part that `stop` did not come to
LOOK_SECONDS = 0.05  # between two looks for a join that is to be taken back
MAX_POLL_BYTES = 2 * 1024 * 1024  # as Python objects they take about twenty times that
STEP_RECORDS = 16  # of one look into what was fetched: their sizes are not known before

Record: TypeAlias = ConsumerRecord[bytes | None, bytes | None]


class FetchingProtocol(Protocol):
    """What of the library's consumer a poll needs."""

    async def getmany(
        self, *, timeout_ms: int, max_records: int
    ) -> dict[TopicPartition, list[Record]]:
        """Return records that were fetched, waiting for some at most so long."""
        ...


def client_of(consumer: AIOKafkaConsumer) -> AIOKafkaClient:
    """Return what sends a consumer's requests."""
    return consumer._client  # noqa: SLF001 - aiokafka has no public way


def _coordinator_of(consumer: AIOKafkaConsumer) -> Any:  # noqa: ANN401 - it has no public type
    return consumer._coordinator  # noqa: SLF001 - aiokafka has no public way


async def close_in_order(consumer: AIOKafkaConsumer, timeout_seconds: float) -> bool:
    """Leave the group and close the consumer; return whether it came to its end in time.

    Its `stop` closes coordinator, fetcher and client one after the other. It hangs while a join of
    the group is not answered, and it raises CancelledError when a fetch waits to be tried again;
    either leaves the rest running for ever. So a join that waits for other members is taken back,
    which answers it; else the group would get a member that nobody hears of again.
    """
    taking_back = asyncio.create_task(_take_joins_back(consumer))
    try:
        return await _ends_in_order(consumer.stop(), timeout_seconds)
    finally:
        taking_back.cancel()
        await asyncio.gather(taking_back, return_exceptions=True)


async def close_in_parts(consumer: AIOKafkaConsumer) -> None:
    """Close what is left of a consumer that was not closed in order."""
    for closing in _leftovers(consumer):
        await _ends_in_order(closing, LEFTOVER_TIMEOUT_SECONDS)


async def collect(consumer: FetchingProtocol, *, timeout_ms: int, max_records: int) -> list[Record]:
    """Return the next records, in order within each partition; none after the time-out.

    The library bounds a poll only by records. Compressed, a fetch of a few kilobytes may hold
    hundreds of a megabyte. They may be more than the bound by one step, or by a single record that
    is larger than it.

    After the first look nothing here waits, so no rebalance can come in between: what was fetched
    is handed out without giving up control.
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


def watch_fetches(
    consumer: AIOKafkaConsumer, clock: ClockProtocol, note: Callable[[FetchAnswer], None]
) -> None:
    """Have every answer noted that the consumer takes: of its own partitions, where it stands.

    aiokafka says when an answer was *received* (`last_poll_timestamp`), which proves nothing after
    the process was stopped or held up: the answer may be as old as that. Nor does it
    distinguish an empty answer from records that it holds back. So the requests are watched on
    their way.
    """
    client = client_of(consumer)
    send = client.send

    async def watched(node_id: int, request: Any, **options: Any) -> Any:  # noqa: ANN401 - passed on
        asked_at = clock.now()
        response = await send(node_id, request, **options)
        if isinstance(request, FetchRequest):
            for answer in _answers(request, response, asked_at):
                if _position(consumer, TopicPartition(*answer.partition)) == answer.offset:
                    note(answer)
        return response

    client.send = watched


def commit_as_member_only(consumer: AIOKafkaConsumer) -> None:
    """Have a consumer commit no offset once the group has forgotten it, until it is in it again.

    The library would commit without a membership, and a group without members takes that from
    anybody: past what a replay wants read again, and even for another log at the same address.
    """
    coordinator = _coordinator_of(consumer)
    commit = coordinator._do_commit_offsets  # noqa: SLF001 - aiokafka has no public way

    async def commit_as_member(assignment: object, offsets: object) -> None:
        if coordinator.generation == OffsetCommitRequest.DEFAULT_GENERATION_ID:
            raise UnknownMemberIdError(coordinator.group_id)
        await commit(assignment, offsets)

    coordinator._do_commit_offsets = commit_as_member  # noqa: SLF001 - aiokafka has no public way


async def _take_joins_back(consumer: AIOKafkaConsumer) -> None:
    """Have the member leave whose join the broker has not answered yet, until cancelled."""
    while True:
        coordinator = _coordinator_of(consumer)
        # So it is from the end of the revocation until the group has given it partitions; it has an
        # id since the broker has answered its first request to join.
        is_joining = coordinator is not None and coordinator._performed_join_prepare  # noqa: SLF001 - aiokafka has no public way
        if is_joining and coordinator.member_id:
            with suppress(*UNANSWERED):
                await leave_group(client_of(consumer), coordinator.group_id, coordinator.member_id)
        await asyncio.sleep(LOOK_SECONDS)


def _leftovers(consumer: AIOKafkaConsumer) -> Iterator[Coroutine[Any, Any, None]]:
    fetcher = consumer._fetcher  # noqa: SLF001 - aiokafka has no public way
    coordinator = _coordinator_of(consumer)
    if coordinator is not None:
        yield coordinator._stop_heartbeat_task()  # noqa: SLF001 - aiokafka has no public way
    if fetcher is not None:
        yield fetcher.close()
    yield client_of(consumer).close()


async def _ends_in_order(work: Coroutine[Any, Any, None], timeout_seconds: float) -> bool:
    """Await the work in a task of its own, so that its cancellation is not taken for ours."""
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task}, timeout=timeout_seconds)
    finally:
        task.cancel()  # and not awaited: it may swallow that
    return task.done() and not task.cancelled() and task.exception() is None


def _sizes(records: Sequence[Record]) -> list[int]:
    return [len(record.value or b"") + len(record.key or b"") for record in records]


def _answers(request: Any, response: Any, asked_at: datetime) -> Iterator[FetchAnswer]:  # noqa: ANN401 - untyped
    offsets = {
        (topic, number): offset
        for topic, partitions in request.topics
        for number, offset, _ in partitions
    }
    for topic, partitions in response.topics:
        for number, error_code, end, *rest in partitions:
            if error_code == 0:
                yield FetchAnswer(
                    partition=(topic, number),
                    asked_at=asked_at,
                    offset=offsets[topic, number],
                    end=end,
                    is_empty=not rest[-1],
                )


def _position(consumer: AIOKafkaConsumer, partition: TopicPartition) -> int | None:
    """Return where the consumer stands; an answer for elsewhere it throws away, too."""
    subscription = consumer._subscription.subscription  # noqa: SLF001 - `position` may wait
    assignment = subscription.assignment if subscription else None
    state = assignment.state_value(partition) if assignment and assignment.active else None
    return state.position if state and state.has_valid_position else None
