"""How the consumer is, for those who ask from outside."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from service_libs.protocols import ClockProtocol

RUN_OF_TROUBLES_SECONDS = 60  # troubles that are closer together than this are one trouble


class ConsumerState(StrEnum):
    """What the consumer is doing."""

    STOPPED = "stopped"
    CONNECTING = "connecting"  # no broker answers yet, or none any more
    JOINING = "joining"  # a broker answers, and the group has given it no partitions yet
    CONSUMING = "consuming"
    STANDBY = "standby"  # the group has more members than partitions: it waits to step in
    WAITING = "waiting"  # a store or the dead letters cannot be reached; nothing is skipped
    PAUSED = "paused"  # too much waits for Postgres
    HALTED = "halted"  # too many records are invalid, or one is unreadable; a person has to look


# These follow from what the group gives; the others stand until their cause ends.
_BY_ASSIGNMENT = frozenset(
    {
        ConsumerState.CONNECTING,
        ConsumerState.JOINING,
        ConsumerState.CONSUMING,
        ConsumerState.STANDBY,
    }
)
WELL = frozenset({ConsumerState.CONSUMING, ConsumerState.STANDBY})


@dataclass(frozen=True, slots=True)
class ConsumerCondition:
    """The state, since when it holds, and when records were last handled.

    The times are for people; `entered` and the like are in monotonic seconds, which no change of
    the clock moves. `unwell_since` does not begin again with each try to get well; `trouble` says
    what went wrong last, `troubled_since` when the first of the troubles before it was that came
    shortly after each other.
    """

    state: ConsumerState
    since: datetime
    entered: float
    last_progress_at: datetime | None = None
    unwell_since: float | None = None
    trouble: str | None = None
    troubled_since: float = 0
    troubled_at: float = 0

    @property
    def age_seconds(self) -> float:
        """How long the state has held."""
        return time.monotonic() - self.entered

    @property
    def unwell_seconds(self) -> float:
        """How long it has not got to consuming, or not for long: 0 when all is well."""
        now = time.monotonic()
        unwell = now - self.unwell_since if self.unwell_since is not None else 0
        is_recent = self.trouble is not None and now - self.troubled_at < RUN_OF_TROUBLES_SECONDS
        return max(unwell, self.troubled_at - self.troubled_since if is_recent else 0)


class ConditionRecorder:
    """Keeps the condition current; says whether a change is news, so that it is logged once."""

    def __init__(
        self, clock: ClockProtocol, show: Callable[[ConsumerState], None] | None = None
    ) -> None:
        self._clock = clock
        self._show = show
        self.current = ConsumerCondition(
            ConsumerState.STOPPED, clock.now(), time.monotonic(), unwell_since=time.monotonic()
        )
        self._show_state()

    def enter(self, state: ConsumerState) -> bool:
        """Note the state; return whether it is another than before."""
        if state is self.current.state:
            return False
        now = time.monotonic()
        unwell_since = now if self.current.unwell_since is None else self.current.unwell_since
        self.current = replace(
            self.current,
            state=state,
            since=self._clock.now(),
            entered=now,
            unwell_since=None if state in WELL else unwell_since,
        )
        self._show_state()
        return True

    def note_assignment(self, *, is_settled: bool, has_partitions: bool) -> None:
        """Note what the group gives, which decides the state unless something else holds it up."""
        if self.current.state not in _BY_ASSIGNMENT:
            return
        given = ConsumerState.CONSUMING if has_partitions else ConsumerState.STANDBY
        self.enter(given if is_settled else ConsumerState.JOINING)

    def note_trouble(self, trouble: str) -> None:
        """Note what has just gone wrong, in words for people."""
        now = time.monotonic()
        last = self.current
        is_new = last.trouble is None or now - last.troubled_at >= RUN_OF_TROUBLES_SECONDS
        since = now if is_new else last.troubled_since
        self.current = replace(last, trouble=trouble, troubled_since=since, troubled_at=now)

    def note_progress(self) -> None:
        """Note that records were handled."""
        self.current = replace(self.current, last_progress_at=self._clock.now())

    def _show_state(self) -> None:
        if self._show is not None:
            self._show(self.current.state)
