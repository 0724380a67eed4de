"""Keep outcomes that move nothing, whose each click was and when, and since when BCS doubts.

Revision ID: b1c2f40d9e31
Revises: b05a1e7c3d20
Create Date: 2026-11-26 11:35:12.402913+00:00
"""

import sqlalchemy as sa

from alembic import op

revision = "b1c2f40d9e31"
down_revision = "b05a1e7c3d20"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what is to be kept; who clicked, and when, is the run's of the clicks that are there."""
    op.create_table(
        "unused_outcomes",
        sa.Column("number", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("batch_id", sa.Text(collation="C"), nullable=False),
        sa.Column("correlation_id", sa.Uuid(), nullable=True),
        sa.Column("phase", sa.Text(collation="C"), nullable=False),
        sa.Column("status", sa.Text(collation="C"), nullable=False),
        sa.Column("effect", sa.Text(collation="C"), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_unused_outcomes")),
        schema="bos",
    )
    op.create_index(
        op.f("ix_unused_outcomes_batch_id"), "unused_outcomes", ["batch_id"], schema="bos"
    )
    op.add_column(
        "phase_runs", sa.Column("outcome", sa.Text(collation="C"), nullable=True), schema="bos"
    )
    op.add_column(
        "pipeline_runs",
        sa.Column("degraded_at", sa.DateTime(timezone=True), nullable=True),
        schema="bos",
    )
    op.add_column(
        "run_requests", sa.Column("user_id", sa.Text(collation="C"), nullable=True), schema="bos"
    )
    op.add_column(
        "run_requests",
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=True),
        schema="bos",
    )
    op.execute(
        "UPDATE bos.run_requests SET user_id = run.user_id, taken_at = run.accepted_at"
        " FROM bos.pipeline_runs AS run WHERE run.run_id = run_requests.run_id"
    )
    op.alter_column("run_requests", "user_id", nullable=False, schema="bos")
    op.alter_column("run_requests", "taken_at", nullable=False, schema="bos")
    # Only the run that is next in its batch has a time at which it is looked at.
    op.execute(
        "UPDATE bos.pipeline_runs AS run SET next_try_at = NULL WHERE state = 'accepted'"
        " AND EXISTS (SELECT FROM bos.pipeline_runs AS before WHERE before.batch_id = run.batch_id"
        " AND before.ended_at IS NULL AND before.number < run.number)"
    )


def downgrade() -> None:
    """Forget it again."""
    op.drop_column("run_requests", "taken_at", schema="bos")
    op.drop_column("run_requests", "user_id", schema="bos")
    op.drop_column("pipeline_runs", "degraded_at", schema="bos")
    op.drop_column("phase_runs", "outcome", schema="bos")
    op.drop_index(op.f("ix_unused_outcomes_batch_id"), table_name="unused_outcomes", schema="bos")
    op.drop_table("unused_outcomes", schema="bos")
