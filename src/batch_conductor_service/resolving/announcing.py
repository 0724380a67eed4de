"""What others are told of a resolution: beside the answer, never before it.

Telling is best effort and bounded in memory and time. What cannot be told is counted and logged.
At the stop the broker is waited for as long as there is time.
"""

import asyncio
from dataclasses import dataclass, field

import structlog

from batch_conductor_service.domain.resolution import Resolution, ResolutionRequest
from batch_conductor_service.events.phase_skipped import phase_skipped_events
from batch_conductor_service.protocols import AnnouncementDropsProtocol, SkipEventPublisherProtocol
from batch_conductor_service.resolving.failure_letters import FailureLetters, LetterPolicy
from batch_conductor_service.resolving.skip_queue import SkipPolicy, SkipQueue
from service_libs.protocols import ClockProtocol, DlqProducerProtocol

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnouncementPolicy:
    """How skip events and the dead letters of failed resolutions wait to be told."""

    skips: SkipPolicy = field(default_factory=SkipPolicy)
    letters: LetterPolicy = field(default_factory=LetterPolicy)


class ResolutionAnnouncer:
    """Tells of resolutions in the background; failures crowd no skip event out, nor delay one."""

    name = "announcer"

    def __init__(
        self,
        skips: SkipEventPublisherProtocol,
        dlq: DlqProducerProtocol,
        drops: AnnouncementDropsProtocol,
        clock: ClockProtocol,
        policy: AnnouncementPolicy | None = None,
    ) -> None:
        policy = policy or AnnouncementPolicy()
        self._skips = SkipQueue(skips, drops, policy.skips)
        self._letters = FailureLetters(dlq, drops, policy.letters)
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

    def announce(self, resolution: Resolution) -> None:
        self._skips.add(phase_skipped_events(resolution, self._clock.now()))

    def announce_failure(self, request: ResolutionRequest, error: Exception) -> None:
        self._letters.add(request, error)

    async def run(self) -> None:
        """Publish until `stop`; then all that still waits, for as long as it takes.

        Whoever has no more time cancels, and what is not told by then is dropped.
        """
        loops = [
            asyncio.create_task(self._skips.run(), name="publish skip events"),
            asyncio.create_task(self._letters.run(), name="publish failure letters"),
        ]
        try:
            await asyncio.gather(*loops)
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            if self._is_stopping:
                self._drop_the_rest()

    def stop(self) -> None:
        self._is_stopping = True
        self._skips.stop()
        self._letters.stop()

    def _drop_the_rest(self) -> None:
        if dropped := self._skips.drop_all() + self._letters.drop_all():
            logger.error("announcements_dropped_at_stop", count=dropped)
