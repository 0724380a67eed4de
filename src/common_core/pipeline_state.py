"""The runs of a batch, as BOS shows them."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel


class PhaseState(BaseModel):
    """Where a phase of a run stands; the counts are of the essays that it was commanded for."""

    name: str
    status: str
    completed: int
    failed: int
    total: int
    skip_reason: str | None
    stalled: bool


class RunState(BaseModel):
    """A run, with every click that led to it."""

    run_id: UUID
    request_ids: list[UUID]
    pipeline: str
    state: str
    reason: str | None
    phases: list[PhaseState]
    correlation_id: UUID
    accepted_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class PipelineState(BaseModel):
    """A batch with its runs, newest first, at most 20."""

    batch_id: str
    user_id: str
    batch_status: str
    runs: list[RunState]
