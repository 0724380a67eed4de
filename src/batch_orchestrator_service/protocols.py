"""The ports: the table of contents of the service.

Every method may raise `TransientError` when its technology cannot be reached.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from batch_orchestrator_service.domain.accepting import Decision
from batch_orchestrator_service.domain.advancing import Effect, Outcome
from batch_orchestrator_service.domain.models import BatchState, Request, Run
from batch_orchestrator_service.events.messages import OutgoingMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """Who asked for what, and what was decided."""

    request: Request
    decision: Decision
    run_id: UUID | None


class OperatorAction(StrEnum):
    """What an operator did to a run."""

    CANCELLED = "cancelled"
    RESENT = "resent"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorEntry:
    """Which operator did what to which run; of a command sent again, of which phase it is."""

    operator: str
    batch_id: str
    run: Run
    action: OperatorAction
    phase: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusedOutcome:
    """An outcome that moved nothing, and why."""

    outcome: Outcome
    effect: Effect


@dataclass(frozen=True, slots=True, kw_only=True)
class StalledPhase:
    """A phase whose outcome is overdue."""

    batch_id: str
    run_id: UUID
    phase: str
    deadline_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """How much waits to be sent, and since when (seconds; 0 when nothing waits)."""

    depth: int
    oldest_age_seconds: float


class BatchTransactionProtocol(Protocol):
    """A batch in hand: nobody else changes it until the transaction ends."""

    @property
    def state(self) -> BatchState:
        """What is known of the batch."""
        ...

    async def save(
        self,
        state: BatchState,
        messages: Sequence[OutgoingMessage] = (),
        audit: Sequence[AuditEntry | OperatorEntry] = (),
        unused: Sequence[UnusedOutcome] = (),
    ) -> None:
        """Write what differs, what is to be sent, and what is to be remembered: all or nothing.

        A message whose id was saved before is not saved again.

        Raises:
            RequestIdTakenError: a request over another batch has the id of one of these.
        """
        ...

    async def resend(self, message_id: UUID) -> bool:
        """Have a message sent again as it was; return whether there is one."""
        ...

    async def withdraw_commands(self, run_id: UUID) -> None:
        """Drop the commands of a run that are not known to be sent: nobody waits for them now.

        One that the broker never takes would hold up all that is to be said of the batch, for ever.
        """
        ...


class RunStoreProtocol(Protocol):
    """Where all that BOS knows is kept."""

    def lock(self, batch_id: str) -> AbstractAsyncContextManager[BatchTransactionProtocol]:
        """Open a transaction on the batch, alone; it commits at the end of the block."""
        ...

    async def find_state(self, batch_id: str) -> BatchState | None:
        """Return what is known of the batch, without a lock; None where nothing is."""
        ...

    async def find_overview(self, batch_id: str) -> BatchState | None:
        """Return the same without the essays and their texts, of which there may be thousands."""
        ...

    async def find_due(self, now: datetime, count: int) -> Sequence[str]:
        """Return batches with a run that is to be looked at by now, the longest overdue first."""
        ...

    async def find_run(self, run_id: UUID) -> str | None:
        """Return the batch of the run."""
        ...

    async def list_open(self, count: int) -> Sequence[tuple[str, Run]]:
        """Return the runs that have not ended, with their batches, the oldest first."""
        ...

    async def report_stalled(self, now: datetime) -> Sequence[StalledPhase]:
        """Return the phases that are overdue and were not returned before."""
        ...

    async def count_stalled(self, now: datetime) -> int:
        """Return how many phases are overdue."""
        ...


class OldRecordsProtocol(Protocol):
    """What nobody asks for any more; each method deletes so many at most, and returns how many.

    Whoever is called again until nothing is left has deleted all that was old.
    """

    async def delete_runs(self, days: int, count: int) -> int:
        """Delete runs that ended so long ago and whose messages are sent, with all of theirs.

        More than `count` may go: all that are old of so many batches.
        """
        ...

    async def delete_batches(self, days: int, count: int) -> int:
        """Delete batches without runs of which nothing was said for so long."""
        ...

    async def delete_notes(self, days: int, count: int) -> int:
        """Delete entries of the audit, and outcomes that moved nothing, that are so old."""
        ...


class OutboxProtocol(Protocol):
    """The messages that are saved and not yet sent."""

    def lead(self) -> AbstractAsyncContextManager["OutboxLeaseProtocol | None"]:
        """Try to become the one that sends, until the end of the block; None where another is."""
        ...

    async def get_backlog(self, now: datetime) -> Backlog:
        """Return how much waits."""
        ...


class OutboxLeaseProtocol(Protocol):
    """Being the only one that sends; whoever has lost that can neither read nor mark."""

    async def read(self, count: int, *, after: int) -> Sequence[OutgoingMessage]:
        """Return the oldest that were not sent, in the order of their numbers, after that one."""
        ...

    async def mark_sent(self, message_ids: Sequence[UUID], now: datetime) -> None:
        """Note that the broker has them."""
        ...
