"""A rule may be broken by an account of the ledger, which is no job and no run."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column(
        "violations", sa.Column("account", sa.Text(), nullable=True, comment="of the ledger")
    )
    op.drop_constraint(op.f("ck_violations_of_job_or_run"), "violations", type_="check")
    op.create_check_constraint(
        op.f("ck_violations_of_job_run_or_account"),
        "violations",
        "num_nonnulls(job_id, run_id, account) = 1",
    )
    op.create_index(
        "uq_violations_open_account",
        "violations",
        ["rule", "account"],
        unique=True,
        postgresql_where=sa.text("mended_at IS NULL"),
    )
