"""How the consumer is, for those who ask from outside."""

from dataclasses import dataclass
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
    """The state, since when it holds, and when records were last handled."""

    state: ConsumerState
    since: datetime
    last_progress_at: datetime | None


class ConditionRecorder:
    """Keeps the condition current; says whether a change is news, so that it is logged once."""

    def __init__(self, clock: ClockProtocol) -> None:
        self._clock = clock
        self.current = ConsumerCondition(ConsumerState.STOPPED, clock.now(), None)

    def enter(self, state: ConsumerState) -> bool:
        """Note the state; return whether it is another than before."""
        if state is self.current.state:
            return False
        self.current = ConsumerCondition(state, self._clock.now(), self.current.last_progress_at)
        return True

    def note_progress(self) -> None:
        """Note that records were handled."""
        current = self.current
        self.current = ConsumerCondition(current.state, current.since, self._clock.now())
