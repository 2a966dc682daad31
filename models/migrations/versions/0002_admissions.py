"""Leave to ask Lightning for an invoice, so that limits count what is still being made."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "admissions",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column(
            "client_key",
            sa.Text(),
            nullable=False,
            comment="client address; IPv6 by /64",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "ended_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="its job is there, or there will be none",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_admissions")),
    )
    op.create_index("ix_admissions_created_at", "admissions", ["created_at"], unique=False)
    op.create_index(
        "ix_admissions_open_by_client",
        "admissions",
        ["client_key"],
        unique=False,
        postgresql_where=sa.text("ended_at IS NULL"),
    )
