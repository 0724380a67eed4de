"""Ask running consumers to read again; say in the audit what operators did.

Revision ID: b3e90c815f27
Revises: b2d7701a5c44
Create Date: 2026-11-26 12:58:07.402913+00:00
"""

import sqlalchemy as sa

from alembic import op

revision = "b3e90c815f27"
down_revision = "b2d7701a5c44"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table of requests, and the audit's columns: what stands there, clients asked for."""
    op.create_table(
        "replay_requests",
        sa.Column("topic", sa.Text(collation="C"), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.Text(collation="C"), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("is_settled", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column(
            "asked_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("topic", "partition", name=op.f("pk_replay_requests")),
        schema="bos",
    )
    op.add_column(
        "audit",
        sa.Column("is_operator", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        schema="bos",
    )
    op.add_column("audit", sa.Column("phase", sa.Text(collation="C")), schema="bos")


def downgrade() -> None:
    """Drop them again."""
    op.drop_column("audit", "phase", schema="bos")
    op.drop_column("audit", "is_operator", schema="bos")
    op.drop_table("replay_requests", schema="bos")
