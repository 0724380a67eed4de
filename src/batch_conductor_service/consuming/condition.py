"""How the consumer is, for those who ask from outside."""

import time
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from batch_conductor_service.protocols import ClockProtocol


class ConsumerState(StrEnum):
    """What the consumer is doing."""

    STOPPED = "stopped"
    CONNECTING = "connecting"  # no broker answers yet, or none any more
    CONSUMING = "consuming"
    WAITING = "waiting"  # a store or the dead letters cannot be reached; nothing is skipped
    PAUSED = "paused"  # too much waits for Postgres
    HALTED = "halted"  # too many records are invalid, or one is unreadable; a person has to look


@dataclass(frozen=True, slots=True)
class ConsumerCondition:
    """The state, since when it holds, and when records were last handled.

    The times are for people; `entered` is in monotonic seconds, which no change of the clock moves.
    """

    state: ConsumerState
    since: datetime
    entered: float
    last_progress_at: datetime | None

    @property
    def age_seconds(self) -> float:
        """How long the state has held."""
        return time.monotonic() - self.entered


class ConditionRecorder:
    """Keeps the condition current; says whether a change is news, so that it is logged once."""

    def __init__(self, clock: ClockProtocol) -> None:
        self._clock = clock
        self.current = self._begin(ConsumerState.STOPPED, None)

    def enter(self, state: ConsumerState) -> bool:
        """Note the state; return whether it is another than before."""
        if state is self.current.state:
            return False
        self.current = self._begin(state, self.current.last_progress_at)
        return True

    def note_progress(self) -> None:
        """Note that records were handled."""
        self.current = replace(self.current, last_progress_at=self._clock.now())

    def _begin(self, state: ConsumerState, progress_at: datetime | None) -> ConsumerCondition:
        return ConsumerCondition(state, self._clock.now(), time.monotonic(), progress_at)
