"""What happens to the records of one poll: each to its handler, or to the dead letters.

In order within a batch, side by side between batches.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

import structlog

from batch_orchestrator_service.consuming.facts import BatchFactsHandler
from batch_orchestrator_service.consuming.requests import ClientBatchPipelineRequestHandler
from batch_orchestrator_service.events.decoding import DecodedEvent, decode_event
from batch_orchestrator_service.metrics import Metrics
from common_core.events import ELSBatchPhaseOutcomeV1
from common_core.flow import (
    BatchContentProvisioningCompletedV1,
    BatchEssaysReady,
    BatchRegistered,
    ClientBatchPipelineRequestV1,
)
from common_core.records import RecordPosition
from service_libs.decoding import InvalidRecordWindow
from service_libs.exceptions import InvalidMessageError, RefusedUpdateError, ServiceError
from service_libs.failpoints import failpoint
from service_libs.kafka.policy import DeadLetterLimit
from service_libs.kafka.records import Record, reason_of, to_dead_letter
from service_libs.protocols import DlqProducerProtocol

BATCHES_AT_A_TIME = 8  # each takes a connection to Postgres

logger = structlog.get_logger(__name__)

Result = TypeVar("Result")
UntilAvailable = Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]


class PollHandler:
    """Handles polls; what is invalid is dead-lettered, what cannot be reached is waited for."""

    def __init__(
        self,
        requests: ClientBatchPipelineRequestHandler,
        facts: BatchFactsHandler,
        dlq: DlqProducerProtocol,
        metrics: Metrics,
        *,
        group_id: str,
        limit: DeadLetterLimit | None = None,
    ) -> None:
        self._requests = requests
        self._facts = facts
        self._dlq = dlq
        self._metrics = metrics
        self._group_id = group_id
        self._window = InvalidRecordWindow(limit or DeadLetterLimit())
        self._at_a_time = asyncio.Semaphore(BATCHES_AT_A_TIME)

    async def handle(self, records: Sequence[Record], until_available: UntilAvailable) -> None:
        """Return when all of it is durable: its effects in Postgres, its letters at the broker.

        Raises:
            DeadLetterLimitError: too many of the latest records are invalid; none of these is
                handled.
        """
        failpoint("bos.polled")
        decoded = [(record, _decoded(record)) for record in records]
        reasons = {_position(record): _reason(event) for record, event in decoded}
        self._window.check(reasons)
        groups: dict[str, list[tuple[Record, DecodedEvent | ServiceError]]] = {}
        for record, event in decoded:
            groups.setdefault(_batch_of(record, event), []).append((record, event))
        await _together([self._handle_group(group, until_available) for group in groups.values()])
        self._window.add(reasons)
        failpoint("bos.handled")

    async def _handle_group(
        self,
        group: Sequence[tuple[Record, DecodedEvent | ServiceError]],
        until_available: UntilAvailable,
    ) -> None:
        async with self._at_a_time:
            for record, event in group:
                await self._handle_one(record, event, until_available)

    async def _handle_one(
        self,
        record: Record,
        event: DecodedEvent | ServiceError,
        until_available: UntilAvailable,
    ) -> None:
        if isinstance(event, ServiceError):
            await self._dead_letter(record, event, until_available)
            return
        try:
            await until_available(lambda: self._dispatch(event))
        except RefusedUpdateError as exc:
            await self._dead_letter(record, exc, until_available)
            return
        self._metrics.events_processed.labels(event.name.value, "applied").inc()

    async def _dispatch(self, event: DecodedEvent) -> None:
        match event.data:
            case ClientBatchPipelineRequestV1() as said:
                await self._requests.handle(said)
            case BatchRegistered() as said:
                await self._facts.register(said)
            case BatchEssaysReady() as said:
                await self._facts.take_ready_essays(said)
            case BatchContentProvisioningCompletedV1() as said:
                await self._facts.take_provisioned(said)
            case ELSBatchPhaseOutcomeV1() as said:
                await self._facts.take_outcome(said, event.correlation_id)

    async def _dead_letter(
        self, record: Record, error: ServiceError, until_available: UntilAvailable
    ) -> None:
        letter = to_dead_letter(record, error, self._group_id)
        await until_available(lambda: self._dlq.publish(letter))
        self._metrics.events_processed.labels(record.topic, "dead_lettered").inc()


async def _together(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Do all of it side by side; what the first that fails raises is raised, the rest ended."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for error in ended:
        if isinstance(error, Exception):
            raise error


def _decoded(record: Record) -> DecodedEvent | InvalidMessageError:
    try:
        return decode_event(record.topic, record.value)
    except InvalidMessageError as exc:
        return exc


def _reason(event: DecodedEvent | ServiceError) -> str | None:
    return reason_of(event) if isinstance(event, ServiceError) else None


def _batch_of(record: Record, event: DecodedEvent | ServiceError) -> str:
    if isinstance(event, ServiceError):
        return f"{record.topic}:{record.partition}:{record.offset}"  # nobody waits for it
    return event.data.batch_id


def _position(record: Record) -> RecordPosition:
    return RecordPosition(topic=record.topic, partition=record.partition, offset=record.offset)
