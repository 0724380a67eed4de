"""Deleting what is old: looked at now and then, and deleted a little at a time."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import structlog

from service_libs.exceptions import TransientError
from service_libs.timing import Wakeups

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPolicy:
    """After how many days things are deleted (0: never), how often that is looked at, and how.

    Attributes:
        at_a_time: how many are looked for at once.
        pause_seconds: after each deletion, so that the work of others goes on.
    """

    days: int
    interval_seconds: float = 3600
    at_a_time: int = 100
    pause_seconds: float = 0.1


class RetentionTask(ABC):
    """The background task; what cannot be deleted now is tried again after the interval."""

    name = "retention"

    def __init__(self, policy: RetentionPolicy) -> None:
        self._policy = policy
        self._wakeups = Wakeups()

    async def run(self) -> None:
        while not await self.is_stopped_within(self._policy.interval_seconds):
            try:
                await self.sweep()
            except TransientError as exc:
                logger.warning("retention_postponed", error=str(exc))

    def stop(self) -> None:
        self._wakeups.stop()

    @abstractmethod
    async def sweep(self) -> None:
        """Delete what is old by now.

        Raises:
            TransientError: a store is away; what was deleted by then is.
        """

    async def is_stopped_within(self, seconds: float) -> bool:
        """Wait so long, or until the stop; return whether it is stopped."""
        await self._wakeups.pause(seconds)
        return self._wakeups.is_stopping
