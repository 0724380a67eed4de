"""Find what is old, and what has not ended, by an index.

Revision ID: b2d7701a5c44
Revises: b1c2f40d9e31
Create Date: 2026-11-26 11:43:51.118240+00:00
"""

import sqlalchemy as sa

from alembic import op

revision = "b2d7701a5c44"
down_revision = "b1c2f40d9e31"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Note when a batch was last said of, from now on; add the indexes."""
    op.add_column(
        "batches",
        sa.Column(
            "said_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        schema="bos",
    )
    op.create_index("ix_batches_said_at", "batches", ["said_at"], schema="bos")
    op.create_index(
        "ix_pipeline_runs_not_ended",
        "pipeline_runs",
        ["number"],
        schema="bos",
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_index(
        "ix_pipeline_runs_ended_at",
        "pipeline_runs",
        ["ended_at"],
        schema="bos",
        postgresql_where=sa.text("ended_at IS NOT NULL"),
    )
    op.create_index(op.f("ix_run_requests_run_id"), "run_requests", ["run_id"], schema="bos")


def downgrade() -> None:
    """Drop them again."""
    op.drop_index(op.f("ix_run_requests_run_id"), table_name="run_requests", schema="bos")
    op.drop_index("ix_pipeline_runs_ended_at", table_name="pipeline_runs", schema="bos")
    op.drop_index("ix_pipeline_runs_not_ended", table_name="pipeline_runs", schema="bos")
    op.drop_index("ix_batches_said_at", table_name="batches", schema="bos")
    op.drop_column("batches", "said_at", schema="bos")
