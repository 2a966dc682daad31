"""Which POSTs of a payout went to an LNbits whose "failed" is its node's word."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column(
        "payouts",
        sa.Column(
            "candid_posts",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment='POSTs to an LNbits that says "failed" only if its node does',
        ),
    )
    op.create_check_constraint(
        op.f("ck_payouts_candid_within_posts"), "payouts", "candid_posts <= posts"
    )
    # Nobody had asked how old the LNbits is that said so.
    op.execute("UPDATE payouts SET first_failed_at = NULL WHERE state = 'sending'")
