"""Collaborators of the consumer that fail, refuse, or hold back as a test tells them."""

import asyncio
from collections.abc import Sequence

from batch_conductor_service.implementations.memory.batch_state import MockBatchStateRepositoryImpl
from batch_conductor_service.models import BatchId, BatchUpdate, QueueBacklog, QueueEntry, Watermark
from batch_conductor_service.protocols import MAX_READ_BYTES
from common_core.records import RecordPosition
from service_libs.exceptions import (
    BrokerUnavailableError,
    RefusedUpdateError,
    StoreUnavailableError,
)
from service_libs.kafka.records import DeadLetter
from tests.support.pipelines import DEPENDENCIES


class ControlledQueue:
    """Knows which entries were queued, and says of Postgres what the test says."""

    def __init__(self) -> None:
        self.generation = "first"
        self.queued = 0
        self.held = 0
        self.failures = 0
        self.extra_depth = 0
        self.size_bytes = 0

    def enqueue(self) -> str:
        """Return the id of a new entry."""
        self.queued += 1
        return f"{self.queued}-0"

    def hold_all(self) -> None:
        """Have Postgres hold all that was queued."""
        self.held = self.queued

    def replace(self) -> None:
        """Come back empty, as another generation."""
        self.generation += "'"
        self.queued = self.held = 0

    async def read(
        self, count: int, *, block_seconds: float, max_bytes: int = MAX_READ_BYTES
    ) -> Sequence[QueueEntry]:
        await asyncio.sleep(block_seconds)
        return [][: min(count, max_bytes)]

    async def acknowledge(self, entry_ids: Sequence[str]) -> None:
        self.held += len(entry_ids)

    async def get_watermark(self) -> Watermark:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailableError
        return Watermark(generation=self.generation, held_through=(self.held, 0))

    async def get_backlog(self) -> QueueBacklog:
        depth = self.queued - self.held + self.extra_depth
        return QueueBacklog(depth=depth, oldest_age_seconds=0, size_bytes=self.size_bytes)


class ControlledRepository(MockBatchStateRepositoryImpl):
    """Hangs, fails, or refuses some batches for good, and remembers what it was given."""

    def __init__(self, queue: ControlledQueue | None = None) -> None:
        super().__init__(DEPENDENCIES)
        self.failures = 0
        self.refused: set[str] = set()
        self.applied: list[RecordPosition] = []
        self.calls = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self._queue = queue

    async def apply(self, updates: Sequence[BatchUpdate]) -> Sequence[str | None]:
        self.calls += 1
        await self.may_answer.wait()
        if self.failures:
            self.failures -= 1
            raise StoreUnavailableError
        if any(update.batch_id in self.refused for update in updates):
            raise RefusedUpdateError
        await super().apply(updates)
        for update in updates:
            self.applied.extend(update.positions)
        return [self._queue.enqueue() if self._queue else None for _ in updates]

    async def completed(self, batch: str, step: str = "spellcheck") -> set[str]:
        """Return the essays of the batch that are known, by id."""
        essays = (await self.get_state(BatchId(batch))).essays()
        return {str(essay.essay_id) for essay in essays if step in essay.steps}


class ControlledDlq:
    """Keeps the letters, after failing the next times; or breaks with a fault of its own."""

    def __init__(self) -> None:
        self.failures = 0
        self.fault: Exception | None = None
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.tries = 0
        self.letters: list[DeadLetter] = []

    async def publish(self, letter: DeadLetter) -> None:
        self.tries += 1
        await self.may_answer.wait()
        if self.fault:
            raise self.fault
        if self.failures:
            self.failures -= 1
            raise BrokerUnavailableError
        self.letters.append(letter)
