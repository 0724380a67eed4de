"""What others hear of a resolution: beside the answer, never before it.

Announcing is best effort and bounded in memory and time. What cannot be announced is counted and
logged. At the stop the broker is waited for as long as there is time.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from uuid import NAMESPACE_URL, UUID, uuid5

import orjson
import structlog

from batch_conductor_service.domain.resolution import Resolution, ResolutionRequest, SkippedPhase
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.protocols import SkipEventPublisherProtocol
from batch_conductor_service.resolving.failure_letters import FailureLetters, LetterPolicy
from common_core.topics import EventName, topic_name
from service_libs.logging import LossLog
from service_libs.protocols import ClockProtocol, DlqProducerProtocol
from service_libs.timing import Backoff, Wakeups, until_set
from service_libs.together import run_together

_NAMESPACE = uuid5(NAMESPACE_URL, topic_name(EventName.PHASE_SKIPPED))

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SkipPolicy:
    """How many events may wait, how many are sent together, and how often a loss is logged.

    Answers wait for room where there is little: from the share on, and the longer the less there
    is. With the 256 questions that are in flight at most, that fills the queue in more than the 30
    seconds for which a broker that is away leaves anything to be skipped.
    """

    capacity: int = 50_000  # of about 1 KiB each
    roomy_share: float = 0.2
    max_delay_seconds: float = 2
    batch_size: int = 500
    max_backoff_seconds: float = 5
    log_interval_seconds: float = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnouncementPolicy:
    """How skip events and the dead letters of failed resolutions wait to be announced."""

    skips: SkipPolicy = field(default_factory=SkipPolicy)
    letters: LetterPolicy = field(default_factory=LetterPolicy)


class ResolutionAnnouncer:
    """Announces resolutions in the background; failures crowd no skip event out, nor delay one."""

    name = "announcer"

    def __init__(
        self,
        skips: SkipEventPublisherProtocol,
        dlq: DlqProducerProtocol,
        metrics: Metrics,
        clock: ClockProtocol,
        policy: AnnouncementPolicy | None = None,
    ) -> None:
        policy = policy or AnnouncementPolicy()
        self._skips = SkipQueue(skips, metrics, policy.skips)
        self._letters = FailureLetters(dlq, metrics, policy.letters)
        self._clock = clock
        self._is_stopping = False

    @property
    def waiting_skips(self) -> int:
        """How many skip events the broker has not acknowledged yet."""
        return self._skips.depth

    @property
    def oldest_skip_age_seconds(self) -> float:
        """How long the oldest of them has waited; 0 when none waits."""
        return self._skips.oldest_age_seconds

    async def wait_for_room(self) -> None:
        await self._skips.wait_for_room()

    def announce(self, resolution: Resolution) -> None:
        self._skips.add(skipped_phases(resolution, self._clock.now()))

    def announce_failure(self, request: ResolutionRequest, error: Exception) -> None:
        self._letters.add(request, error)

    async def run(self) -> None:
        """Publish until `stop`; then all that still waits, for as long as it takes.

        Whoever has no more time cancels, and what is not announced by then is dropped.
        """
        try:
            await run_together(self._skips.run(), self._letters.run())
        finally:
            if self._is_stopping:
                self._drop_the_rest()

    def stop(self) -> None:
        self._is_stopping = True
        self._skips.stop()
        self._letters.stop()

    def _drop_the_rest(self) -> None:
        if dropped := self._skips.drop_all() + self._letters.drop_all():
            logger.error("announcements_dropped_at_stop", count=dropped)


@dataclass(frozen=True, slots=True)
class _Waiting:
    event: SkippedPhase
    since: float  # monotonic seconds


class SkipQueue:
    """Publishes what is added, until `stop`, and then all that still waits.

    An event waits until the broker has acknowledged it, so one that is added again meanwhile is
    sent once. It is tried until then: only what is added to a full queue is dropped.
    """

    def __init__(
        self,
        publisher: SkipEventPublisherProtocol,
        metrics: Metrics,
        policy: SkipPolicy,
    ) -> None:
        self._publisher = publisher
        self._metrics = metrics
        self._policy = policy
        self._waiting: dict[UUID, _Waiting] = {}
        self._losses = LossLog("skip_events_dropped", policy.log_interval_seconds)
        self._backoff = Backoff(policy.max_backoff_seconds)
        self._wakeups = Wakeups()
        self._room = asyncio.Event()  # set when there is much again

    @property
    def depth(self) -> int:
        """How many events wait."""
        return len(self._waiting)

    @property
    def oldest_age_seconds(self) -> float:
        """How long the oldest event has waited; 0 when none waits."""
        now = time.monotonic()
        return now - min((one.since for one in self._waiting.values()), default=now)

    async def wait_for_room(self) -> None:
        """Wait a moment where there is little: the more wait, the slower more are to come."""
        roomy = self._policy.roomy_share * self._policy.capacity
        if self.depth > roomy:
            share = (self.depth - roomy) / (self._policy.capacity - roomy)
            self._room.clear()
            await until_set(self._room, share * self._policy.max_delay_seconds)

    def add(self, events: Sequence[SkippedPhase]) -> None:
        """Have the events published; never waits."""
        now = time.monotonic()
        for event in events:
            if event.event_id in self._waiting:
                continue
            if len(self._waiting) < self._policy.capacity:
                self._waiting[event.event_id] = _Waiting(event, now)
            else:
                self._count_dropped([event])
                self._losses.add()
        self._wakeups.wake()

    async def run(self) -> None:
        """Publish; whoever has no more time cancels, and what is not acknowledged still waits."""
        while await self._has_work():
            batch = list(islice(self._waiting.values(), self._policy.batch_size))
            if await self._publish(batch):
                self._backoff.reset()
                self._losses.log_if_due()
            else:
                await self._wakeups.pause(self._backoff.next_delay())
        self._losses.log()

    def stop(self) -> None:
        """Have `run` end when nothing waits any more."""
        self._wakeups.stop()

    def drop_all(self) -> int:
        """Give up all that waits, and return how much that was."""
        events = [one.event for one in self._waiting.values()]
        self._count_dropped(events)
        self._waiting.clear()
        self._losses.log()
        return len(events)

    async def _has_work(self) -> bool:
        """Return true as soon as something waits, false if nothing does after the stop."""
        while not self._waiting and not self._wakeups.is_stopping:
            await self._wakeups.wait()
        return bool(self._waiting)

    async def _publish(self, batch: Sequence[_Waiting]) -> bool:
        """Return whether any is settled; those that are not wait behind all others."""
        try:
            unpublished = await self._publisher.publish_skips([one.event for one in batch])
        except Exception:  # a fault of ours: not again with the same events
            self._count_dropped([one.event for one in batch])
            self._remove(batch)
            raise
        self._remove(batch)
        if self.depth <= self._policy.roomy_share * self._policy.capacity:
            self._room.set()
        late = [one for one in batch if one.event.event_id in unpublished]
        self._waiting.update({one.event.event_id: one for one in late})
        if late:
            reason = str(unpublished[late[0].event.event_id])
            logger.warning("skip_events_delayed", waiting=self.depth, reason=reason)
        return len(late) < len(batch)

    def _count_dropped(self, events: Sequence[SkippedPhase]) -> None:
        for event in events:
            self._metrics.phase_skipped_events.labels(event.step, "dropped").inc()

    def _remove(self, batch: Sequence[_Waiting]) -> None:
        for one in batch:
            del self._waiting[one.event.event_id]


def skipped_phases(resolution: Resolution, now: datetime) -> list[SkippedPhase]:
    """Return the phases that the resolution skips, in order."""
    request = resolution.request
    parsed = _parsed(request.correlation_id)
    return [
        SkippedPhase(
            event_id=_uuid_from(request.batch_id, step, str(parsed or request.correlation_id)),
            batch_id=request.batch_id,
            step=step,
            correlation_id=request.correlation_id,
            correlation_uuid=parsed or _uuid_from(request.correlation_id),
            skipped_at=now,
        )
        for step in resolution.skipped
    ]


def _parsed(correlation_id: str) -> UUID | None:
    with suppress(ValueError):
        return UUID(correlation_id)
    return None


def _uuid_from(*parts: str) -> UUID:
    return uuid5(_NAMESPACE, orjson.dumps(parts).decode())
