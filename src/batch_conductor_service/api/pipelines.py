"""The route `define`, and how its questions are bounded, timed, counted and made known.

It is answered directly, past the framework: see `service_libs.http.app`.
"""

from functools import cache
from time import perf_counter
from typing import Literal

import orjson
import structlog
from dishka import AsyncContainer

from batch_conductor_service.domain.pipelines import PipelineCatalog
from batch_conductor_service.domain.resolution import PhaseDecision, Resolution, ResolutionRequest
from batch_conductor_service.exceptions import PrerequisiteMissingError
from batch_conductor_service.metrics import Metrics
from batch_conductor_service.models import BatchId
from batch_conductor_service.protocols import (
    FreshnessProtocol,
    ResolutionAnnouncerProtocol,
)
from batch_conductor_service.resolving.pipeline_resolution import DefaultPipelineResolutionService
from common_core.define import ESSAYS, DefineRequest
from common_core.fields import MAX_COUNT
from common_core.verdicts import Verdict
from service_libs.exceptions import OverloadedError
from service_libs.http.app import ServiceApp
from service_libs.http.exchange import (
    Reply,
    adopt_correlation,
    correlation_id,
    current_exchange,
    remaining_seconds,
    within_deadline,
)
from service_libs.http.intake import BodyReader, refusing_invalid_fields

logger = structlog.get_logger(__name__)

MAX_WAIT_SECONDS = 5  # for the freshness that a caller needs
MAX_WAIT_SHARE = 0.5  # of the time that there is: an answer takes some, too
MAX_KEPT_BODY_BYTES = 64 * 1024  # many failed questions may wait in memory to be reported
MAX_LOGGED_CHARACTERS = 200  # of what a caller sends
UNREAD = ""  # batch and pipeline of a question that was refused before it was read

DEFINE = "/internal/v1/pipelines/define"


def register(app: ServiceApp, container: AsyncContainer) -> None:
    """Have the application answer the route."""

    async def define() -> Reply:
        """Answer which steps of a pipeline are still to run for a batch, and in which order."""
        return await (await container.get(QuestionHandler)).answer()

    app.answer_directly("POST", DEFINE, define)


