"""What others are told of a resolution: beside the answer, never before it.

Telling is best effort and bounded in memory and time. What cannot be told is counted and logged.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

import structlog

from batch_conductor_service.backoff import Backoff
from batch_conductor_service.domain.resolution import Resolution, ResolutionRequest
from batch_conductor_service.events.topics import RESOLUTION_BASE_TOPIC
from batch_conductor_service.exceptions import BrokerUnavailableError, ConductorError
from batch_conductor_service.models import StepName
from batch_conductor_service.protocols import (
    DeadLetter,
    DlqProducerProtocol,
    SkipEventPublisherProtocol,
)

logger = structlog.get_logger(__name__)


class AnnouncementDropsProtocol(Protocol):
    """Who counts what was never tried to be told."""

    def count_skips(self, steps: Sequence[StepName]) -> None:
        """Count the skip events of these steps."""
        ...

    def count_failure(self, reason: str) -> None:
        """Count the dead letter of a failed resolution."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnouncementPolicy:
    """How much may wait to be told, how often and with what pauses it is tried.

    `drain_timeout_seconds` bounds the telling of what still waits at the stop.
    """

    queue_size: int = 1000
    max_tries: int = 5
    max_backoff_seconds: float = 5
    drain_timeout_seconds: float = 3


@dataclass(frozen=True, slots=True)
class _Announcement:
    publish: Callable[[], Awaitable[None]]
    drop: Callable[[], None]
    batch_id: str


class ResolutionAnnouncer:
    """Queues announcements, and publishes them one after the other in the background."""

    name = "announcer"

    def __init__(
        self,
        skips: SkipEventPublisherProtocol,
        dlq: DlqProducerProtocol,
        drops: AnnouncementDropsProtocol,
        policy: AnnouncementPolicy | None = None,
    ) -> None:
        self._skips = skips
        self._dlq = dlq
        self._drops = drops
        self._policy = policy or AnnouncementPolicy()
        self._queue: asyncio.Queue[_Announcement] = asyncio.Queue(self._policy.queue_size)
        self._stopping = asyncio.Event()

    def announce(self, resolution: Resolution) -> None:
        """Have the skip events of the resolution published; there may be none."""
        if steps := resolution.skipped:
            self._enqueue(
                resolution.request,
                lambda: self._skips.publish_skips(resolution),
                lambda: self._drops.count_skips(steps),
            )

    def announce_failure(self, request: ResolutionRequest, error: Exception) -> None:
        """Have the failed resolution dead-lettered."""
        letter = _failure_letter(request, error)
        self._enqueue(
            request,
            lambda: self._dlq.publish(letter),
            lambda: self._drops.count_failure(letter.reason),
        )

    async def run(self) -> None:
        """Publish until `stop`; then what still waits, within the drain's time."""
        publishing = asyncio.create_task(self._publish_all(), name="publish announcements")
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({publishing, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if publishing.done():
                await publishing  # it ends by raising only; the supervisor starts it again
            await self._drain()
        finally:
            publishing.cancel()
            stopping.cancel()
            await asyncio.gather(publishing, stopping, return_exceptions=True)

    def stop(self) -> None:
        self._stopping.set()

    def _enqueue(
        self,
        request: ResolutionRequest,
        publish: Callable[[], Awaitable[None]],
        drop: Callable[[], None],
    ) -> None:
        try:
            self._queue.put_nowait(_Announcement(publish, drop, request.batch_id))
        except asyncio.QueueFull:
            drop()
            logger.warning("announcement_dropped", batch_id=request.batch_id)

    async def _publish_all(self) -> None:
        while True:
            announcement = await self._queue.get()
            try:
                await self._publish(announcement)
            except asyncio.CancelledError:
                announcement.drop()
                raise
            finally:
                self._queue.task_done()

    async def _publish(self, announcement: _Announcement) -> None:
        """Try a bounded number of times: the publishers count what failed."""
        backoff = Backoff(self._policy.max_backoff_seconds)
        for tries_left in reversed(range(self._policy.max_tries)):
            try:
                await announcement.publish()
            except BrokerUnavailableError:
                if tries_left:
                    await asyncio.sleep(backoff.next_delay())
            else:
                return
        logger.warning("announcement_given_up", batch_id=announcement.batch_id)

    async def _drain(self) -> None:
        try:
            await asyncio.wait_for(self._queue.join(), self._policy.drain_timeout_seconds)
        except TimeoutError:
            logger.warning("announcements_dropped_at_stop", count=self._queue.qsize())
            while not self._queue.empty():
                self._queue.get_nowait().drop()


def _failure_letter(request: ResolutionRequest, error: Exception) -> DeadLetter:
    """Return the dead letter of a failed resolution; a fault of ours shows only its type."""
    shown = error if isinstance(error, ConductorError) else ConductorError()
    return DeadLetter(
        base_topic=RESOLUTION_BASE_TOPIC,
        reason=shown.code,
        error_type=type(error).__name__,
        error_message=str(shown),
        payload=json.dumps(asdict(request)).encode(),
        key=request.batch_id.encode(),
        correlation_id=request.correlation_id,
    )
