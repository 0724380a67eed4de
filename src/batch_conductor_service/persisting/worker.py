"""Takes updates from the queue to Postgres: in batches, at least once, and none is ever given up.

An entry leaves the queue when Postgres holds it or, for a row that Postgres refuses for good, when
the dead letter is acknowledged. Whatever fails otherwise stays in the queue and comes back.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from batch_conductor_service.domain.statements import as_unreadable
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.models import BatchUpdate, QueueEntry
from batch_conductor_service.persisting.codec import encode_update
from batch_conductor_service.persisting.work import Piece, WorkInHand, halves
from batch_conductor_service.protocols import (
    MAX_READ_BYTES,
    PersistenceQueueProtocol,
    PersistenceStoreProtocol,
)
from common_core.topics import PERSISTENCE_BASE_TOPIC
from service_libs.exceptions import RefusedUpdateError, TransientError
from service_libs.failpoints import failpoint
from service_libs.kafka.records import DeadLetter
from service_libs.protocols import DlqProducerProtocol
from service_libs.timing import Backoff, until_set

logger = structlog.get_logger(__name__)

BLOCK_SECONDS = 1.0  # longest wait for entries, and so between two looks at the queue
MAX_BACKOFF_SECONDS = 5.0
# Read or acknowledged at once: a millisecond of Redis and this process, which others wait for.
ENTRIES_AT_ONCE = 200
# Of one transaction: a second or two of a slow Postgres, a small part of a statement's time-out.
MAX_ROWS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedEntry:
    """What of an entry Postgres will never take, and why: the row alone, or unreadable bytes."""

    entry_id: str
    payload: bytes
    update: BatchUpdate | None
    error: Exception


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkPolicy:
    """How much of the queue is in hand at a time.

    Attributes:
        max_entries: most queue entries.
        max_bytes: of their payloads; passed only by an entry that is larger than its neighbours. As
            objects they take about ten times that.
        max_rows: most rows of one transaction; fewer after one that failed.
    """

    max_entries: int = 10_000
    max_bytes: int = MAX_READ_BYTES
    max_rows: int = MAX_ROWS


class PersistenceWorker:
    """The background task between the queue and Postgres.

    A transaction that fails is tried again with half of its rows, one that succeeds is followed by
    one of twice as many: so what is too much for a slow Postgres still gets there.
    """

    name = "persistence_worker"

    def __init__(
        self,
        queue: PersistenceQueueProtocol,
        store: PersistenceStoreProtocol,
        dlq: DlqProducerProtocol,
        metrics: Metrics,
        policy: WorkPolicy | None = None,
    ) -> None:
        self._queue = queue
        self._store = store
        self._dlq = dlq
        self._metrics = metrics
        self._policy = policy or WorkPolicy()
        self._rows = self._policy.max_rows
        self._stopping = asyncio.Event()
        self._work = WorkInHand()
        self._unreadable: list[RefusedEntry] = []
        self._finished: list[str] = []  # entries to be acknowledged
        self._kept: set[str] = set()  # entries with a row that nobody has, and no dead letter
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
        while await self._take_in_hand(block_seconds=0):
            await self._persist_some()

    async def _run_once(self) -> None:
        try:
            has_work = await self._take_in_hand(block_seconds=BLOCK_SECONDS)
        except TransientError as exc:
            logger.warning("persistence_queue_unavailable", error=str(exc))
            await self._pause()
            return
        try:
            if has_work:
                await self._persist_some()
        except TransientError as exc:
            logger.warning("persistence_delayed", error=str(exc), next_rows=self._rows)
            await self._pause()

    async def _take_in_hand(self, *, block_seconds: float) -> bool:
        """Read from the queue where nothing is in hand; return whether there is work now."""
        await self._show_backlog()
        await self._acknowledge()
        if not self._work and not self._unreadable:
            await self._read(block_seconds)
        return bool(self._work or self._unreadable)

    async def _read(self, block_seconds: float) -> None:
        """Take in hand what there is, in parts that hold up nobody else."""
        left, left_bytes = self._policy.max_entries, self._policy.max_bytes
        has_more = True
        while left > 0 and left_bytes > 0 and has_more:
            count = min(left, ENTRIES_AT_ONCE)
            entries = await self._queue.read(
                count, block_seconds=block_seconds, max_bytes=left_bytes
            )
            self._sort(entries)
            has_more = len(entries) == count
            left -= count
            left_bytes -= sum(len(entry.payload) for entry in entries)
            block_seconds = 0

    def _sort(self, entries: Sequence[QueueEntry]) -> None:
        for entry in entries:
            if entry.update is not None:
                self._work.add([Piece(entry_id=entry.entry_id, update=entry.update)])
                continue
            error = ValueError("the entry is no update")
            self._unreadable.append(
                RefusedEntry(
                    entry_id=entry.entry_id, payload=entry.payload, update=None, error=error
                )
            )

    async def _persist_some(self) -> None:
        """Bring some to Postgres; acknowledge what is held there or dead-lettered."""
        failpoint("persist.read")
        pieces, unreadable = self._work.first(self._rows), list(self._unreadable)
        refused = [*unreadable, *await self._write(pieces)]
        failpoint("persist.written")
        self._kept |= {one.entry_id for one in refused if not await self._dead_letter(one)}
        handled = [one.entry_id for one in unreadable]
        for start in range(0, len(pieces), ENTRIES_AT_ONCE):
            handled += self._work.finish(pieces[start : start + ENTRIES_AT_ONCE])
            await asyncio.sleep(0)
        del self._unreadable[: len(unreadable)]
        self._finished += [entry_id for entry_id in handled if entry_id not in self._kept]
        self._kept.difference_update(handled)
        await self._acknowledge()
        failpoint("persist.acknowledged")
        self._backoff.reset()

    async def _acknowledge(self) -> None:
        while some := self._finished[:ENTRIES_AT_ONCE]:
            await self._queue.acknowledge(some)
            self._metrics.postgres_persistence.labels("success").inc(len(some))
            del self._finished[: len(some)]

    async def _write(self, pieces: Sequence[Piece]) -> list[RefusedEntry]:
        """Write the pieces in one transaction; return what is refused of them."""
        if not pieces:
            return []
        try:
            refused = await self._write_or_isolate(pieces)
        except TransientError:
            rows = sum(piece.rows for piece in pieces)
            self._rows = max(1, min(self._rows, rows) // 2)
            entries = {piece.entry_id for piece in pieces}
            self._metrics.postgres_persistence.labels("failure").inc(len(entries))
            raise
        self._rows = min(self._policy.max_rows, 2 * self._rows)
        return refused

    async def _write_or_isolate(self, pieces: Sequence[Piece]) -> list[RefusedEntry]:
        """Write the pieces together; of refused ones, halve until the bad row stands alone."""
        try:
            await self._store.apply([piece.update for piece in pieces])
        except RefusedUpdateError as exc:
            if parts := halves(pieces):
                return [entry for part in parts for entry in await self._write_or_isolate(part)]
            # A migration that this version does not fit refuses every row, and is no row's fault.
            await self._store.check_schema()
            [piece] = pieces
            await self._note_refusal(piece.update)
            return [
                RefusedEntry(
                    entry_id=piece.entry_id,
                    payload=encode_update(piece.update),
                    update=piece.update,
                    error=exc,
                )
            ]
        return []

    async def _note_refusal(self, update: BatchUpdate) -> None:
        """Keep that something was said there: forgotten by Redis, a failure would be hidden."""
        try:
            await self._store.apply([as_unreadable(update)])
        except RefusedUpdateError:
            logger.warning("refusal_not_noted", batch_id=update.batch_id)

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
        self._metrics.queue_size.set(backlog.size_bytes)
        self._metrics.worker_lag.set(backlog.oldest_age_seconds)

    async def _pause(self) -> None:
        await until_set(self._stopping, self._backoff.next_delay())
