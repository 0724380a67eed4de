"""What callers get."""

from datetime import datetime
from enum import StrEnum
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, Field

from common_core.pipeline_state import PhaseState


class Links(BaseModel):
    """Where to go on."""

    status: str = Field(description="Where the batch's status is.")


class PipelineAccepted(BaseModel):
    """The request is on its way; what becomes of it is in the batch's status."""

    status: Literal["accepted"] = "accepted"
    message: str
    batch_id: str
    correlation_id: UUID = Field(description="Of the run that the request leads to.")
    request_id: UUID = Field(description="Stands among the status's requests once BOS has it.")
    accepted_at: datetime
    links: Links


class ClientStatus(StrEnum):
    """How a batch is doing."""

    PENDING_CONTENT = "pending_content"
    READY = "ready"
    PROCESSING = "processing"
    COMPLETED_SUCCESSFULLY = "completed_successfully"
    COMPLETED_WITH_FAILURES = "completed_with_failures"
    FAILED = "failed"


class RequestState(BaseModel):
    """A request, and what became of it."""

    request_id: UUID
    pipeline: str
    state: str = Field(
        description="accepted, resolving, running, completed_successfully, "
        "completed_with_failures, failed_critically, nothing_to_do, rejected or cancelled."
    )
    reason: str | None = Field(description="Why it waits, or was rejected.")
    correlation_id: UUID
    accepted_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class StatusDetails(BaseModel):
    """The phases of the newest run that was not rejected, and the requests, newest first."""

    phases: list[PhaseState]
    current_phase: str | None = Field(description="The phase that is being worked on.")
    requests: list[RequestState]


class BatchStatus(BaseModel):
    """How a batch is doing."""

    batch_id: str
    status: ClientStatus
    details: StatusDetails
