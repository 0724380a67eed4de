"""What happens to the records of one poll: applied together, or dead-lettered one by one."""

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar

import structlog

from batch_conductor_service.consuming.phase_tracking import (
    group_by_batch,
    to_unreadable_update,
    to_update,
)
from batch_conductor_service.consuming.policy import ConsumerPolicy
from batch_conductor_service.domain.pipelines import StepDependencies
from batch_conductor_service.domain.statements import bound_in_time, bounds_of
from batch_conductor_service.events.consumed import DATA_MODELS, find_subject
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.models import BatchUpdate
from batch_conductor_service.protocols import BatchStateRepositoryProtocol
from common_core.records import RecordPosition
from common_core.topics import find_event
from service_libs.decoding import InvalidRecordWindow, decode
from service_libs.exceptions import InvalidMessageError, RefusedUpdateError, ServiceError
from service_libs.failpoints import failpoint
from service_libs.kafka.records import Record, reason_of, to_dead_letter
from service_libs.protocols import ClockProtocol, DlqProducerProtocol
from service_libs.timing import in_turns

logger = structlog.get_logger(__name__)

# The last that can be a time: in a count of microseconds it is the year 50 000 already.
_LATEST_MS = (datetime.max.replace(tzinfo=UTC) - timedelta(days=2)).timestamp() * 1000


Result = TypeVar("Result")


class UntilAvailable(Protocol):
    """Awaits attempts until one does not raise `TransientError`, or until it is to give up."""

    async def __call__(self, attempt: Callable[[], Awaitable[Result]], /) -> Result:
        """Return what the first attempt that succeeds returns."""
        ...


@dataclass(slots=True)
class _SortedPoll:
    """The records of a poll by what can be done with them; `entry_ids` fills as it is done.

    A rejected record has an update, too, if its batch can be seen: what it may have said.
    """

    records: Mapping[RecordPosition, Record]
    updates: dict[RecordPosition, BatchUpdate] = field(default_factory=dict)
    rejected: dict[RecordPosition, ServiceError] = field(default_factory=dict)
    entry_ids: dict[RecordPosition, str | None] = field(default_factory=dict)

    def judge(self) -> dict[RecordPosition, str | None]:
        """Return of each record for what reason it is rejected, if it is."""
        reasons = {position: reason_of(error) for position, error in self.rejected.items()}
        return dict.fromkeys(self.records) | reasons


