"""The tables, from which Alembic derives its revisions; nothing creates them from here.

All of one batch is written under one lock: that of its row in `batches`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, ForeignKey, Identity, Index, MetaData, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from service_libs.postgres.engine import ServiceDatabase

SCHEMA = "bos"
DATABASE = ServiceDatabase(
    application_name="batch-orchestrator-service", setting="BOS_DATABASE_URL"
)
NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """What all tables share."""

    metadata = MetaData(schema=SCHEMA, naming_convention=NAMING_CONVENTION)
    type_annotation_map: ClassVar[Mapping[Any, Any]] = {
        str: Text(collation="C"),
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        list[str]: ARRAY(Text(collation="C")),
    }


class BatchRow(Base):
    """A batch. One that was only asked for has no owner yet."""

    __tablename__ = "batches"
    __table_args__ = (Index("ix_batches_said_at", "said_at"),)

    batch_id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str | None]
    course_code: Mapped[str] = mapped_column(server_default="")
    expected: Mapped[int] = mapped_column(server_default="0")
    is_guest: Mapped[bool] = mapped_column(server_default=text("false"))
    prompt_ref: Mapped[dict[str, Any] | None]
    has_ready_essays: Mapped[bool] = mapped_column(server_default=text("false"))
    is_provisioned: Mapped[bool] = mapped_column(server_default=text("false"))
    outcome_at: Mapped[datetime | None]
    said_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class EssayRow(Base):
    """An essay of a batch, with its original text."""

    __tablename__ = "batch_essays"

    batch_id: Mapped[str] = mapped_column(ForeignKey(BatchRow.batch_id), primary_key=True)
    essay_id: Mapped[str] = mapped_column(primary_key=True)
    text_id: Mapped[str]


class RunRow(Base):
    """A run of a pipeline over a batch."""

    __tablename__ = "pipeline_runs"
    __table_args__ = (
        Index("ix_pipeline_runs_batch_id_number", "batch_id", "number"),
        # One run of a batch is open; whatever else goes wrong, never two.
        Index(
            "uq_pipeline_runs_open",
            "batch_id",
            unique=True,
            postgresql_where=text("state IN ('resolving', 'running')"),
        ),
        Index(
            "ix_pipeline_runs_next_try_at",
            "next_try_at",
            postgresql_where=text("next_try_at IS NOT NULL"),
        ),
        Index("ix_pipeline_runs_not_ended", "number", postgresql_where=text("ended_at IS NULL")),
        Index(
            "ix_pipeline_runs_ended_at",
            "ended_at",
            postgresql_where=text("ended_at IS NOT NULL"),
        ),
    )

    run_id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    batch_id: Mapped[str] = mapped_column(ForeignKey(BatchRow.batch_id))
    pipeline: Mapped[str]
    user_id: Mapped[str]
    correlation_id: Mapped[UUID]
    client_correlation_id: Mapped[UUID]
    is_retry: Mapped[bool]
    retry_reason: Mapped[str | None]
    assignment_id: Mapped[str | None]
    cms_prompt_ref: Mapped[dict[str, Any] | None]
    state: Mapped[str]
    reason: Mapped[str | None]
    pipeline_version: Mapped[str | None]
    accepted_at: Mapped[datetime]
    tried_at: Mapped[datetime | None]
    degraded_at: Mapped[datetime | None]
    next_try_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class RequestRow(Base):
    """A click, and the run that it leads to, for ever."""

    __tablename__ = "run_requests"

    request_id: Mapped[UUID] = mapped_column(primary_key=True)
    batch_id: Mapped[str] = mapped_column(ForeignKey(BatchRow.batch_id), index=True)
    run_id: Mapped[UUID] = mapped_column(ForeignKey(RunRow.run_id, ondelete="CASCADE"), index=True)
    user_id: Mapped[str]
    fingerprint: Mapped[str]
    position: Mapped[int]
    taken_at: Mapped[datetime]


class PhaseRow(Base):
    """A phase of a run."""

    __tablename__ = "phase_runs"
    __table_args__ = (
        Index(
            "ix_phase_runs_deadline_at",
            "deadline_at",
            postgresql_where=text("deadline_at IS NOT NULL AND ended_at IS NULL"),
        ),
    )

    run_id: Mapped[UUID] = mapped_column(
        ForeignKey(RunRow.run_id, ondelete="CASCADE"), primary_key=True
    )
    phase: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int]
    status: Mapped[str]
    event_type: Mapped[str]
    depends_on: Mapped[list[str]]
    skip_reason: Mapped[str | None]
    attempt: Mapped[int]
    pending: Mapped[list[str] | None] = mapped_column(ARRAY(Text(collation="C")))
    dispatched: Mapped[list[str]]
    left_out: Mapped[list[str]]
    processed: Mapped[list[str]]
    outcome: Mapped[str | None]
    dispatched_at: Mapped[datetime | None]
    deadline_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    stall_reported_at: Mapped[datetime | None]


class OutputRow(Base):
    """The newest text that a phase made of an essay."""

    __tablename__ = "phase_outputs"

    batch_id: Mapped[str] = mapped_column(ForeignKey(BatchRow.batch_id), primary_key=True)
    phase: Mapped[str] = mapped_column(primary_key=True)
    essay_id: Mapped[str] = mapped_column(primary_key=True)
    text_id: Mapped[str]
    made_at: Mapped[datetime]


class OutboxRow(Base):
    """A message that was decided together with the state it follows from, as it is to be sent."""

    __tablename__ = "outbox"
    __table_args__ = (
        Index("ix_outbox_unsent", "number", postgresql_where=text("sent_at IS NULL")),
    )

    message_id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    batch_id: Mapped[str] = mapped_column(ForeignKey(BatchRow.batch_id), index=True)
    run_id: Mapped[UUID]
    phase: Mapped[str | None]
    topic: Mapped[str]
    value: Mapped[bytes]
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]


class AuditRow(Base):
    """Who asked for what, and what was decided; of an operator, what was done to which run.

    `user_id` is then the operator's name, and `phase` the one whose command was sent again.
    """

    __tablename__ = "audit"

    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[datetime]
    user_id: Mapped[str]
    batch_id: Mapped[str] = mapped_column(index=True)
    pipeline: Mapped[str]
    request_id: Mapped[UUID | None]
    run_id: Mapped[UUID | None]
    decision: Mapped[str]
    is_operator: Mapped[bool] = mapped_column(server_default=text("false"))
    phase: Mapped[str | None]


class UnusedOutcomeRow(Base):
    """An outcome that moved nothing, and why: what a person looks for when a run stands still."""

    __tablename__ = "unused_outcomes"

    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[datetime]
    batch_id: Mapped[str] = mapped_column(index=True)
    correlation_id: Mapped[UUID | None]
    phase: Mapped[str]
    status: Mapped[str]
    effect: Mapped[str]


class ReplayRow(Base):
    """Where a partition is to be read again from; all rows are one request's."""

    __tablename__ = "replay_requests"

    topic: Mapped[str] = mapped_column(primary_key=True)
    partition: Mapped[int] = mapped_column(primary_key=True)
    request_id: Mapped[str]
    first: Mapped[int] = mapped_column(BigInteger)
    is_settled: Mapped[bool] = mapped_column(server_default=text("false"))
    asked_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
