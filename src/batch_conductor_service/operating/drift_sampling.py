"""The regular look, from inside the service, at whether Redis and Postgres agree.

A sample: some of the batches that this process wrote lately, so that the work is bounded whatever
the number of batches. One after the other, apart from the loop that answers, and at leisure: to
compare a large batch takes a tenth of a second, and as much memory as a poll.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import structlog

from batch_conductor_service.domain.drift import BatchComparison
from batch_conductor_service.models import BatchId
from batch_conductor_service.operating.auditing import Auditor
from batch_conductor_service.protocols import BatchStateRepositoryProtocol
from service_libs.apart import run_apart
from service_libs.exceptions import TransientError
from service_libs.kafka.patience import unless_stopped

logger = structlog.get_logger(__name__)


OpenAuditor = Callable[[], AbstractAsyncContextManager[Auditor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingPolicy:
    """How often, how many batches at most each time, and how much rest after each batch.

    The rest is as many times as long as the batch took, so that the sampler has only a share of the
    processor, and at most `max_rest_seconds`. A batch with more than `max_statements` is passed
    over: to compare it takes some 2.5 KiB for each, and the service has other use for the memory.
    """

    interval_seconds: float = 60
    sample_size: int = 50
    rest_factor: float = 4
    max_rest_seconds: float = 0.5
    max_statements: int = 20_000


class DriftSampler:
    """The background task that audits a sample now and then, and shows how many batches differ.

    The auditor is opened for each sample, in the thread and the event loop that use it.

    Args:
        recent: the batches that were written lately, the latest last.
    """

    name = "drift_sampler"

    def __init__(
        self,
        open_auditor: OpenAuditor,
        repository: BatchStateRepositoryProtocol,
        recent: deque[BatchId],
        show: Callable[[int], None],
        policy: SamplingPolicy | None = None,
    ) -> None:
        self._open_auditor = open_auditor
        self._repository = repository
        self._recent = recent
        self._show = show
        self._policy = policy or SamplingPolicy()
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        # It only reads, so it may be cut off anywhere.
        await unless_stopped(self._stopping, self._sample_for_ever())

    def stop(self) -> None:
        self._stopping.set()

    async def _sample_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._policy.interval_seconds)
            await self.sample()

    async def sample(self) -> None:
        """Audit a sample; while a store cannot be read, what was shown last stands."""
        batch_ids = self._take()
        try:
            small = [one for one in batch_ids if await self._is_small(one)]
            found = await run_apart(lambda: self._audit(small))
        except TransientError as exc:
            self._recent.extend(reversed(batch_ids))
            logger.warning("drift_sample_postponed", error=str(exc))
            return
        self._show(len(found))
        for one in found:
            logger.error(
                "batch_state_drifted",
                batch_id=one.batch_id,
                differences=len(one.differences),
                subject=one.differences[0].subject,
                place=one.differences[0].place.value,
            )

    def _take(self) -> list[BatchId]:
        """Return some of the latest, and forget them, so that the others have their turn."""
        taken: dict[BatchId, None] = {}
        while self._recent and len(taken) < self._policy.sample_size:
            taken[self._recent.pop()] = None
        return list(taken)

    async def _is_small(self, batch_id: BatchId) -> bool:
        summary = (await self._repository.get_summary(batch_id)).summary
        statements = sum(step.completed + step.failed for step in summary.steps.values())
        if statements > self._policy.max_statements:
            logger.info("large_batch_not_sampled", batch_id=batch_id, statements=statements)
        return statements <= self._policy.max_statements

    async def _audit(self, batch_ids: Sequence[BatchId]) -> list[BatchComparison]:
        found: list[BatchComparison] = []
        async with self._open_auditor() as auditor:
            for batch_id in batch_ids:
                started = time.perf_counter()
                found += (await auditor.audit([batch_id])).differing
                rest = self._policy.rest_factor * (time.perf_counter() - started)
                await asyncio.sleep(min(rest, self._policy.max_rest_seconds))
        return found
