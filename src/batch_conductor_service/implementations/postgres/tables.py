"""The tables, from which Alembic derives its revisions; nothing creates them from here.

Text is collated "C": keys then sort as Python sorts them, and a storage id wins a tie here as it
does in `domain.statements`, whatever the locale of the database.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import CheckConstraint, DateTime, Index, MetaData, Text, func
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from batch_conductor_service.models import OutcomeVerdict, ProcessingStepStatus
from service_libs.postgres.engine import ServiceDatabase

DATABASE = ServiceDatabase(application_name="batch-conductor-service", setting="BCS_DATABASE_URL")
NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """What all tables share."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map: ClassVar[Mapping[Any, Any]] = {
        str: Text(collation="C"),
        datetime: DateTime(timezone=True),
        list[str]: ARRAY(Text(collation="C")),
    }


def _one_of(column: str, values: type[StrEnum]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


def _not_negative(column: str) -> CheckConstraint:
    return CheckConstraint(f"{column} >= 0", name=f"{column}_not_negative")


class EssayStepEvidenceRow(Base):
    """What one source says of one essay in one step; the source is empty for the essay's own."""

    __tablename__ = "essay_step_evidence"
    __table_args__ = (_one_of("status", ProcessingStepStatus),)

    batch_id: Mapped[str] = mapped_column(primary_key=True)
    essay_id: Mapped[str] = mapped_column(primary_key=True)
    step_name: Mapped[str] = mapped_column(primary_key=True)
    source: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str]
    occurred_at: Mapped[datetime]
    storage_id: Mapped[str | None]
    recorded_at: Mapped[datetime] = mapped_column(server_default=func.now())


class PhaseOutcomeRow(Base):
    """How a phase ended for a batch; one row a content.

    The time is that of the earliest copy of a success, of the latest of anything else.
    """

    __tablename__ = "phase_outcomes"
    __table_args__ = (_one_of("verdict", OutcomeVerdict), _not_negative("reported_total"))

    batch_id: Mapped[str] = mapped_column(primary_key=True)
    step_name: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str] = mapped_column(primary_key=True)
    occurred_at: Mapped[datetime]
    status: Mapped[str]
    verdict: Mapped[str]
    reported_total: Mapped[int]


class BatchRegistrationRow(Base):
    """How many essays a batch has, and which; one row a content.

    `occurred_at` is the time of the earliest copy, `repeated_at` that of the latest; versions that
    did not know of repetitions leave it empty.
    """

    __tablename__ = "batch_registrations"
    __table_args__ = (_not_negative("essays_total"),)

    batch_id: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str] = mapped_column(primary_key=True)
    occurred_at: Mapped[datetime]
    essays_total: Mapped[int]
    essay_ids: Mapped[list[str]]
    repeated_at: Mapped[datetime | None]


class PipelineStateRow(Base):
    """The progress of one step of a batch, recounted from the other tables; for people to read."""

    __tablename__ = "processing_pipeline_state"
    __table_args__ = (_not_negative("completed_count"), _not_negative("failed_count"))

    batch_id: Mapped[str] = mapped_column(primary_key=True)
    step_name: Mapped[str] = mapped_column(primary_key=True)
    completed_count: Mapped[int]
    failed_count: Mapped[int]
    essays_total: Mapped[int | None]
    last_observed_at: Mapped[datetime | None]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class BatchActivityRow(Base):
    """When something was last said of a batch, to the hour: what the retention goes by."""

    __tablename__ = "batch_activity"
    __table_args__ = (Index(None, "last_said_at", "batch_id"),)

    batch_id: Mapped[str] = mapped_column(primary_key=True)
    last_said_at: Mapped[datetime]
