"""What others are told of a resolution: beside the answer, never before it.

Telling is best effort and bounded in memory and time. What cannot be told is counted and logged.
At the stop the broker is waited for as long as there is time.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from batch_conductor_service.backoff import Backoff
from batch_conductor_service.domain.resolution import Resolution, ResolutionRequest
from batch_conductor_service.events.topics import RESOLUTION_BASE_TOPIC
from batch_conductor_service.exceptions import BrokerUnavailableError, ConductorError
from batch_conductor_service.models import StepName
from batch_conductor_service.port_values import DeadLetter
from batch_conductor_service.protocols import DlqProducerProtocol, SkipEventPublisherProtocol

logger = structlog.get_logger(__name__)

DRAINING_PUBLISHERS = 16  # at the stop no announcement waits for one that cannot be told
MAX_DRAINING_BACKOFF_SECONDS = 0.5  # the broker may come back in the last moment


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
    """How much may wait to be told, how often and with what pauses it is tried before the stop."""

    queue_size: int = 1000
    max_tries: int = 5
    max_backoff_seconds: float = 5


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
        self._dropped_at_stop = 0

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
        """Publish until `stop`; then all that still waits, for as long as it takes.

        Whoever has no more time cancels, and what is not told by then is dropped.
        """
        publishers = [self._start_publisher()]
        signals: list[asyncio.Task[Any]] = [asyncio.create_task(self._stopping.wait())]
        try:
            await _first_of([*publishers, *signals])
            publishers += [self._start_publisher() for _ in range(DRAINING_PUBLISHERS)]
            signals.append(asyncio.create_task(self._queue.join()))
            await _first_of([*publishers, signals[-1]])
        finally:
            for task in (*publishers, *signals):
                task.cancel()
            await asyncio.gather(*publishers, *signals, return_exceptions=True)
            if self._stopping.is_set():
                self._drop_the_rest()

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

    def _start_publisher(self) -> asyncio.Task[None]:
        return asyncio.create_task(self._publish_all(), name="publish announcements")

    async def _publish_all(self) -> None:
        while True:
            announcement = await self._queue.get()
            try:
                await self._publish(announcement)
            except BaseException:  # cut off, or a fault of ours
                self._drop(announcement)
                raise
            finally:
                self._queue.task_done()

    async def _publish(self, announcement: _Announcement) -> None:
        """Try a bounded number of times, at the stop without bound; publishers count failures."""
        backoff = Backoff(self._policy.max_backoff_seconds)
        tries_left = self._policy.max_tries
        while True:
            try:
                return await announcement.publish()
            except BrokerUnavailableError as exc:
                tries_left -= 1
                if tries_left <= 0 and not self._stopping.is_set():
                    batch_id, reason = announcement.batch_id, str(exc)
                    logger.warning("announcement_given_up", batch_id=batch_id, reason=reason)
                    return None
            await self._pause(backoff.next_delay())

    async def _pause(self, seconds: float) -> None:
        """Wait that long, or until the stop; at the stop never long."""
        if self._stopping.is_set():
            await asyncio.sleep(min(seconds, MAX_DRAINING_BACKOFF_SECONDS))
        else:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), seconds)

    def _drop(self, announcement: _Announcement) -> None:
        announcement.drop()
        if self._stopping.is_set():
            self._dropped_at_stop += 1

    def _drop_the_rest(self) -> None:
        while not self._queue.empty():
            self._drop(self._queue.get_nowait())
        if self._dropped_at_stop:
            logger.error("announcements_dropped_at_stop", count=self._dropped_at_stop)


async def _first_of(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Return when one of the tasks has ended; raise what it raised."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


def _failure_letter(request: ResolutionRequest, error: Exception) -> DeadLetter:
    """Return the dead letter of a failed resolution; a fault of ours shows only its type."""
    shown = error if isinstance(error, ConductorError) else ConductorError()
    return DeadLetter(
        base_topic=RESOLUTION_BASE_TOPIC,
        reason=shown.code,
        error_type=type(error).__name__,
        error_message=str(shown),
        payload=request.body or _as_question(request),
        key=request.batch_id.encode(),
        correlation_id=request.correlation_id,
    )


def _as_question(request: ResolutionRequest) -> bytes:
    """Return the request as it can be sent again."""
    question = {
        "batch_id": request.batch_id,
        "requested_pipeline": request.requested_pipeline,
        "correlation_id": request.correlation_id,
        "batch_metadata": {"essays_total": request.essays_total},
    }
    return json.dumps(question).encode()
