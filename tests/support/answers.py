"""What the service answers about a history, by whichever repository; for holding it to account.

Records go through all that consumption does with them, dead letters included; only Kafka is left
out, and our clock stands where the history says that it stood.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TypeVar

import structlog
from prometheus_client import CollectorRegistry

from batch_conductor_service.consuming.group_freshness import AlwaysFresh
from batch_conductor_service.consuming.handling import PollHandler
from batch_conductor_service.consuming.policy import ConsumerPolicy
from batch_conductor_service.domain.pipelines import PipelineCatalog
from batch_conductor_service.domain.resolution import Resolution, ResolutionRequest
from batch_conductor_service.implementations.memory.batch_state import MockBatchStateRepositoryImpl
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.models import BatchId
from batch_conductor_service.protocols import BatchStateRepositoryProtocol
from batch_conductor_service.resolving.pipeline_resolution import (
    DefaultPipelineResolutionService,
    DefaultPipelineRules,
)
from common_core.verdicts import Reason, Verdict
from service_libs.exceptions import StoreUnavailableError, TransientError
from service_libs.kafka.policy import DeadLetterLimit
from service_libs.kafka.records import ConsumedRecord
from tests.support.consuming import ControlledDlq
from tests.support.oracle.histories import GRAPH, History
from tests.support.oracle.judge import Verdict as Judged
from tests.support.oracle.judge import judge
from tests.support.oracle.sending import BATCH
from tests.support.oracle.statements import Record
from tests.support.pipelines import DEPENDENCIES, service_catalog

PIPELINE = "comprehensive"
SURE_SECONDS = 30  # longest wait for an answer that rests on the whole state
RETRY_SECONDS = 0.1

FALSE_GREEN = "false_green"
NEEDLESS_RUN = "needless_run"
OTHER_REASON = "other_reason"
KINDS = (FALSE_GREEN, NEEDLESS_RUN, OTHER_REASON)

_POLICY = ConsumerPolicy(
    bootstrap_servers="", group_id="group", dlq_limit=DeadLetterLimit(max_invalid_ratio=1)
)
_METRICS = Metrics(CollectorRegistry())
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """What the service decided of a step."""

    is_skipped: bool
    reason: str


class _SetClock:
    """Stands where it was set."""

    def __init__(self) -> None:
        self.milliseconds = 0

    def now(self) -> datetime:
        return _EPOCH + timedelta(milliseconds=self.milliseconds)


async def _until_available(attempt: Callable[[], Awaitable[T]]) -> T:
    """A busy machine lets a server's time run out now and then."""
    async with asyncio.timeout(SURE_SECONDS):
        while True:
            try:
                return await attempt()
            except TransientError:
                await asyncio.sleep(RETRY_SECONDS)


class Answering:
    """The service from a poll to an answer, on one repository."""

    def __init__(self, repository: BatchStateRepositoryProtocol | None = None) -> None:
        self._repository = repository or MockBatchStateRepositoryImpl(DEPENDENCIES)
        self._clock = _SetClock()
        self._handler = PollHandler(
            self._repository, ControlledDlq(), _POLICY, _METRICS, self._clock, DEPENDENCIES
        )
        self._resolution = DefaultPipelineResolutionService(
            _catalog(), DefaultPipelineRules(), self._repository, AlwaysFresh(self._clock)
        )
        self._offset = 0

    async def consume(self, records: Iterable[Record]) -> None:
        """Take the records in this order, those of one time of ours in one poll."""
        poll: list[Record] = []
        for record in records:
            if poll and poll[-1].consumed_ms != record.consumed_ms:
                await self._handle(poll)
                poll = []
            poll.append(record)
        await self._handle(poll)

    async def ask(self, batch: str, essays_total: int | None = None) -> dict[str, Phase]:
        """Ask for every step, again until the answer knows the whole state."""
        is_total = essays_total is not None and essays_total > 0
        request = ResolutionRequest(
            batch_id=BatchId(batch),
            requested_pipeline=PIPELINE,
            correlation_id="correlation",
            essays_total=essays_total if is_total else None,
        )
        resolution = await _until_available(lambda: self._resolve_surely(request))
        return {
            str(phase.step.name): Phase(
                is_skipped=phase.verdict is Verdict.SKIP, reason=phase.reason.value
            )
            for phase in resolution.phases
        }

    async def _resolve_surely(self, request: ResolutionRequest) -> Resolution:
        resolution = await self._resolution.resolve(request)
        if any(phase.reason is Reason.STATE_UNKNOWN for phase in resolution.phases):
            raise StoreUnavailableError
        return resolution

    async def _handle(self, poll: Sequence[Record]) -> None:
        if not poll:
            return
        self._clock.milliseconds = poll[0].consumed_ms
        await self._handler.handle([self._consumed(record) for record in poll], _until_available)

    def _consumed(self, record: Record) -> ConsumedRecord:
        self._offset += 1
        return ConsumedRecord(
            topic=record.topic,
            partition=0,
            offset=self._offset,
            timestamp=record.sent_ms,
            key=record.key,
            value=record.value,
        )


@cache
def _catalog() -> PipelineCatalog:
    return service_catalog()


@contextmanager
def without_logs() -> Iterator[None]:
    """Keep the warnings of thousands of strange records to ourselves."""
    before = structlog.get_config()
    structlog.configure(processors=[_drop])
    try:
        yield
    finally:
        structlog.configure(**before)


def _drop(*_: object) -> str:
    raise structlog.DropEvent


async def answer_from_memory(history: History) -> dict[str, Phase]:
    """Return what the service answers, having kept the history in memory."""
    service = Answering()
    await service.consume(history.records)
    return await service.ask(history.batch, history.essays_total)


def judged(history: History) -> dict[str, Judged]:
    """Return what the oracle says of each step."""
    return judge(history.records, history.batch, GRAPH, history.essays_total)


def differences(history: History, answer: dict[str, Phase]) -> list[tuple[str, str]]:
    """Return (kind, step) of everything in which the answer is not the oracle's.

    A reason that the oracle does not accept stands beside the step.
    """
    found = []
    for step, verdict in judged(history).items():
        phase = answer[step]
        if phase.is_skipped and not verdict.may_skip:
            found.append((FALSE_GREEN, step))
        elif not phase.is_skipped and verdict.may_skip:
            found.append((NEEDLESS_RUN, step))
        elif not phase.is_skipped and phase.reason not in verdict.reasons:
            found.append((OTHER_REASON, f"{step} {phase.reason}"))
    return found


def renamed(history: History, batch: str) -> History:
    """Return the history as that of another batch, so that many may share a store."""
    old, new = (f'"{name}"'.encode() for name in (BATCH, batch))
    records = [
        replace(
            each,
            key=batch.encode() if each.key == BATCH.encode() else each.key,
            value=None if each.value is None else each.value.replace(old, new),
        )
        for each in history.records
    ]
    return replace(history, records=tuple(records), batch=batch)
