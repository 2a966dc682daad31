"""Jobs, invoices, receipts, debts, payouts, the ledger, the journal, events, ticks and prices."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "btc_prices",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column(
            "price_usd",
            sa.Numeric(precision=20, scale=10),
            nullable=False,
            comment="US dollars",
        ),
        sa.Column("feeds", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "fetched_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("price_usd > 0", name=op.f("ck_btc_prices_price_positive")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_btc_prices")),
    )
    op.create_table(
        "demo_runs",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "waiting",
                "running",
                "done",
                "failed",
                "abandoned",
                name="demostate",
                native_enum=False,
                length=40,
            ),
            server_default="waiting",
            nullable=False,
        ),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column(
            "client_key",
            sa.Text(),
            nullable=False,
            comment="client address; IPv6 by /64",
        ),
        sa.Column(
            "client_network",
            sa.Text(),
            nullable=False,
            comment="the wider network; IPv6 by /48",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
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
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column(
            "reserved_usd",
            sa.Numeric(precision=20, scale=10),
            nullable=False,
            comment="US dollars",
        ),
        sa.Column(
            "cost_usd",
            sa.Numeric(precision=20, scale=10),
            nullable=True,
            comment="US dollars",
        ),
        sa.CheckConstraint(
            "(state IN ('waiting', 'running')) = (due_at IS NOT NULL)",
            name=op.f("ck_demo_runs_working_is_due"),
        ),
        sa.CheckConstraint(
            "state IN ('waiting', 'running', 'done', 'failed', 'abandoned')",
            name=op.f("ck_demo_runs_state_known"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_demo_runs")),
    )
    op.create_index("ix_demo_runs_client", "demo_runs", ["client_key", "created_at"], unique=False)
    op.create_index("ix_demo_runs_created_at", "demo_runs", ["created_at"], unique=False)
    op.create_index(
        "ix_demo_runs_due",
        "demo_runs",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "awaiting_eval_payment",
                "evaluating",
                "rejected",
                "awaiting_work_payment",
                "executing",
                "complete",
                "failed",
                "expired",
                name="jobstate",
                native_enum=False,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "version",
            sa.BigInteger(),
            server_default="1",
            nullable=False,
            comment="number of events so far; the ETag",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "moved_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("caller_metadata", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column(
            "client_key",
            sa.Text(),
            nullable=False,
            comment="client address as limits count it (IPv6 by /64)",
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
            "payable_until",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="deadline of the open invoice; the BOLT11 lives 600 s longer",
        ),
        sa.Column(
            "give_up_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="JOB_DEADLINE_SECONDS after the latest payment",
        ),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column(
            "incomplete_reason",
            sa.Enum(
                "max_output_tokens",
                name="incompletereason",
                native_enum=False,
                length=40,
            ),
            nullable=True,
        ),
        sa.Column("error_message", sa.Text(), nullable=True, comment="safe for the caller"),
        sa.Column("error_code", sa.Text(), nullable=True, comment="for the operator"),
        sa.Column(
            "expired_reason",
            sa.Enum(
                "unpaid",
                "cancelled",
                name="expiredreason",
                native_enum=False,
                length=40,
            ),
            nullable=True,
        ),
        sa.Column("work_model", sa.Text(), nullable=True),
        sa.Column("input_tokens_bound", sa.Integer(), nullable=True),
        sa.Column("output_tokens_bound", sa.Integer(), nullable=True),
        sa.Column(
            "input_usd_per_million",
            sa.Numeric(precision=20, scale=10),
            nullable=True,
            comment="US dollars",
        ),
        sa.Column(
            "output_usd_per_million",
            sa.Numeric(precision=20, scale=10),
            nullable=True,
            comment="US dollars",
        ),
        sa.Column(
            "infra_usd",
            sa.Numeric(precision=20, scale=10),
            nullable=True,
            comment="US dollars",
        ),
        sa.Column("margin_pct", sa.Numeric(), nullable=True),
        sa.Column(
            "estimated_cost_usd",
            sa.Numeric(precision=20, scale=10),
            nullable=True,
            comment="US dollars",
        ),
        sa.Column(
            "btc_price_usd",
            sa.Numeric(precision=20, scale=10),
            nullable=True,
            comment="US dollars",
        ),
        sa.Column("btc_price_source", sa.Text(), nullable=True),
        sa.Column("btc_price_feeds", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("actual_input_tokens", sa.Integer(), nullable=True),
        sa.Column("actual_output_tokens", sa.Integer(), nullable=True),
        sa.Column(
            "actual_cost_usd",
            sa.Numeric(precision=20, scale=10),
            nullable=True,
            comment="US dollars",
        ),
        sa.Column(
            "actual_charge_usd",
            sa.Numeric(precision=20, scale=10),
            nullable=True,
            comment="US dollars",
        ),
        sa.Column("actual_amount_sats", sa.BigInteger(), nullable=True, comment="satoshis"),
        sa.Column("work_amount_sats", sa.BigInteger(), nullable=True, comment="satoshis"),
        sa.CheckConstraint(
            "(state = 'complete') = (result IS NOT NULL)",
            name=op.f("ck_jobs_complete_has_result"),
        ),
        sa.CheckConstraint(
            "(state = 'expired') = (expired_reason IS NOT NULL)",
            name=op.f("ck_jobs_expired_has_reason"),
        ),
        sa.CheckConstraint(
            "(state IN ('awaiting_eval_payment', 'awaiting_work_payment')) = (payable_until IS NOT NULL)",
            name=op.f("ck_jobs_awaiting_has_deadline"),
        ),
        sa.CheckConstraint(
            "(state IN ('evaluating', 'executing')) = (due_at IS NOT NULL)",
            name=op.f("ck_jobs_working_is_due"),
        ),
        sa.CheckConstraint(
            "state IN ('awaiting_eval_payment', 'evaluating', 'rejected', 'awaiting_work_payment', 'executing', 'complete', 'failed', 'expired')",
            name=op.f("ck_jobs_state_known"),
        ),
        sa.CheckConstraint(
            "actual_amount_sats BETWEEN 0 AND work_amount_sats",
            name=op.f("ck_jobs_charge_within_payment"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sa.UniqueConstraint("public_id", name=op.f("uq_jobs_public_id")),
    )
    op.create_index("ix_jobs_created_at", "jobs", ["created_at"], unique=False)
    op.create_index(
        "ix_jobs_due",
        "jobs",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(
        "ix_jobs_open_by_client",
        "jobs",
        ["client_key"],
        unique=False,
        postgresql_where=sa.text("payable_until IS NOT NULL"),
    )
    op.create_index(
        "ix_jobs_payable_until",
        "jobs",
        ["payable_until"],
        unique=False,
        postgresql_where=sa.text("payable_until IS NOT NULL"),
    )
    op.create_table(
        "ticks",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "claim",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="fencing token",
        ),
        sa.Column(
            "cursor",
            sa.Text(),
            nullable=True,
            comment="where the duty goes on; its own format",
        ),
        sa.Column("ran_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "last_error",
            sa.Text(),
            nullable=True,
            comment="a short code; NULL after a good run",
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_ticks")),
    )
    op.create_table(
        "attempts",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=True),
        sa.Column("demo_run_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "step",
            sa.Enum("evaluate", "execute", "demo", name="step", native_enum=False, length=40),
            nullable=False,
        ),
        sa.Column(
            "claim",
            sa.BigInteger(),
            nullable=False,
            comment="fencing token of the worker that called",
        ),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column(
            "prompt_version",
            sa.Text(),
            nullable=False,
            comment="name and digest of the prompt file",
        ),
        sa.Column(
            "started_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "outcome",
            sa.Enum(
                "answered",
                "unreadable",
                "unavailable",
                "doubtful",
                "refused",
                "superseded",
                name="attemptoutcome",
                native_enum=False,
                length=40,
            ),
            nullable=True,
        ),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("stop", sa.Text(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("refusal", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True, comment="the provider's"),
        sa.Column("input_tokens", sa.Integer(), nullable=True),
        sa.Column("output_tokens", sa.Integer(), nullable=True),
        sa.Column("usage", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column(
            "cost_usd",
            sa.Numeric(precision=20, scale=10),
            nullable=True,
            comment="US dollars",
        ),
        sa.CheckConstraint(
            "outcome IN ('answered', 'unreadable', 'unavailable', 'doubtful', 'refused', 'superseded')",
            name=op.f("ck_attempts_outcome_known"),
        ),
        sa.CheckConstraint(
            "step IN ('evaluate', 'execute', 'demo')",
            name=op.f("ck_attempts_step_known"),
        ),
        sa.CheckConstraint(
            "(job_id IS NULL) <> (demo_run_id IS NULL)",
            name=op.f("ck_attempts_one_owner"),
        ),
        sa.CheckConstraint(
            "(outcome IS NULL) = (ended_at IS NULL)",
            name=op.f("ck_attempts_ended_has_outcome"),
        ),
        sa.ForeignKeyConstraint(
            ["demo_run_id"],
            ["demo_runs.id"],
            name=op.f("fk_attempts_demo_run_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_attempts_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
    )
    op.create_index(op.f("ix_attempts_demo_run_id"), "attempts", ["demo_run_id"], unique=False)
    op.create_index("ix_attempts_job_step", "attempts", ["job_id", "step"], unique=False)
    op.create_index(
        "uq_attempts_answered",
        "attempts",
        ["job_id", "step"],
        unique=True,
        postgresql_where=sa.text("outcome = 'answered'"),
    )
    op.create_table(
        "invoices",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum("eval", "work", name="invoicekind", native_enum=False, length=40),
            nullable=False,
        ),
        sa.Column("payment_hash", sa.Text(), nullable=False),
        sa.Column("payment_request", sa.Text(), nullable=False),
        sa.Column("amount_sats", sa.BigInteger(), nullable=False, comment="satoshis"),
        sa.Column(
            "expires_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="our deadline; the BOLT11 lives 600 s longer",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "check_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when the safety net asks LNbits about it next",
        ),
        sa.Column("checks", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint("kind IN ('eval', 'work')", name=op.f("ck_invoices_kind_known")),
        sa.CheckConstraint("amount_sats > 0", name=op.f("ck_invoices_amount_positive")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_invoices_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invoices")),
        sa.UniqueConstraint("job_id", "kind", name=op.f("uq_invoices_job_id_kind")),
        sa.UniqueConstraint("payment_hash", name=op.f("uq_invoices_payment_hash")),
    )
    op.create_index(
        "ix_invoices_check",
        "invoices",
        ["check_at"],
        unique=False,
        postgresql_where=sa.text("check_at IS NOT NULL"),
    )
    op.create_table(
        "job_events",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column(
            "event",
            sa.Enum(
                "created",
                "eval_paid",
                "accepted",
                "declined",
                "work_paid",
                "delivered",
                "gave_up",
                "lapsed",
                "cancelled",
                name="jobevent",
                native_enum=False,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "source",
            sa.Enum(
                "awaiting_eval_payment",
                "evaluating",
                "rejected",
                "awaiting_work_payment",
                "executing",
                "complete",
                "failed",
                "expired",
                name="jobstate",
                native_enum=False,
                length=40,
            ),
            nullable=True,
        ),
        sa.Column(
            "target",
            sa.Enum(
                "awaiting_eval_payment",
                "evaluating",
                "rejected",
                "awaiting_work_payment",
                "executing",
                "complete",
                "failed",
                "expired",
                name="jobstate",
                native_enum=False,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_events_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_events")),
        sa.UniqueConstraint("job_id", "version", name=op.f("uq_job_events_job_id_version")),
    )
    op.create_table(
        "ledger_entries",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("event_key", sa.Text(), nullable=False),
        sa.Column(
            "debit",
            sa.Enum(
                "wallet",
                "held",
                "earned",
                "owed",
                "in_flight",
                "unmatched",
                "routing_fees",
                "rounding",
                "owner",
                name="account",
                native_enum=False,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "credit",
            sa.Enum(
                "wallet",
                "held",
                "earned",
                "owed",
                "in_flight",
                "unmatched",
                "routing_fees",
                "rounding",
                "owner",
                name="account",
                native_enum=False,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("amount_msats", sa.BigInteger(), nullable=False, comment="millisatoshis"),
        sa.Column("job_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "credit IN ('wallet', 'held', 'earned', 'owed', 'in_flight', 'unmatched', 'routing_fees', 'rounding', 'owner')",
            name=op.f("ck_ledger_entries_credit_known"),
        ),
        sa.CheckConstraint(
            "debit IN ('wallet', 'held', 'earned', 'owed', 'in_flight', 'unmatched', 'routing_fees', 'rounding', 'owner')",
            name=op.f("ck_ledger_entries_debit_known"),
        ),
        sa.CheckConstraint("amount_msats > 0", name=op.f("ck_ledger_entries_amount_positive")),
        sa.CheckConstraint("debit <> credit", name=op.f("ck_ledger_entries_two_accounts")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_ledger_entries_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_entries")),
        sa.UniqueConstraint("event_key", name=op.f("uq_ledger_entries_event_key")),
    )
    op.create_index(op.f("ix_ledger_entries_job_id"), "ledger_entries", ["job_id"], unique=False)
    op.create_table(
        "payouts",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("payment_hash", sa.Text(), nullable=False),
        sa.Column("payment_request", sa.Text(), nullable=False),
        sa.Column("amount_sats", sa.BigInteger(), nullable=False, comment="satoshis"),
        sa.Column(
            "invoice_expires_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="expiry written in the BOLT11",
        ),
        sa.Column(
            "state",
            sa.Enum(
                "sending",
                "paid",
                "failed",
                name="payoutstate",
                native_enum=False,
                length=40,
            ),
            server_default="sending",
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
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "sends",
            sa.Integer(),
            server_default="1",
            nullable=False,
            comment="how often it was (re)opened; part of the ledger's event keys",
        ),
        sa.Column(
            "posts",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="committed before each POST",
        ),
        sa.Column(
            "refusals",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="POSTs answered by a refusal known to precede sending",
        ),
        sa.Column("last_post_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "first_failed_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="first reading that said failed",
        ),
        sa.Column(
            "first_missing_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="first 404 an hour after the BOLT11 expired",
        ),
        sa.Column("last_code", sa.Text(), nullable=True),
        sa.Column("fee_msats", sa.BigInteger(), nullable=True, comment="millisatoshis"),
        sa.Column("preimage", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(state = 'sending') = (due_at IS NOT NULL)",
            name=op.f("ck_payouts_sending_is_due"),
        ),
        sa.CheckConstraint(
            "state IN ('sending', 'paid', 'failed')",
            name=op.f("ck_payouts_state_known"),
        ),
        sa.CheckConstraint("amount_sats > 0", name=op.f("ck_payouts_amount_positive")),
        sa.CheckConstraint("refusals <= posts", name=op.f("ck_payouts_refusals_within_posts")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_payouts_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payouts")),
        sa.UniqueConstraint("payment_hash", name=op.f("uq_payouts_payment_hash")),
    )
    op.create_index(
        "ix_payouts_due",
        "payouts",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(op.f("ix_payouts_job_id"), "payouts", ["job_id"], unique=False)
    op.create_index(
        "uq_payouts_live_job",
        "payouts",
        ["job_id"],
        unique=True,
        postgresql_where=sa.text("state = 'sending'"),
    )
    op.create_table(
        "receipts",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("payment_hash", sa.Text(), nullable=False),
        sa.Column("amount_msats", sa.BigInteger(), nullable=False, comment="millisatoshis"),
        sa.Column("invoice_id", sa.BigInteger(), nullable=True),
        sa.Column("job_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "settled_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="by the clock of LNbits; decides nothing",
        ),
        sa.Column(
            "received_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("amount_msats > 0", name=op.f("ck_receipts_amount_positive")),
        sa.ForeignKeyConstraint(
            ["invoice_id"], ["invoices.id"], name=op.f("fk_receipts_invoice_id")
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_receipts_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_receipts")),
        sa.UniqueConstraint("payment_hash", name=op.f("uq_receipts_payment_hash")),
    )
    op.create_index(op.f("ix_receipts_job_id"), "receipts", ["job_id"], unique=False)
    op.create_table(
        "debts",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("receipt_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "cause",
            sa.Enum(
                "unused_work",
                "failed_work",
                "failed_evaluation",
                "duplicate",
                "late",
                name="debtcause",
                native_enum=False,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("amount_sats", sa.BigInteger(), nullable=False, comment="satoshis"),
        sa.Column(
            "state",
            sa.Enum("owed", "paying", "paid", name="debtstate", native_enum=False, length=40),
            server_default="owed",
            nullable=False,
        ),
        sa.Column("payout_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("paid_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'owed') = (payout_id IS NULL)",
            name=op.f("ck_debts_covered_unless_owed"),
        ),
        sa.CheckConstraint(
            "cause IN ('unused_work', 'failed_work', 'failed_evaluation', 'duplicate', 'late')",
            name=op.f("ck_debts_cause_known"),
        ),
        sa.CheckConstraint(
            "state IN ('owed', 'paying', 'paid')", name=op.f("ck_debts_state_known")
        ),
        sa.CheckConstraint("amount_sats > 0", name=op.f("ck_debts_amount_positive")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_debts_job_id")),
        sa.ForeignKeyConstraint(["payout_id"], ["payouts.id"], name=op.f("fk_debts_payout_id")),
        sa.ForeignKeyConstraint(["receipt_id"], ["receipts.id"], name=op.f("fk_debts_receipt_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_debts")),
        sa.UniqueConstraint("receipt_id", "cause", name=op.f("uq_debts_receipt_id_cause")),
    )
    op.create_index(op.f("ix_debts_job_id"), "debts", ["job_id"], unique=False)
    op.create_index(op.f("ix_debts_payout_id"), "debts", ["payout_id"], unique=False)
    op.execute(FORBID_CHANGE)
    for table in ("ledger_entries", "job_events"):
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION forbid_change()"
        )
    op.execute(FAILED_JOB_OWES)
    op.execute(
        "CREATE CONSTRAINT TRIGGER jobs_failed_owes AFTER INSERT OR UPDATE ON jobs"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.state = 'failed')"
        " EXECUTE FUNCTION failed_job_owes()"
    )


FORBID_CHANGE = """
CREATE FUNCTION forbid_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
END $$
"""

# Checked at commit: whoever fails a paid job without owing the money back is stopped by the database.
FAILED_JOB_OWES = """
CREATE FUNCTION failed_job_owes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM debts
        WHERE job_id = NEW.id AND cause IN ('failed_work', 'failed_evaluation')
    ) THEN
        RAISE EXCEPTION 'job % failed without a debt', NEW.id;
    END IF;
    RETURN NULL;
END $$
"""
