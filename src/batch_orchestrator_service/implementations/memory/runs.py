"""All that BOS knows, in this process's memory: for tests. Nothing survives the process."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from batch_orchestrator_service.domain.models import Batch, BatchState, Run
from batch_orchestrator_service.domain.states import PhaseStatus
from batch_orchestrator_service.events.messages import OutgoingMessage
from batch_orchestrator_service.exceptions import RequestIdTakenError
from batch_orchestrator_service.protocols import (
    AuditEntry,
    Backlog,
    OperatorEntry,
    StalledPhase,
    UnusedOutcome,
)
from batch_orchestrator_service.signals import Signals


@dataclass(slots=True)
class _Kept:
    message: OutgoingMessage
    is_sent: bool = False


class MemoryRuns:
    """What the store and the outbox share."""

    def __init__(self) -> None:
        self.states: dict[str, BatchState] = {}
        self.kept: dict[UUID, _Kept] = {}
        self.audit: list[AuditEntry | OperatorEntry] = []
        self.unused: list[UnusedOutcome] = []
        self.stalled: set[tuple[UUID, str]] = set()

    def last_number(self) -> int:
        """Return the number of the newest message."""
        return max((one.message.number for one in self.kept.values()), default=0)

    def withdraw(self, run_ids: Collection[UUID]) -> None:
        """Drop the commands of these runs that are not sent."""
        self.kept = {
            message_id: one
            for message_id, one in self.kept.items()
            if one.is_sent or one.message.phase is None or one.message.run_id not in run_ids
        }


class MemoryBatchTransaction:
    """`BatchTransactionProtocol`: what is saved is kept at the end of the block."""

    def __init__(self, runs: MemoryRuns, state: BatchState) -> None:
        self._runs = runs
        self.state = state
        self.messages: list[OutgoingMessage] = []
        self.audit: list[AuditEntry | OperatorEntry] = []
        self.unused: list[UnusedOutcome] = []
        self.withdrawn: set[UUID] = set()  # runs

    async def save(
        self,
        state: BatchState,
        messages: Sequence[OutgoingMessage] = (),
        audit: Sequence[AuditEntry | OperatorEntry] = (),
        unused: Sequence[UnusedOutcome] = (),
    ) -> None:
        for other in self._runs.states.values():
            if other.batch_id != state.batch_id and other.fingerprints.keys() & state.fingerprints:
                raise RequestIdTakenError
        self.state = state
        self.messages += messages
        self.audit += audit
        self.unused += unused

    async def resend(self, message_id: UUID) -> bool:
        kept = self._runs.kept.get(message_id)
        if kept is not None:
            kept.is_sent = False
        return kept is not None

    async def withdraw_commands(self, run_id: UUID) -> None:
        self.withdrawn.add(run_id)


class MemoryRunStore:
    """`RunStoreProtocol`."""

    def __init__(self, runs: MemoryRuns, signals: Signals | None = None) -> None:
        self._runs = runs
        self._signals = signals or Signals()
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @asynccontextmanager
    async def lock(self, batch_id: str) -> AsyncIterator[MemoryBatchTransaction]:
        async with self._locks[batch_id]:
            known = self._runs.states.get(batch_id)
            empty = BatchState(batch_id=batch_id, batch=Batch(batch_id=batch_id))
            transaction = MemoryBatchTransaction(self._runs, known or empty)
            yield transaction
            self._runs.states[batch_id] = transaction.state
            self._runs.audit += transaction.audit
            self._runs.unused += transaction.unused
            self._runs.withdraw(transaction.withdrawn)
            for message in transaction.messages:
                number = self._runs.last_number() + 1
                kept = _Kept(replace(message, number=number))
                self._runs.kept.setdefault(message.message_id, kept)
        self._signals.tell_saved(transaction.state, has_messages=bool(transaction.messages))

    async def find_state(self, batch_id: str) -> BatchState | None:
        return self._runs.states.get(batch_id)

    async def find_overview(self, batch_id: str) -> BatchState | None:
        state = self._runs.states.get(batch_id)
        if state is None:
            return None
        return replace(state, batch=replace(state.batch, texts={}), outputs={})

    async def find_due(self, now: datetime, count: int) -> Sequence[str]:
        due = [
            (min(times), batch_id)
            for batch_id, state in self._runs.states.items()
            if (times := [r.next_try_at for r in state.runs if _is_due(r, now) and r.next_try_at])
        ]
        return [batch_id for _, batch_id in sorted(due)][:count]

    async def find_run(self, run_id: UUID) -> str | None:
        for batch_id, state in self._runs.states.items():
            if state.find_run(run_id) is not None:
                return batch_id
        return None

    async def list_open(self, count: int) -> Sequence[tuple[str, Run]]:
        found = [
            (batch_id, replace(run, request_ids=(), phases=()))
            for batch_id, state in self._runs.states.items()
            for run in state.runs
            if not run.state.has_ended
        ]
        return sorted(found, key=lambda one: one[1].accepted_at)[:count]

    async def report_stalled(self, now: datetime) -> Sequence[StalledPhase]:
        stalled = [one for one in self._overdue(now) if (one.run_id, one.phase) not in self._known]
        self._known.update((one.run_id, one.phase) for one in stalled)
        return stalled

    async def count_stalled(self, now: datetime) -> int:
        return len(self._overdue(now))

    @property
    def _known(self) -> set[tuple[UUID, str]]:
        return self._runs.stalled

    def _overdue(self, now: datetime) -> list[StalledPhase]:
        return [
            StalledPhase(
                batch_id=batch_id,
                run_id=run.run_id,
                phase=phase.name,
                deadline_at=phase.deadline_at,
            )
            for batch_id, state in self._runs.states.items()
            for run in state.runs
            for phase in run.phases
            if phase.deadline_at and phase.deadline_at <= now and phase.ended_at is None
        ]


class MemoryOutboxLease:
    """`OutboxLeaseProtocol`."""

    def __init__(self, runs: MemoryRuns) -> None:
        self._runs = runs

    async def read(self, count: int, *, after: int) -> Sequence[OutgoingMessage]:
        unsent = [one.message for one in self._runs.kept.values() if not one.is_sent]
        return sorted((m for m in unsent if m.number > after), key=lambda m: m.number)[:count]

    async def mark_sent(self, message_ids: Sequence[UUID], now: datetime) -> None:
        del now
        for message_id in message_ids:
            kept = self._runs.kept.get(message_id)
            if kept is None:
                continue
            kept.is_sent = True
            batch_id = kept.message.key.decode()
            state = self._runs.states[batch_id]
            run = state.find_run(kept.message.run_id)
            phase = run.phase(kept.message.phase or "") if run else None
            if run and phase and phase.status is PhaseStatus.DISPATCH_INITIATED:
                begun = run.with_phase(replace(phase, status=PhaseStatus.IN_PROGRESS))
                self._runs.states[batch_id] = state.with_run(begun)


class MemoryOutbox:
    """`OutboxProtocol`."""

    def __init__(self, runs: MemoryRuns) -> None:
        self._runs = runs
        self._is_led = False

    @asynccontextmanager
    async def lead(self) -> AsyncIterator[MemoryOutboxLease | None]:
        if self._is_led:
            yield None
            return
        self._is_led = True
        try:
            yield MemoryOutboxLease(self._runs)
        finally:
            self._is_led = False

    async def get_backlog(self, now: datetime) -> Backlog:
        del now
        unsent = [one for one in self._runs.kept.values() if not one.is_sent]
        return Backlog(depth=len(unsent), oldest_age_seconds=0.0)


def _is_due(run: Run, now: datetime) -> bool:
    return run.next_try_at is not None and run.next_try_at <= now
