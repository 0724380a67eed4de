"""The one question: which phases of a batch are still to run, and in which order."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import structlog

from batch_conductor_service.domain.freshness import Freshness
from batch_conductor_service.domain.pending import with_pending
from batch_conductor_service.domain.pipelines import PipelineCatalog
from batch_conductor_service.domain.resolution import PhaseDecision, Resolution, ResolutionRequest
from batch_conductor_service.exceptions import UnknownPipelineError
from batch_conductor_service.models import BatchCompletionSummary
from batch_conductor_service.port_values import SummaryReading
from batch_conductor_service.protocols import (
    BatchStateRepositoryProtocol,
    FreshnessProtocol,
    PipelineRulesProtocol,
)
from service_libs.exceptions import TransientError

logger = structlog.get_logger(__name__)


class DefaultPipelineResolutionService:
    """Answers from the pipelines of the file and what is known of the batch; keeps nothing."""

    def __init__(
        self,
        catalog: PipelineCatalog,
        rules: PipelineRulesProtocol,
        repository: BatchStateRepositoryProtocol,
        freshness: FreshnessProtocol,
    ) -> None:
        self._catalog = catalog
        self._rules = rules
        self._repository = repository
        self._freshness = freshness

    async def resolve(self, request: ResolutionRequest) -> Resolution:
        pipeline = self._catalog.find(request.requested_pipeline)
        if pipeline is None:
            raise UnknownPipelineError(request.requested_pipeline, self._catalog.names)
        # Before the state is read: what is applied in between is in it, and must not be promised.
        fresh = self._freshness.current()
        reading = await self._repository.get_summary(request.batch_id)
        known_until = _known_until(fresh, reading)
        summary = reading.summary
        if not self._freshness.covers(known_until, request.not_before):
            # Something that speaks against it may wait in Kafka, so nothing proves anything.
            summary = replace(summary, is_whole=False)
        steps = self._rules.resolve_pipeline_dependencies(pipeline)
        phases = self._rules.prune_completed_steps(steps, summary, request.essays_total)
        self._rules.validate_pipeline_prerequisites(phases)
        if request.includes_essays and not reading.is_degraded and summary.is_whole:
            phases = await self._with_pending(phases, summary)
        return Resolution(
            request=request,
            pipeline=pipeline,
            phases=phases,
            is_degraded=reading.is_degraded or not summary.is_whole,
            known_until=known_until,
        )

    async def _with_pending(
        self, phases: Sequence[PhaseDecision], summary: BatchCompletionSummary
    ) -> Sequence[PhaseDecision]:
        """Add which essays still need each phase; without them the answer stands all the same."""
        try:
            state = await self._repository.get_state(summary.batch_id)
        except TransientError as exc:
            logger.warning("pending_essays_not_read", reason=str(exc))
            return phases
        return with_pending(phases, summary, state, self._catalog.dependencies)


def _known_until(fresh: Freshness, reading: SummaryReading) -> datetime | None:
    """Return up to when the reading has all that Kafka held.

    What is applied is in the data that it was applied to. When the cache comes back without its
    last seconds, its data have another name, before anybody has learnt what is lost.
    """
    if reading.is_degraded:
        return fresh.archived_until
    is_same_data = reading.server_run is None or reading.server_run == fresh.server_run
    return fresh.applied_until if is_same_data else None
