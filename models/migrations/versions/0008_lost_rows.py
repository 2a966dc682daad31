"""Whether LNbits has shown a row of a payout, and whether a person says that it failed."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column(
        "payouts",
        sa.Column(
            "row_was_read",
            sa.Boolean(),
            server_default=sa.false(),
            nullable=False,
            comment="LNbits has shown a row of it: that there is none any more proves nothing",
        ),
    )
    op.add_column(
        "payouts",
        sa.Column(
            "vouched_posts",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="POSTs there had been when a person said that it failed; 0 = nobody does",
        ),
    )
    op.create_check_constraint(
        op.f("ck_payouts_vouched_within_posts"), "payouts", "vouched_posts <= posts"
    )
    op.execute(
        "UPDATE payouts SET row_was_read = true"
        " WHERE first_failed_at IS NOT NULL OR last_code IN ('pending', 'failed')"
    )
