"""Refused runs go after some days, those of before with them; a look-up by run for that."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_index(
        "ix_violations_run",
        "violations",
        ["run_id"],
        postgresql_where=sa.text("run_id IS NOT NULL"),
    )
    op.execute(
        "UPDATE runs SET pruned_at = NULL, payment = '{\"isOfOneKey\": false}'"
        " WHERE state = 'refused'"
    )
