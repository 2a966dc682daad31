"""Reconcile: what it found, what it remembers; and which rules were found broken."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "reconciliations",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column(
            "at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column(
            "verdict",
            sa.Enum("clean", "shortfall", "surplus", name="verdict", native_enum=False, length=40),
            nullable=False,
        ),
        sa.Column("confirmed", sa.Boolean(), nullable=False),
        sa.Column("wallet_msats", sa.BigInteger(), nullable=False, comment="millisatoshis"),
        sa.Column("least_msats", sa.BigInteger(), nullable=False, comment="millisatoshis"),
        sa.Column("most_msats", sa.BigInteger(), nullable=False, comment="millisatoshis"),
        sa.Column("waiting_moves", sa.Integer(), nullable=False),
        sa.Column("paying_wallet_id", sa.Text(), nullable=False, comment="as LNbits calls it"),
        sa.Column(
            "outgoing_read_to",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="paying wallet; by the clock of LNbits",
        ),
        sa.Column(
            "topped_up_read_to",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="paying wallet; by the clock of LNbits",
        ),
        sa.Column(
            "withdrawn_read_to",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="income wallet; by the clock of LNbits",
        ),
        sa.Column(
            "folded_to",
            sa.BigInteger(),
            nullable=False,
            comment="ledger entries up to here are in the two sums",
        ),
        sa.Column("folded_in_msats", sa.BigInteger(), nullable=False, comment="millisatoshis"),
        sa.Column("folded_out_msats", sa.BigInteger(), nullable=False, comment="millisatoshis"),
        sa.CheckConstraint(
            "verdict IN ('clean', 'shortfall', 'surplus')",
            name=op.f("ck_reconciliations_verdict_known"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reconciliations")),
    )
    op.create_table(
        "wallet_moves",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "sent",
                "topped_up",
                "received",
                "stated",
                name="movekind",
                native_enum=False,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "state",
            sa.Enum(
                "pending",
                "waiting",
                "booked",
                "adopted",
                "transfer",
                "void",
                name="movestate",
                native_enum=False,
                length=40,
            ),
            server_default="waiting",
            nullable=False,
        ),
        sa.Column("wallet_id", sa.Text(), nullable=False, comment="as LNbits calls it"),
        sa.Column("payment_hash", sa.Text(), nullable=True),
        sa.Column("payment_request", sa.Text(), nullable=True),
        sa.Column("amount_msats", sa.BigInteger(), nullable=False, comment="millisatoshis"),
        sa.Column(
            "changed_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="by the clock of LNbits; decides nothing",
        ),
        sa.Column(
            "marked_job_id",
            sa.BigInteger(),
            nullable=True,
            comment="the job that its mark names; not proved",
        ),
        sa.Column("marked_job_digits", sa.Text(), nullable=True),
        sa.Column(
            "seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("note", sa.Text(), nullable=True, comment="the words of whoever booked it"),
        sa.CheckConstraint(
            "(state = 'booked') = (note IS NOT NULL)", name=op.f("ck_wallet_moves_booked_has_note")
        ),
        sa.CheckConstraint(
            "kind IN ('sent', 'topped_up', 'received', 'stated')",
            name=op.f("ck_wallet_moves_kind_known"),
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'waiting', 'booked', 'adopted', 'transfer', 'void')",
            name=op.f("ck_wallet_moves_state_known"),
        ),
        sa.CheckConstraint("amount_msats <> 0", name=op.f("ck_wallet_moves_moves_something")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wallet_moves")),
        sa.UniqueConstraint(
            "payment_hash",
            "kind",
            "wallet_id",
            name=op.f("uq_wallet_moves_payment_hash_kind_wallet_id"),
        ),
    )
    op.create_index(
        "ix_wallet_moves_open",
        "wallet_moves",
        ["id"],
        unique=False,
        postgresql_where=sa.text("state IN ('pending', 'waiting')"),
    )
    op.create_table(
        "violations",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "first_seen_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("mended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_violations_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_violations")),
    )
    op.create_index(
        "uq_violations_open",
        "violations",
        ["rule", "job_id"],
        unique=True,
        postgresql_where=sa.text("mended_at IS NULL"),
    )
    op.create_index(
        "ix_receipts_unmatched",
        "receipts",
        ["id"],
        unique=False,
        postgresql_where=sa.text("invoice_id IS NULL"),
    )