class QuestionHandler:
    """Takes a question that is well formed, and answers it or fails; both are made known.

    Nothing here waits after the resolution is there, so a caller who hangs up leaves nothing half
    done: either all of it is announced or nothing.
    """

    def __init__(
        self,
        service: DefaultPipelineResolutionService,
        announcer: ResolutionAnnouncerProtocol,
        catalog: PipelineCatalog,
        freshness: FreshnessProtocol,
        bodies: BodyReader,
        metrics: Metrics,
    ) -> None:
        self._service = service
        self._announcer = announcer
        self._catalog = catalog
        self._freshness = freshness
        self._bodies = bodies
        self._metrics = metrics
        self._logger = logger.bind()
        # Their labels are few, and the library's own look-up locks and checks.
        self._resolutions = cache(metrics.resolutions.labels)
        self._durations = cache(metrics.resolution_duration.labels)
        self._verdicts = cache(metrics.phase_verdicts.labels)
        self._pruned = cache(metrics.rules_pruned.labels)

    async def answer(self) -> Reply:
        """Answer the current request."""
        request = await self._receive()
        await self._wait_for_freshness(request)
        await self._announcer.wait_for_room()
        return Reply(200, to_answer(await self._resolve(request)))

    async def _receive(self) -> ResolutionRequest:
        """Return the question, of whose body no more is kept than is needed."""
        body = await self._receive_body()
        with refusing_invalid_fields():
            question = DefineRequest.model_validate_json(body)
        if question.correlation_id is not None:
            adopt_correlation(question.correlation_id)
        structlog.contextvars.bind_contextvars(batch_id=question.batch_id)
        return to_request(question, correlation_id(), body)

    async def _receive_body(self) -> bytes:
        started = perf_counter()
        try:
            return await self._bodies.take_in()
        except OverloadedError as error:
            unread = ResolutionRequest(
                batch_id=BatchId(UNREAD), requested_pipeline=UNREAD, correlation_id=correlation_id()
            )
            self._fail(unread, error, started)
            raise

    async def _wait_for_freshness(self, request: ResolutionRequest) -> None:
        """Wait, bounded, for what the caller knows of; where it is known already, not at all."""
        moment, known = request.not_before, self._freshness.current().applied_until
        if moment is None or (known is not None and known >= moment):
            return
        longest = min(MAX_WAIT_SECONDS, MAX_WAIT_SHARE * remaining_seconds())
        with self._bodies.gate.aside():
            await current_exchange().unless_hung_up(self._freshness.wait_until(moment, longest))

    async def _resolve(self, request: ResolutionRequest) -> Resolution:
        """Return the resolution; raises what the service does, and when there is no time.

        Raises:
            DeadlineExceededError: it took too long.
        """
        started = perf_counter()
        try:
            async with within_deadline():
                resolution = await self._service.resolve(request)
        except Exception as error:
            self._fail(request, error, started)
            raise
        current_exchange().check_caller()
        self._count("success", request, started)
        self._count_verdicts(resolution)
        self._announcer.announce(resolution)
        if resolution.skipped:
            self._log_pruning(resolution)
        return resolution

    def _fail(self, request: ResolutionRequest, error: Exception, started: float) -> None:
        self._count("failure", request, started)
        if isinstance(error, PrerequisiteMissingError):
            self._metrics.rules_error.inc()
        self._announcer.announce_failure(request, error)

    def _count(
        self, status: Literal["success", "failure"], request: ResolutionRequest, started: float
    ) -> None:
        known = self._catalog.find(request.requested_pipeline)
        pipeline = known.name if known else "unknown"
        self._resolutions(status=status, pipeline=pipeline).inc()
        self._durations(status).observe(perf_counter() - started)

    def _count_verdicts(self, resolution: Resolution) -> None:
        self._metrics.rules_success.inc()
        if resolution.is_degraded:
            self._metrics.degraded_answers.inc()
        for phase in resolution.phases:
            self._verdicts(phase.verdict, phase.reason).inc()
        for step in resolution.skipped:
            self._pruned(step).inc()

    def _log_pruning(self, resolution: Resolution) -> None:
        """Log what was pruned, why, and for whom: a wrong one is looked for here first."""
        exchange = current_exchange()
        self._logger.info(
            "phases_pruned",
            batch_id=resolution.request.batch_id,
            pipeline=resolution.pipeline.name,
            pipeline_version=resolution.pipeline.version,
            phases={one.step.name: f"{one.verdict}: {one.reason}" for one in resolution.phases},
            essays_total=resolution.request.essays_total,
            known_until=resolution.known_until and resolution.known_until.isoformat(),
            correlation_id=resolution.request.correlation_id,
            caller=exchange.caller,
            user_agent=exchange.header("user-agent")[:MAX_LOGGED_CHARACTERS],
        )


def to_request(question: DefineRequest, correlation_id: str, body: bytes) -> ResolutionRequest:
    """Return the question as the service understands it, with the body that it came in."""
    metadata = question.batch_metadata
    total = metadata.essays_total if metadata else None
    is_usable = type(total) is int and 1 <= total <= MAX_COUNT
    if total is not None and not is_usable:
        logger.info("unusable_essays_total_ignored")
    return ResolutionRequest(
        batch_id=BatchId(question.batch_id),
        requested_pipeline=question.requested_pipeline,
        correlation_id=correlation_id,
        essays_total=total if is_usable else None,
        body=body if len(body) <= MAX_KEPT_BODY_BYTES else None,
        not_before=question.not_before,
        includes_essays=ESSAYS in question.include,
    )


def to_answer(resolution: Resolution) -> bytes:
    """Return the resolution as callers see it: a `DefineResponse`, written without making one."""
    request = resolution.request
    answer = {
        "batch_id": request.batch_id,
        "final_pipeline": resolution.final_pipeline,
        "analysis_summary": resolution.analysis_summary,
        "requested_pipeline": request.requested_pipeline,
        "pipeline_version": resolution.pipeline.version,
        "degraded": resolution.is_degraded,
        "correlation_id": request.correlation_id,
        "phases": [
            _to_phase(decision, shows_pending=request.includes_essays)
            for decision in resolution.phases
        ],
        "known_until": resolution.known_until,
    }
    return orjson.dumps(answer, option=orjson.OPT_UTC_Z)


def _to_phase(decision: PhaseDecision, *, shows_pending: bool) -> dict[str, object]:
    progress = decision.progress
    phase: dict[str, object] = {
        "name": decision.step.name,
        "verdict": decision.verdict,
        "reason": decision.reason,
        "evidence": {
            "completed": progress.completed,
            "failed": progress.failed,
            "total": progress.total,
            "outcome": progress.outcome,
            "completed_at": progress.completed_at,
        },
    }
    if shows_pending and decision.verdict is Verdict.RUN:
        phase["pending_essay_ids"] = decision.pending
    return phase
