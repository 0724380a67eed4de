"""Make the tables of batches, runs and the outbox.

Revision ID: b05a1e7c3d20
Revises:
Create Date: 2026-11-26 06:39:25.701108+00:00
"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op

revision = "b05a1e7c3d20"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "audit",
        sa.Column("number", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("user_id", sa.Text(collation="C"), nullable=False),
        sa.Column("batch_id", sa.Text(collation="C"), nullable=False),
        sa.Column("pipeline", sa.Text(collation="C"), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=True),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("decision", sa.Text(collation="C"), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit")),
        schema="bos",
    )
    op.create_index(op.f("ix_audit_batch_id"), "audit", ["batch_id"], unique=False, schema="bos")
    op.create_table(
        "batches",
        sa.Column("batch_id", sa.Text(collation="C"), nullable=False),
        sa.Column("user_id", sa.Text(collation="C"), nullable=True),
        sa.Column("course_code", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("expected", sa.Integer(), server_default="0", nullable=False),
        sa.Column("is_guest", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("prompt_ref", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column(
            "has_ready_essays", sa.Boolean(), server_default=sa.text("false"), nullable=False
        ),
        sa.Column("is_provisioned", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("outcome_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("batch_id", name=op.f("pk_batches")),
        schema="bos",
    )
    op.create_table(
        "batch_essays",
        sa.Column("batch_id", sa.Text(collation="C"), nullable=False),
        sa.Column("essay_id", sa.Text(collation="C"), nullable=False),
        sa.Column("text_id", sa.Text(collation="C"), nullable=False),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["bos.batches.batch_id"], name=op.f("fk_batch_essays_batch_id_batches")
        ),
        sa.PrimaryKeyConstraint("batch_id", "essay_id", name=op.f("pk_batch_essays")),
        schema="bos",
    )
    op.create_table(
        "outbox",
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("batch_id", sa.Text(collation="C"), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("phase", sa.Text(collation="C"), nullable=True),
        sa.Column("topic", sa.Text(collation="C"), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["bos.batches.batch_id"], name=op.f("fk_outbox_batch_id_batches")
        ),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_outbox")),
        schema="bos",
    )
    op.create_index(op.f("ix_outbox_batch_id"), "outbox", ["batch_id"], unique=False, schema="bos")
    op.create_index(
        "ix_outbox_unsent",
        "outbox",
        ["number"],
        unique=False,
        schema="bos",
        postgresql_where=sa.text("sent_at IS NULL"),
    )
    op.create_table(
        "phase_outputs",
        sa.Column("batch_id", sa.Text(collation="C"), nullable=False),
        sa.Column("phase", sa.Text(collation="C"), nullable=False),
        sa.Column("essay_id", sa.Text(collation="C"), nullable=False),
        sa.Column("text_id", sa.Text(collation="C"), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["bos.batches.batch_id"], name=op.f("fk_phase_outputs_batch_id_batches")
        ),
        sa.PrimaryKeyConstraint("batch_id", "phase", "essay_id", name=op.f("pk_phase_outputs")),
        schema="bos",
    )
    op.create_table(
        "pipeline_runs",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("batch_id", sa.Text(collation="C"), nullable=False),
        sa.Column("pipeline", sa.Text(collation="C"), nullable=False),
        sa.Column("user_id", sa.Text(collation="C"), nullable=False),
        sa.Column("correlation_id", sa.Uuid(), nullable=False),
        sa.Column("client_correlation_id", sa.Uuid(), nullable=False),
        sa.Column("is_retry", sa.Boolean(), nullable=False),
        sa.Column("retry_reason", sa.Text(collation="C"), nullable=True),
        sa.Column("assignment_id", sa.Text(collation="C"), nullable=True),
        sa.Column("cms_prompt_ref", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("state", sa.Text(collation="C"), nullable=False),
        sa.Column("reason", sa.Text(collation="C"), nullable=True),
        sa.Column("pipeline_version", sa.Text(collation="C"), nullable=True),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tried_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_try_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["bos.batches.batch_id"], name=op.f("fk_pipeline_runs_batch_id_batches")
        ),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_pipeline_runs")),
        schema="bos",
    )
    op.create_index(
        "ix_pipeline_runs_batch_id_number",
        "pipeline_runs",
        ["batch_id", "number"],
        unique=False,
        schema="bos",
    )
    op.create_index(
        "ix_pipeline_runs_next_try_at",
        "pipeline_runs",
        ["next_try_at"],
        unique=False,
        schema="bos",
        postgresql_where=sa.text("next_try_at IS NOT NULL"),
    )
    op.create_index(
        "uq_pipeline_runs_open",
        "pipeline_runs",
        ["batch_id"],
        unique=True,
        schema="bos",
        postgresql_where=sa.text("state IN ('resolving', 'running')"),
    )
    op.create_table(
        "phase_runs",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("phase", sa.Text(collation="C"), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(collation="C"), nullable=False),
        sa.Column("event_type", sa.Text(collation="C"), nullable=False),
        sa.Column("depends_on", postgresql.ARRAY(sa.Text(collation="C")), nullable=False),
        sa.Column("skip_reason", sa.Text(collation="C"), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("pending", postgresql.ARRAY(sa.Text(collation="C")), nullable=True),
        sa.Column("dispatched", postgresql.ARRAY(sa.Text(collation="C")), nullable=False),
        sa.Column("left_out", postgresql.ARRAY(sa.Text(collation="C")), nullable=False),
        sa.Column("processed", postgresql.ARRAY(sa.Text(collation="C")), nullable=False),
        sa.Column("dispatched_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stall_reported_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["bos.pipeline_runs.run_id"],
            name=op.f("fk_phase_runs_run_id_pipeline_runs"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("run_id", "phase", name=op.f("pk_phase_runs")),
        schema="bos",
    )
    op.create_index(
        "ix_phase_runs_deadline_at",
        "phase_runs",
        ["deadline_at"],
        unique=False,
        schema="bos",
        postgresql_where=sa.text("deadline_at IS NOT NULL AND ended_at IS NULL"),
    )
    op.create_table(
        "run_requests",
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("batch_id", sa.Text(collation="C"), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("fingerprint", sa.Text(collation="C"), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["bos.batches.batch_id"], name=op.f("fk_run_requests_batch_id_batches")
        ),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["bos.pipeline_runs.run_id"],
            name=op.f("fk_run_requests_run_id_pipeline_runs"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_run_requests")),
        schema="bos",
    )
    op.create_index(
        op.f("ix_run_requests_batch_id"), "run_requests", ["batch_id"], unique=False, schema="bos"
    )


def downgrade() -> None:
    """Drop the tables; the schema stays, for the revision is kept in it."""
    op.drop_index(op.f("ix_run_requests_batch_id"), table_name="run_requests", schema="bos")
    op.drop_table("run_requests", schema="bos")
    op.drop_index(
        "ix_phase_runs_deadline_at",
        table_name="phase_runs",
        schema="bos",
        postgresql_where=sa.text("deadline_at IS NOT NULL AND ended_at IS NULL"),
    )
    op.drop_table("phase_runs", schema="bos")
    op.drop_index(
        "uq_pipeline_runs_open",
        table_name="pipeline_runs",
        schema="bos",
        postgresql_where=sa.text("state IN ('resolving', 'running')"),
    )
    op.drop_index(
        "ix_pipeline_runs_next_try_at",
        table_name="pipeline_runs",
        schema="bos",
        postgresql_where=sa.text("next_try_at IS NOT NULL"),
    )
    op.drop_index("ix_pipeline_runs_batch_id_number", table_name="pipeline_runs", schema="bos")
    op.drop_table("pipeline_runs", schema="bos")
    op.drop_table("phase_outputs", schema="bos")
    op.drop_index(
        "ix_outbox_unsent",
        table_name="outbox",
        schema="bos",
        postgresql_where=sa.text("sent_at IS NULL"),
    )
    op.drop_index(op.f("ix_outbox_batch_id"), table_name="outbox", schema="bos")
    op.drop_table("outbox", schema="bos")
    op.drop_table("batch_essays", schema="bos")
    op.drop_table("batches", schema="bos")
    op.drop_index(op.f("ix_audit_batch_id"), table_name="audit", schema="bos")
    op.drop_table("audit", schema="bos")
