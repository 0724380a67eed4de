"""Between what passes over HTTP and what the service understands."""

from collections.abc import Iterable

from batch_conductor_service.domain.completeness import essays_total, judge_step
from batch_conductor_service.domain.pipelines import StepDependencies
from batch_conductor_service.domain.resolution import PhaseDecision, Resolution, ResolutionRequest
from batch_conductor_service.domain.standing import judge_essay
from batch_conductor_service.models import BatchId, EssayProcessingState
from batch_conductor_service.port_values import SummaryReading
from common_core.define import (
    BatchMetadata,
    BatchResponse,
    BatchStep,
    DefineRequest,
    DefineResponse,
    Evidence,
    Phase,
)

MAX_KEPT_BODY_BYTES = 64 * 1024  # many failed questions may wait in memory to be reported


def to_request(question: DefineRequest, correlation_id: str, body: bytes) -> ResolutionRequest:
    """Return the question as the service understands it, with the body that it came in."""
    metadata = question.batch_metadata or BatchMetadata()
    return ResolutionRequest(
        batch_id=BatchId(question.batch_id),
        requested_pipeline=question.requested_pipeline,
        correlation_id=correlation_id,
        essays_total=metadata.usable_total,
        body=body if len(body) <= MAX_KEPT_BODY_BYTES else None,
        not_before=question.not_before,
    )


def to_answer(resolution: Resolution) -> DefineResponse:
    """Return the resolution as callers see it."""
    request = resolution.request
    return DefineResponse(
        batch_id=request.batch_id,
        final_pipeline=list(resolution.final_pipeline),
        analysis_summary=resolution.analysis_summary,
        requested_pipeline=request.requested_pipeline,
        pipeline_version=resolution.pipeline.version,
        degraded=resolution.is_degraded,
        correlation_id=request.correlation_id,
        phases=[_to_phase(decision) for decision in resolution.phases],
        known_until=resolution.known_until,
    )


def to_batch(
    reading: SummaryReading,
    essays: Iterable[EssayProcessingState],
    dependencies: StepDependencies,
) -> BatchResponse:
    """Return the batch as callers see it."""
    summary = reading.summary
    judged = {
        name: judge_step(summary, name, depends_on=dependencies.of(name)) for name in summary.steps
    }
    return BatchResponse(
        batch_id=summary.batch_id,
        essays_total=essays_total(summary, None),
        degraded=reading.is_degraded or not summary.is_whole,
        steps={name: BatchStep.model_validate(progress) for name, progress in judged.items()},
        outputs=_outputs(essays),
    )


def _to_phase(decision: PhaseDecision) -> Phase:
    return Phase(
        name=decision.step.name,
        verdict=decision.verdict,
        reason=decision.reason,
        evidence=Evidence.model_validate(decision.progress),
    )


def _outputs(essays: Iterable[EssayProcessingState]) -> dict[str, dict[str, str]]:
    outputs: dict[str, dict[str, str]] = {}
    for essay in essays:
        for name, step in essay.steps.items():
            if storage_id := judge_essay(name, step.sources).storage_id:
                outputs.setdefault(name, {})[essay.essay_id] = storage_id
    return outputs
