"""Takes updates from the queue to Postgres: in batches, at least once, and none is ever given up.

An entry leaves the queue when Postgres holds it or, for a row that Postgres refuses for good, when
the dead letter is acknowledged. Whatever fails otherwise stays in the queue and comes back.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import structlog

from batch_conductor_service.backoff import Backoff
from batch_conductor_service.codec import encode_update
from batch_conductor_service.events.topics import PERSISTENCE_BASE_TOPIC
from batch_conductor_service.exceptions import RefusedUpdateError, TransientError
from batch_conductor_service.failpoints import failpoint
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.models import BatchUpdate
from batch_conductor_service.port_values import DeadLetter, QueueEntry
from batch_conductor_service.protocols import (
    DlqProducerProtocol,
    PersistenceQueueProtocol,
    PersistenceStoreProtocol,
)

logger = structlog.get_logger(__name__)

BLOCK_SECONDS = 1.0  # longest wait for entries, and so between two looks at the queue
MAX_BACKOFF_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedEntry:
    """What of an entry Postgres will never take, and why: the row alone, or unreadable bytes."""

    entry_id: str
    payload: bytes
    update: BatchUpdate | None
    error: Exception


class PersistenceWorker:
    """The background task between the queue and Postgres."""

    name = "persistence_worker"

    def __init__(
        self,
        queue: PersistenceQueueProtocol,
        store: PersistenceStoreProtocol,
        dlq: DlqProducerProtocol,
        metrics: Metrics,
        *,
        batch_size: int,
    ) -> None:
        self._queue = queue
        self._store = store
        self._dlq = dlq
        self._metrics = metrics
        self._batch_size = batch_size
        self._stopping = asyncio.Event()
        self._in_hand: Sequence[QueueEntry] = ()
        self._backoff = Backoff(MAX_BACKOFF_SECONDS)

    async def run(self) -> None:
        while not self._stopping.is_set():
            await self._run_once()

    def stop(self) -> None:
        self._stopping.set()

    async def drain(self) -> None:
        """Persist what is queued now, and return when nothing is left.

        Raises:
            TransientError: a dependency is down; the rest stays queued.
        """
        while entries := await self._queue.read(self._batch_size, block_seconds=0):
            await self._persist(entries)

    async def _run_once(self) -> None:
        try:
            await self._show_backlog()
            if not self._in_hand:
                self._in_hand = await self._queue.read(
                    self._batch_size, block_seconds=BLOCK_SECONDS
                )
        except TransientError as exc:
            logger.warning("persistence_queue_unavailable", error=str(exc))
            await self._pause()
            return
        await self._persist_in_hand()

    async def _persist_in_hand(self) -> None:
        try:
            await self._persist(self._in_hand)
        except TransientError as exc:
            self._metrics.postgres_persistence.labels("failure").inc(len(self._in_hand))
            logger.warning("persistence_delayed", entries=len(self._in_hand), error=str(exc))
            await self._pause()
        else:
            self._in_hand = ()

    async def _persist(self, entries: Sequence[QueueEntry]) -> None:
        """Bring the entries to Postgres; acknowledge what is held there or dead-lettered."""
        if not entries:
            return
        failpoint("persist.read")
        refused = await self._write(entries)
        failpoint("persist.written")
        kept = {entry.entry_id for entry in refused if not await self._dead_letter(entry)}
        handled = [entry.entry_id for entry in entries if entry.entry_id not in kept]
        await self._queue.acknowledge(handled)
        failpoint("persist.acknowledged")
        self._metrics.postgres_persistence.labels("success").inc(len(handled))
        self._backoff.reset()

    async def _write(self, entries: Sequence[QueueEntry]) -> list[RefusedEntry]:
        unreadable = ValueError("the entry is no update")
        refused = [
            RefusedEntry(entry_id=e.entry_id, payload=e.payload, update=None, error=unreadable)
            for e in entries
            if e.update is None
        ]
        rows = [(entry.entry_id, entry.update) for entry in entries if entry.update is not None]
        return refused + (await self._write_or_isolate(rows) if rows else [])

    async def _write_or_isolate(
        self, rows: Sequence[tuple[str, BatchUpdate]]
    ) -> list[RefusedEntry]:
        """Write the updates together; of refused ones, halve until the bad row stands alone."""
        try:
            await self._store.apply([update for _, update in rows])
        except RefusedUpdateError as exc:
            parts = _parts(rows)
            if len(parts) > 1:
                return [entry for part in parts for entry in await self._write_or_isolate(part)]
            # A migration that this version does not fit refuses every row, and is no row's fault.
            await self._store.check_schema()
            [(entry_id, update)] = rows
            payload = encode_update(update)
            return [RefusedEntry(entry_id=entry_id, payload=payload, update=update, error=exc)]
        return []

    async def _dead_letter(self, entry: RefusedEntry) -> bool:
        """Return whether the broker has the dead letter; if not, the entry stays queued."""
        batch_id = entry.update.batch_id if entry.update else None
        letter = DeadLetter(
            base_topic=PERSISTENCE_BASE_TOPIC,
            reason="refused_by_database" if entry.update else "unreadable_entry",
            error_type=type(entry.error).__name__,
            error_message=str(entry.error),
            payload=entry.payload,
            key=batch_id.encode() if batch_id else None,
            metadata={"queue_entry_id": entry.entry_id},
        )
        try:
            await self._dlq.publish(letter)
        except TransientError as exc:
            logger.warning("dead_letter_delayed", entry_id=entry.entry_id, error=str(exc))
            return False
        failpoint("persist.dead_lettered")
        logger.error("update_dead_lettered", entry_id=entry.entry_id, batch_id=batch_id)
        return True

    async def _show_backlog(self) -> None:
        backlog = await self._queue.get_backlog()
        self._metrics.queue_depth.set(backlog.depth)
        self._metrics.worker_lag.set(backlog.oldest_age_seconds)

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), self._backoff.next_delay())


def _parts(rows: Sequence[tuple[str, BatchUpdate]]) -> list[Sequence[tuple[str, BatchUpdate]]]:
    """Halve the updates; of a single update, halve its rows."""
    if len(rows) == 1:
        [(entry_id, update)] = rows
        rows = [(entry_id, row) for row in _single_rows(update)]
    middle = len(rows) // 2
    return [part for part in (rows[:middle], rows[middle:]) if part]


def _single_rows(update: BatchUpdate) -> Iterator[BatchUpdate]:
    bare = replace(update, evidence=(), outcomes=(), registrations=())
    for item in update.evidence:
        yield replace(bare, evidence=(item,))
    for outcome in update.outcomes:
        yield replace(bare, outcomes=(outcome,))
    for registration in update.registrations:
        yield replace(bare, registrations=(registration,))
