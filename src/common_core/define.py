"""BCS's one question and its answers, as they pass over HTTP.

Unknown fields are ignored: a caller may be newer than the service, and the other way round.
"""

from datetime import datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)

from common_core.fields import (
    ID_PATTERN,
    MAX_CORRELATION_LENGTH,
    MAX_ID_LENGTH,
    is_identifier,
    parse_time,
)
from common_core.printable import PRINTABLE_PATTERN, is_printable
from common_core.verdicts import Reason, Verdict

MAX_ESSAYS = 2**31 - 1  # as many as an event can name
ESSAYS = "essays"  # what a question may include


def _read_moment(value: object) -> datetime:
    try:
        return parse_time(str(value))
    except (ValueError, OverflowError) as exc:
        raise ValueError("must be a date with a time, such as 2026-01-31T12:00:00Z") from exc


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


def _check_printable(text: str) -> str:
    if not is_printable(text):
        raise ValueError("must have no control characters and none that change direction")
    return text


CorrelationId = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_CORRELATION_LENGTH),
    AfterValidator(_check_printable),
    Field(json_schema_extra={"pattern": PRINTABLE_PATTERN}),
]
Moment = Annotated[datetime, BeforeValidator(_read_moment)]


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
    correlation_id: CorrelationId | None = None
    batch_metadata: BatchMetadata | None = None
    not_before: Moment | None = Field(
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

    @property
    def includes_essays(self) -> bool:
        """Whether the essays that still need each phase are asked for."""
        return ESSAYS in self.include

    @property
    def has_unusable_total(self) -> bool:
        """Whether a number of essays was sent that is none."""
        metadata = self.batch_metadata or BatchMetadata()
        return metadata.essays_total is not None and metadata.usable_total is None


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
