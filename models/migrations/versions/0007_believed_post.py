"""After which POST of a payout "failed" is its node's word, by number and not by time."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column(
        "payouts",
        sa.Column(
            "believed_post",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment='number of the last POST after which "failed" is the word of LNbits\' node',
        ),
    )
    op.add_column(
        "payouts",
        sa.Column(
            "posts_at_first_failed",
            sa.Integer(),
            nullable=True,
            comment="POSTs before the first reading that said failed, of a row still there",
        ),
    )
    # Which POST came before that reading is not known: who failed is asked once more.
    op.execute("UPDATE payouts SET posts_at_first_failed = posts WHERE first_failed_at IS NOT NULL")
    op.create_check_constraint(
        op.f("ck_payouts_believed_within_posts"), "payouts", "believed_post <= posts"
    )
    op.create_check_constraint(
        op.f("ck_payouts_failed_reading_whole"),
        "payouts",
        "(first_failed_at IS NULL) = (posts_at_first_failed IS NULL)",
    )
    op.create_check_constraint(
        op.f("ck_payouts_failed_reading_after_a_post"),
        "payouts",
        "posts_at_first_failed BETWEEN 1 AND posts",
    )
    op.alter_column(
        "payouts",
        "first_failed_at",
        comment="first reading that said failed, of a row still there",
        existing_comment="first reading that said failed",
    )
