"""Where owed money goes by itself."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "refund_destinations",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "address",
            sa.Text(),
            nullable=False,
            comment="Lightning address or LNURL-pay, as the caller gave it",
        ),
        sa.Column(
            "state",
            sa.Enum(
                "waiting",
                "trying",
                "paying",
                "paid",
                "given_up",
                name="destinationstate",
                native_enum=False,
                length=40,
            ),
            server_default="waiting",
            nullable=False,
        ),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "claim",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="fencing token",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "trying_since",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="start of the three days",
        ),
        sa.Column(
            "failures",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="in a row, for the back-off",
        ),
        sa.Column("last_error", sa.Text(), nullable=True, comment="a code; the caller's sentence"),
        sa.Column("last_tried_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "payout_id",
            sa.BigInteger(),
            nullable=True,
            comment="the latest that was opened by itself",
        ),
        sa.CheckConstraint(
            "state IN ('waiting', 'trying', 'paying', 'paid', 'given_up')",
            name=op.f("ck_refund_destinations_state_known"),
        ),
        sa.CheckConstraint(
            "(state = 'trying') = (due_at IS NOT NULL)",
            name=op.f("ck_refund_destinations_trying_is_due"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('trying', 'paying') OR trying_since IS NOT NULL",
            name=op.f("ck_refund_destinations_tried_since"),
        ),
        sa.CheckConstraint(
            "state <> 'paying' OR payout_id IS NOT NULL",
            name=op.f("ck_refund_destinations_paying_has_payout"),
        ),
        sa.CheckConstraint(
            "state <> 'given_up' OR last_error IS NOT NULL",
            name=op.f("ck_refund_destinations_given_up_says_why"),
        ),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_refund_destinations_job_id")
        ),
        sa.ForeignKeyConstraint(
            ["payout_id"], ["payouts.id"], name=op.f("fk_refund_destinations_payout_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refund_destinations")),
        sa.UniqueConstraint("job_id", name=op.f("uq_refund_destinations_job_id")),
    )
    op.create_index(
        "ix_refund_destinations_due",
        "refund_destinations",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
