"""Make the first tables.

Revision ID: 10c344b07c91
Revises:
Create Date: 2026-11-22 00:05:11.174950+00:00
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from alembic import op

revision = "10c344b07c91"
down_revision = None
branch_labels = None
depends_on = None

TEXT = sa.Text(collation="C")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables of what is told, and the one of what follows from it."""
    op.create_table(
        "essay_step_evidence",
        sa.Column("batch_id", TEXT, nullable=False),
        sa.Column("essay_id", TEXT, nullable=False),
        sa.Column("step_name", TEXT, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("occurred_at", TIME, nullable=False),
        sa.Column("storage_id", TEXT, nullable=True),
        sa.Column("recorded_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint(
            "batch_id", "essay_id", "step_name", "source", name="pk_essay_step_evidence"
        ),
        sa.CheckConstraint(
            "status IN ('pending', 'completed', 'failed')",
            name=op.f("ck_essay_step_evidence_status_known"),
        ),
    )
    op.create_table(
        "phase_outcomes",
        sa.Column("batch_id", TEXT, nullable=False),
        sa.Column("step_name", TEXT, nullable=False),
        sa.Column("fingerprint", TEXT, nullable=False),
        sa.Column("occurred_at", TIME, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("verdict", TEXT, nullable=False),
        sa.Column("reported_total", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "step_name", "fingerprint", name="pk_phase_outcomes"),
        sa.CheckConstraint(
            "verdict IN ('confirms', 'partial', 'refutes', 'reports')",
            name=op.f("ck_phase_outcomes_verdict_known"),
        ),
        sa.CheckConstraint(
            "reported_total >= 0", name=op.f("ck_phase_outcomes_reported_total_not_negative")
        ),
    )
    op.create_table(
        "batch_registrations",
        sa.Column("batch_id", TEXT, nullable=False),
        sa.Column("fingerprint", TEXT, nullable=False),
        sa.Column("occurred_at", TIME, nullable=False),
        sa.Column("essays_total", sa.Integer(), nullable=False),
        sa.Column("essay_ids", ARRAY(TEXT), nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "fingerprint", name="pk_batch_registrations"),
        sa.CheckConstraint(
            "essays_total >= 0", name=op.f("ck_batch_registrations_essays_total_not_negative")
        ),
    )
    op.create_table(
        "processing_pipeline_state",
        sa.Column("batch_id", TEXT, nullable=False),
        sa.Column("step_name", TEXT, nullable=False),
        sa.Column("completed_count", sa.Integer(), nullable=False),
        sa.Column("failed_count", sa.Integer(), nullable=False),
        sa.Column("essays_total", sa.Integer(), nullable=True),
        sa.Column("last_observed_at", TIME, nullable=True),
        sa.Column("updated_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "step_name", name="pk_processing_pipeline_state"),
        sa.CheckConstraint(
            "completed_count >= 0",
            name=op.f("ck_processing_pipeline_state_completed_count_not_negative"),
        ),
        sa.CheckConstraint(
            "failed_count >= 0",
            name=op.f("ck_processing_pipeline_state_failed_count_not_negative"),
        ),
    )


def downgrade() -> None:
    """Drop the tables, with all that was ever told."""
    op.drop_table("processing_pipeline_state")
    op.drop_table("batch_registrations")
    op.drop_table("phase_outcomes")
    op.drop_table("essay_step_evidence")