class PollHandler:
    """Brings records to the repository, and those that never can be applied to the dead letters."""

    def __init__(
        self,
        repository: BatchStateRepositoryProtocol,
        dlq: DlqProducerProtocol,
        policy: ConsumerPolicy,
        metrics: Metrics,
        clock: ClockProtocol,
        dependencies: StepDependencies,
    ) -> None:
        self._repository = repository
        self._dlq = dlq
        self._clock = clock
        self._steps = tuple(dependencies.depends_on)
        self._tolerance = timedelta(seconds=policy.max_clock_skew_seconds)
        self._window = InvalidRecordWindow(policy.dlq_limit)
        self._metrics = metrics
        self._group_id = policy.group_id

    async def handle(
        self, records: Sequence[Record], retry: UntilAvailable
    ) -> list[tuple[RecordPosition, str | None]]:
        """Return, in the order of the records, under which queue entry each waits for Postgres.

        None instead of an entry says that the record is durable: applied without a queue, or
        acknowledged as a dead letter.

        Raises:
            DeadLetterLimitError: too many of the latest records are invalid; none of these is
                dead-lettered.
        """
        failpoint("ingest.polled")
        started = time.perf_counter()
        poll = await self._sort(records)
        self._window.check(poll.judge())
        await self._apply(poll, retry)
        failpoint("ingest.applied")
        for position, record in poll.records.items() if poll.rejected else ():
            if error := poll.rejected.get(position):
                await self._dead_letter(record, error, retry)
        self._window.add(poll.judge())
        self._count(poll, time.perf_counter() - started)
        return [(position, poll.entry_ids.get(position)) for position in poll.records]

    async def _apply(self, poll: _SortedPoll, retry: UntilAvailable) -> None:
        groups = [one async for one in in_turns(group_by_batch(poll.updates.values()))]
        if not groups:
            return
        try:
            await self._apply_groups(poll, groups, retry)
        except RefusedUpdateError:
            await self._apply_singly(poll, retry)

    async def _apply_groups(
        self, poll: _SortedPoll, groups: Sequence[BatchUpdate], retry: UntilAvailable
    ) -> None:
        entry_ids = await retry(lambda: self._repository.apply(groups))
        for group, entry_id in zip(groups, entry_ids, strict=True):
            poll.entry_ids.update(dict.fromkeys(group.positions, entry_id))

    async def _apply_singly(self, poll: _SortedPoll, retry: UntilAvailable) -> None:
        """Apply each record's update by itself, so that only the one refused is dead-lettered."""
        for position, record in poll.records.items():
            update = poll.updates.get(position)
            if update is None:
                continue
            try:
                await self._apply_groups(poll, [update], retry)
            except RefusedUpdateError as exc:
                poll.rejected[position] = exc
                poll.updates.pop(position)
                # Of a batch of which nothing is taken, this is not taken either.
                with suppress(RefusedUpdateError):
                    unread = self._unreadable_updates(record, position)
                    await self._apply_groups(poll, unread, retry)

    async def _dead_letter(
        self, record: Record, error: ServiceError, retry: UntilAvailable
    ) -> None:
        letter = to_dead_letter(record, error, self._group_id)
        failpoint("dead_letter.unsent")
        await retry(lambda: self._dlq.publish(letter))
        failpoint("dead_letter.acknowledged")

    async def _sort(self, records: Sequence[Record]) -> _SortedPoll:
        poll = _SortedPoll(
            {RecordPosition(one.topic, one.partition, one.offset): one for one in records}
        )
        async for position, record in in_turns(poll.records.items()):
            try:
                update = to_update(decode(record.topic, record.value, DATA_MODELS), position)
                poll.updates[position] = self._bound(update, record)
            except InvalidMessageError as exc:
                poll.rejected[position] = exc
                for update in self._unreadable_updates(record, position):
                    poll.updates[position] = update
        return poll

    def _unreadable_updates(self, record: Record, position: RecordPosition) -> list[BatchUpdate]:
        """Return what the record takes away unread: nothing where its batch cannot be seen."""
        subject = find_subject(record.topic, record.key, record.value)
        if subject is None:
            return []
        recorded_at = _recorded_at(record, self._clock.now())
        return [to_unreadable_update(subject, recorded_at, self._steps, position)]

    def _bound(self, update: BatchUpdate, record: Record) -> BatchUpdate:
        """Bound the times by when the record was made."""
        now = self._clock.now()
        recorded_at = _recorded_at(record, now)
        bounded = bound_in_time(update, bounds_of(recorded_at, now, self._tolerance))
        if bounded is not update and bounded != update:
            event = find_event(record.topic) or "unknown"
            self._metrics.times_not_believed.labels(event).inc()
            logger.warning(
                "time_not_believed",
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                batch_id=update.batch_id,
                recorded_at=recorded_at.isoformat(),
            )
        return bounded

    def _count(self, poll: _SortedPoll, seconds: float) -> None:
        handled = Counter(position.topic for position in poll.records)
        rejected = Counter(position.topic for position in poll.rejected)
        for outcome, counts in (("applied", handled - rejected), ("dead_lettered", rejected)):
            for topic, count in counts.items():
                labels = (find_event(topic) or "unknown", outcome)
                self._metrics.events_processed.labels(*labels).inc(count)
                observe = self._metrics.event_processing.labels(*labels).observe
                for _ in range(count):
                    observe(seconds)


def _recorded_at(record: Record, now: datetime) -> datetime:
    """Return when the record was made; an old format, or a strange one, does not say so."""
    is_said = 0 < record.timestamp <= _LATEST_MS
    return datetime.fromtimestamp(record.timestamp / 1000, UTC) if is_said else now
