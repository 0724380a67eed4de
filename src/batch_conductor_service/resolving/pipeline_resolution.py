"""Which phases of a batch are still to run, and in which order.

The rules are pure: no state, no I/O.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import structlog

from batch_conductor_service.domain.freshness import Freshness
from batch_conductor_service.domain.pending import with_pending
from batch_conductor_service.domain.pipelines import Pipeline, PipelineCatalog, PipelineStep
from batch_conductor_service.domain.resolution import (
    PhaseDecision,
    Resolution,
    ResolutionRequest,
    judge_step,
)
from batch_conductor_service.exceptions import PrerequisiteMissingError, UnknownPipelineError
from batch_conductor_service.models import BatchCompletionSummary, StepName, SummaryReading
from batch_conductor_service.protocols import (
    BatchStateRepositoryProtocol,
    FreshnessProtocol,
)
from common_core.verdicts import Reason, Verdict
from service_libs.exceptions import TransientError

logger = structlog.get_logger(__name__)


class DefaultPipelineRules:
    """A step is skipped only if it and all its prerequisites need not run."""

    def resolve_pipeline_dependencies(self, pipeline: Pipeline) -> Sequence[PipelineStep]:
        """Return the steps with dependencies first, then in the order of the file."""
        return pipeline.ordered

    def prune_completed_steps(
        self,
        steps: Sequence[PipelineStep],
        summary: BatchCompletionSummary,
        essays_total: int | None = None,
    ) -> Sequence[PhaseDecision]:
        """Judge the ordered steps; skip what is proven complete with all it depends on."""
        awaited = {dependency for step in steps for dependency in step.depends_on}
        skipped: set[StepName] = set()
        phases: list[PhaseDecision] = []
        for step in steps:
            progress = judge_step(summary, step.name, essays_total, step.depends_on)
            reason = progress.reason
            if progress.is_complete and not skipped.issuperset(step.depends_on):
                # Its result was made from a text that is about to change.
                reason = Reason.PREREQUISITE_RUNS
            elif reason is Reason.NOT_STARTED and step.name not in awaited:
                reason = Reason.REQUESTED
            verdict = Verdict.SKIP if reason is Reason.ALREADY_COMPLETED else Verdict.RUN
            if verdict is Verdict.SKIP:
                skipped.add(step.name)
            phases.append(
                PhaseDecision(step=step, verdict=verdict, reason=reason, progress=progress)
            )
        return phases

    def validate_pipeline_prerequisites(self, phases: Sequence[PhaseDecision]) -> None:
        """Check that whatever runs has its dependencies complete or running before it.

        Raises:
            PrerequisiteMissingError: it has not.
        """
        settled: set[StepName] = set()
        for phase in phases:
            for prerequisite in phase.step.depends_on:
                if prerequisite not in settled:
                    raise PrerequisiteMissingError(phase.step.name, prerequisite)
            settled.add(phase.step.name)


class DefaultPipelineResolutionService:
    """Answers from the pipelines of the file and what is known of the batch; keeps nothing."""

    def __init__(
        self,
        catalog: PipelineCatalog,
        rules: DefaultPipelineRules,
        repository: BatchStateRepositoryProtocol,
        freshness: FreshnessProtocol,
    ) -> None:
        self._catalog = catalog
        self._rules = rules
        self._repository = repository
        self._freshness = freshness

    async def resolve(self, request: ResolutionRequest) -> Resolution:
        """Return which steps run and which are skipped.

        Raises:
            UnknownPipelineError: neither a pipeline nor a step has the name.
            PrerequisiteMissingError: something would run before what it depends on.
            StoreUnavailableError: no store could be read.
        """
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
