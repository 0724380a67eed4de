"""Note when something was last said of a batch.

Revision ID: 5d0c1f6a9b27
Revises: 10c344b07c91
Create Date: 2026-11-26 02:40:00.000000+00:00
"""

import sqlalchemy as sa

from alembic import op

revision = "5d0c1f6a9b27"
down_revision = "10c344b07c91"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table; of the batches that are there, take it that something was said just now."""
    op.create_table(
        "batch_activity",
        sa.Column("batch_id", sa.Text(collation="C"), nullable=False),
        sa.Column("last_said_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("batch_id", name="pk_batch_activity"),
    )
    op.execute("""
        INSERT INTO batch_activity (batch_id, last_said_at)
        SELECT batch_id, now() FROM (
            SELECT batch_id FROM essay_step_evidence
            UNION SELECT batch_id FROM phase_outcomes
            UNION SELECT batch_id FROM batch_registrations
            UNION SELECT batch_id FROM processing_pipeline_state
        ) AS known
    """)
    op.create_index(
        op.f("ix_batch_activity_last_said_at_batch_id"),
        "batch_activity",
        ["last_said_at", "batch_id"],
    )


def downgrade() -> None:
    """Drop the table, with all the times."""
    op.drop_table("batch_activity")
