"""BCS's one question and its answers, as they pass over HTTP.

Unknown fields are ignored: a caller may be newer than the service, and the other way round.
"""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema

from common_core.fields import AskedIdentifier, AskedMoment, CorrelationId
from common_core.verdicts import Reason, Verdict

ESSAYS = "essays"  # what a question may include


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


class DefineRequest(BaseModel):
    """The one question."""

    model_config = ConfigDict(extra="ignore")

    batch_id: AskedIdentifier
    requested_pipeline: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    correlation_id: CorrelationId | None = None
    batch_metadata: BatchMetadata | None = None
    not_before: AskedMoment | None = Field(
        default=None,
        description=(
            "The caller knows of something that happened then: the answer waits, at most 5 s, until"
            " `known_until` has reached it; after that it is degraded and skips nothing. A time"
            " without a zone is UTC."
        ),
    )

    include: tuple[str, ...] = Field(
        default=(),
        description=(
            "What is to be told, too. `essays`: of each phase that runs, which essays still need"
            " it. Anything else is ignored."
        ),
    )


class BatchPath(BaseModel):
    """Which batch a caller asks for."""

    batch_id: AskedIdentifier


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
    pending_essay_ids: list[str] | None = Field(
        default=None,
        description=(
            'With `include: ["essays"]`, every essay that still needs the phase, those whose'
            " prerequisite runs in this plan included. Null: not known, or more than 10,000."
        ),
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
    known_until: datetime | None = Field(
        description=(
            "Every record that Kafka held at this time, in every partition of every consumed topic,"
            " is in the answer. Null: nobody knows."
        )
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
