"""What callers send and get. Unknown fields are ignored: a caller may be newer than we are."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)

from batch_conductor_service.domain.completeness import Reason, essays_total, judge_step
from batch_conductor_service.domain.identifiers import ID_PATTERN, MAX_ID_LENGTH, is_identifier
from batch_conductor_service.domain.pipelines import StepDependencies
from batch_conductor_service.domain.resolution import (
    PhaseDecision,
    Resolution,
    ResolutionRequest,
    Verdict,
)
from batch_conductor_service.domain.standing import judge_essay
from batch_conductor_service.models import BatchId, EssayProcessingState
from batch_conductor_service.port_values import SummaryReading

MAX_ESSAYS = 2**31 - 1  # as many as an event can tell of
MAX_KEPT_BODY_BYTES = 64 * 1024  # many failed questions may wait in memory to be told


def _check_identifier(text: str) -> str:
    if not is_identifier(text):
        raise ValueError("must be made of letters, digits and . _ ~ @ + = -")
    return text


Identifier = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_ID_LENGTH),
    AfterValidator(_check_identifier),
    Field(json_schema_extra={"pattern": ID_PATTERN}),
]


class BatchMetadata(BaseModel):
    """What the caller knows of the batch; only the number of essays is used.

    A number that is none is as good as unknown, which means that phases run: it refuses nothing.
    """

    model_config = ConfigDict(extra="ignore")

    essays_total: Annotated[
        Any,
        WithJsonSchema(
            {"description": "Number of essays, from 1 on; anything else is as good as unknown."}
        ),
    ] = None

    @property
    def usable_total(self) -> int | None:
        """The number of essays, if it is one."""
        total = self.essays_total
        is_number = isinstance(total, int) and not isinstance(total, bool)
        return total if is_number and 1 <= total <= MAX_ESSAYS else None


class DefineRequest(BaseModel):
    """The one question."""

    model_config = ConfigDict(extra="ignore")

    batch_id: Identifier
    requested_pipeline: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    correlation_id: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = None
    batch_metadata: BatchMetadata | None = None

    @property
    def has_unusable_total(self) -> bool:
        """Whether a number of essays was sent that is none."""
        metadata = self.batch_metadata or BatchMetadata()
        return metadata.essays_total is not None and metadata.usable_total is None

    def as_request(self, correlation_id: str, body: bytes) -> ResolutionRequest:
        """Return the question as the service understands it, with the body that it came in."""
        metadata = self.batch_metadata or BatchMetadata()
        return ResolutionRequest(
            batch_id=BatchId(self.batch_id),
            requested_pipeline=self.requested_pipeline,
            correlation_id=correlation_id,
            essays_total=metadata.usable_total,
            body=body if len(body) <= MAX_KEPT_BODY_BYTES else None,
        )


class BatchPath(BaseModel):
    """Which batch a caller asks for."""

    batch_id: Identifier


class Evidence(BaseModel):
    """What is known of a step; `outcome` is the status of the latest phase outcome."""

    model_config = ConfigDict(from_attributes=True)

    completed: int
    failed: int
    total: int | None
    outcome: str | None
    completed_at: datetime | None


class Phase(BaseModel):
    """The verdict on one step, and why."""

    name: str
    verdict: Verdict
    reason: Reason
    evidence: Evidence

    @classmethod
    def of(cls, decision: PhaseDecision) -> Self:
        """Return the decision as callers see it."""
        return cls(
            name=decision.step.name,
            verdict=decision.verdict,
            reason=decision.reason,
            evidence=Evidence.model_validate(decision.progress),
        )


class DefineResponse(BaseModel):
    """The answer; `final_pipeline` is what runs, `phases` says why for every step."""

    batch_id: str
    final_pipeline: list[str]
    analysis_summary: str
    requested_pipeline: str
    pipeline_version: str
    degraded: bool
    correlation_id: str
    phases: list[Phase]

    @classmethod
    def of(cls, resolution: Resolution) -> Self:
        """Return the resolution as callers see it."""
        request = resolution.request
        return cls(
            batch_id=request.batch_id,
            final_pipeline=list(resolution.final_pipeline),
            analysis_summary=resolution.analysis_summary,
            requested_pipeline=request.requested_pipeline,
            pipeline_version=resolution.pipeline.version,
            degraded=resolution.is_degraded,
            correlation_id=request.correlation_id,
            phases=[Phase.of(decision) for decision in resolution.phases],
        )


class BatchStep(Evidence):
    """The progress of one step of a batch, and the judgement on it."""

    is_complete: bool
    reason: Reason


class BatchResponse(BaseModel):
    """What is known of a batch; `outputs` has, by step, where each essay's output is stored."""

    batch_id: str
    essays_total: int | None
    degraded: bool
    steps: dict[str, BatchStep]
    outputs: dict[str, dict[str, str]]

    @classmethod
    def of(
        cls,
        reading: SummaryReading,
        essays: Iterable[EssayProcessingState],
        dependencies: StepDependencies,
    ) -> Self:
        """Return the batch as callers see it."""
        summary = reading.summary
        judged = {
            name: judge_step(summary, name, depends_on=dependencies.of(name))
            for name in summary.steps
        }
        return cls(
            batch_id=summary.batch_id,
            essays_total=essays_total(summary, None),
            degraded=reading.is_degraded or not summary.is_whole,
            steps={name: BatchStep.model_validate(progress) for name, progress in judged.items()},
            outputs=_outputs(essays),
        )


def _outputs(essays: Iterable[EssayProcessingState]) -> dict[str, dict[str, str]]:
    outputs: dict[str, dict[str, str]] = {}
    for essay in essays:
        for name, step in essay.steps.items():
            if storage_id := judge_essay(name, step.sources).storage_id:
                outputs.setdefault(name, {})[essay.essay_id] = storage_id
    return outputs


class FieldError(BaseModel):
    """What is wrong with one field."""

    field: str
    message: str


class Problem(BaseModel):
    """An error, as RFC 9457 has it; `code` is stable."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    correlation_id: str
    errors: list[FieldError] | None = None
