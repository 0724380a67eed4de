"""Up to when the answers of this process cover what Kafka held: the group's, over all replicas.

Each replica shows the others what it promises of its own partitions, about twice a second, and
learns what they promise. An answer reads only what is in this process by then.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from batch_conductor_service.domain.freshness import (
    CLOCK_TOLERANCE,
    NOTHING_KNOWN,
    Freshness,
    GroupPromises,
    PartitionFreshness,
    find_behind,
    is_believable,
    join_freshness,
)
from batch_conductor_service.protocols import FreshnessBoardProtocol
from common_core.records import Partition, TopicLook
from service_libs.exceptions import TransientError
from service_libs.protocols import ClockProtocol
from service_libs.timing import until_set

logger = structlog.get_logger(__name__)

EXCHANGE_SECONDS = 0.5
EXCHANGE_TIMEOUT_SECONDS = 2
MAX_BEHIND_NAMED = 3
DEFAULT_GRACE_SECONDS = 30.0


class GroupFreshness:
    """`FreshnessProtocol` from what the replicas promise and what the broker has.

    A promise is a time of day of whoever gave it. Its age is that since then, or how long this
    process has known it, whichever is more: so a clock that is put back makes nothing younger. When
    our own clock is moved between two exchanges, nothing is known until the next.
    """

    def __init__(self, clock: ClockProtocol, *, max_staleness_seconds: float) -> None:
        self._clock = clock
        self._max_staleness = timedelta(seconds=max_staleness_seconds)
        self._look: TopicLook | None = None
        self._promises: dict[Partition, tuple[PartitionFreshness, float]] = {}
        self._joined = NOTHING_KNOWN
        self._taken = (clock.now(), time.monotonic())
        self._news = asyncio.Event()
        self._known_at = time.monotonic()

    def note_look(self, look: TopicLook) -> None:
        """Take in what the broker's metadata said."""
        self._look = look

    def note_promises(self, promises: GroupPromises) -> None:
        """Take in what all replicas promise by now."""
        now, monotonic = self._clock.now(), time.monotonic()
        known = self._promises
        self._promises = {
            partition: (one, known[partition][1])
            if partition in known and known[partition][0] == one
            else (one, monotonic)
            for partition, one in promises.partitions.items()
        }
        joined = join_freshness(self._look, self._aged(now, monotonic), now)
        self._joined = replace(joined, server_run=promises.server_run)
        self._taken = (now, monotonic)
        if self._joined.applied_until is not None:
            self._known_at = monotonic
        self._news.set()
        self._news = asyncio.Event()

    def current(self) -> Freshness:
        taken, monotonic = self._taken
        now = self._clock.now()
        moved = (now - taken) - timedelta(seconds=time.monotonic() - monotonic)
        return self._joined if abs(moved) <= CLOCK_TOLERANCE else NOTHING_KNOWN

    def covers(self, until: datetime | None, not_before: datetime | None) -> bool:
        if not_before is not None and (until is None or until < not_before):
            return False
        if not self._max_staleness:
            return True
        now = self._clock.now()
        if until is None or not is_believable(until, now):
            return False
        return now - until <= self._max_staleness

    async def wait_until(self, moment: datetime, timeout_seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                while not _reached(self.current().applied_until, moment):
                    await self._news.wait()

    @property
    def age_seconds(self) -> float:
        """How old the freshness is; infinite where nobody knows."""
        until = self.current().applied_until
        return (self._clock.now() - until).total_seconds() if until else float("inf")

    @property
    def behind_seconds(self) -> float:
        """How old the freshness is; where nobody knows, for how long nobody has known."""
        is_known = self.current().applied_until is not None
        return self.age_seconds if is_known else time.monotonic() - self._known_at

    def name_behind(self) -> str:
        """Say whose fault it is that the freshness is not better."""
        if self._look is None:
            return "the broker has not told which partitions there are"
        if self._look.refused:
            return "; ".join(self._look.refused.values())
        allowed = self._max_staleness or timedelta(seconds=DEFAULT_GRACE_SECONDS)
        promises = {partition: one for partition, (one, _) in self._promises.items()}
        behind = find_behind(self._look, promises, self._clock.now() - allowed)
        if not behind:
            return "what the replicas told of themselves is out of date"
        names = ", ".join(f"{topic}:{number}" for topic, number in behind[:MAX_BEHIND_NAMED])
        more = len(behind) - MAX_BEHIND_NAMED
        return f"not read to the end by any replica: {names}" + (
            f" and {more} more" if more > 0 else ""
        )

    def _aged(self, now: datetime, monotonic: float) -> dict[Partition, PartitionFreshness]:
        return {
            partition: _at_most(one, now - timedelta(seconds=monotonic - since), now)
            for partition, (one, since) in self._promises.items()
        }


class AlwaysFresh:
    """`FreshnessProtocol` where nothing is consumed, so that nothing can be missed."""

    def __init__(self, clock: ClockProtocol) -> None:
        self._clock = clock

    def current(self) -> Freshness:
        now = self._clock.now()
        return Freshness(applied_until=now, archived_until=now)

    def covers(self, until: datetime | None, not_before: datetime | None) -> bool:
        return not_before is None or _reached(until, not_before)

    async def wait_until(self, moment: datetime, timeout_seconds: float) -> None:
        missing = (moment - self._clock.now()).total_seconds()
        await asyncio.sleep(min(max(0.0, missing), timeout_seconds))


class FreshnessExchange:
    """The background task that shows the other replicas our promises, and learns theirs."""

    name = "freshness"

    def __init__(
        self,
        promises: Callable[[], Mapping[Partition, PartitionFreshness]],
        board: FreshnessBoardProtocol,
        group: GroupFreshness,
        show_age: Callable[[float], None],
        *,
        interval_seconds: float = EXCHANGE_SECONDS,
    ) -> None:
        self._own_promises = promises
        self._board = board
        self._group = group
        self._show_age = show_age
        self._interval_seconds = interval_seconds
        self._stopping = asyncio.Event()
        self._is_failing = False

    async def run(self) -> None:
        while not self._stopping.is_set():
            await self.exchange()
            await until_set(self._stopping, self._interval_seconds)

    def stop(self) -> None:
        self._stopping.set()

    async def exchange(self) -> None:
        """Do it once. While the board cannot be reached, what is known stands, and ages."""
        try:
            async with asyncio.timeout(EXCHANGE_TIMEOUT_SECONDS):
                promises = await self._board.exchange(self._own_promises())
        except (TransientError, TimeoutError) as exc:
            if not self._is_failing:
                logger.warning("freshness_not_exchanged", error=type(exc).__name__)
            self._is_failing = True
        else:
            self._is_failing = False
            self._group.note_promises(promises)
        self._show_age(self._group.age_seconds)


def _reached(until: datetime | None, moment: datetime) -> bool:
    return until is not None and until >= moment


def _at_most(promise: PartitionFreshness, latest: datetime, now: datetime) -> PartitionFreshness:
    """Return the promise no later than that; one from the future stays, to be disbelieved."""

    def bound(time: datetime | None) -> datetime | None:
        return time if time is None or not is_believable(time, now) else min(time, latest)

    return PartitionFreshness(
        applied_until=bound(promise.applied_until) or promise.applied_until,
        archived_until=bound(promise.archived_until),
    )
