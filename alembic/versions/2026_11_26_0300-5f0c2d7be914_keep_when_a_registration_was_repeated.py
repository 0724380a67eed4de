"""Keep when a registration was repeated.

Versions before this one leave the column empty, and read rows that have it.

Revision ID: 5f0c2d7be914
Revises: 5d0c1f6a9b27
"""

import sqlalchemy as sa

from alembic import op

revision = "5f0c2d7be914"
down_revision = "5d0c1f6a9b27"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; existing rows need no value."""
    op.add_column(
        "batch_registrations", sa.Column("repeated_at", sa.DateTime(timezone=True), nullable=True)
    )


def downgrade() -> None:
    """Forget the repetitions."""
    op.drop_column("batch_registrations", "repeated_at")
