"""What is asked every second costs no more when millions of jobs have ended."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_REWRITTEN_OFTEN = ("jobs", "invoices", "payouts", "refund_destinations", "runs")
"""Each row has been due some times, and what is due next is found behind all its dead entries."""


def upgrade() -> None:
    op.create_index(op.f("ix_receipts_invoice_id"), "receipts", ["invoice_id"], unique=False)
    op.create_index(
        "ix_debts_owed",
        "debts",
        ["id"],
        unique=False,
        postgresql_where=sa.text("state = 'owed'"),
    )
    op.create_index(
        "ix_runs_ended",
        "runs",
        ["ended_at"],
        unique=False,
        postgresql_where=sa.text("ended_at IS NOT NULL"),
    )
    op.create_index(
        "ix_payouts_settled",
        "payouts",
        ["settled_at"],
        unique=False,
        postgresql_where=sa.text("settled_at IS NOT NULL"),
    )
    op.drop_index("ix_jobs_created_at", table_name="jobs")
    for table in _REWRITTEN_OFTEN:
        op.execute(f"ALTER TABLE {table} SET (autovacuum_vacuum_scale_factor = 0.01)")
