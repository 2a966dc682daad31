"""Instant resources: creators, their keys and resources, the catalogue, and runs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "catalogue_models",
        sa.Column("id", sa.Text(), nullable=False, comment="as OpenRouter spells it"),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "context_tokens", sa.Integer(), nullable=False, comment="input and output together"
        ),
        sa.Column(
            "max_output_tokens", sa.Integer(), nullable=True, comment="the provider's own bound"
        ),
        sa.Column("input_usd_per_million", sa.Numeric(precision=20, scale=10), nullable=False),
        sa.Column("output_usd_per_million", sa.Numeric(precision=20, scale=10), nullable=False),
        sa.Column(
            "request_usd",
            sa.Numeric(precision=20, scale=10),
            server_default="0",
            nullable=False,
            comment="for each call, whatever its length",
        ),
        sa.Column("supported_parameters", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("synced_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("vanished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_catalogue_models")),
    )
    op.create_table(
        "creators",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("handle", sa.Text(), nullable=False),
        sa.Column("api_key_hash", sa.Text(), nullable=False, comment="SHA-256, hex"),
        sa.Column("api_key_last4", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "cost_cap_per_call_usd",
            sa.Numeric(precision=20, scale=10),
            nullable=True,
            comment="worst case of one run on the creator's key; NULL = none",
        ),
        sa.Column(
            "cost_cap_per_day_usd",
            sa.Numeric(precision=20, scale=10),
            nullable=True,
            comment="of all runs since midnight UTC; NULL = none",
        ),
        sa.CheckConstraint(
            "handle ~ '^[a-z0-9]+(-[a-z0-9]+)*$'", name=op.f("ck_creators_handle_is_slug")
        ),
        sa.CheckConstraint(
            "cost_cap_per_call_usd > 0", name=op.f("ck_creators_cap_per_call_positive")
        ),
        sa.CheckConstraint(
            "cost_cap_per_day_usd > 0", name=op.f("ck_creators_cap_per_day_positive")
        ),
        sa.CheckConstraint("length(handle) <= 60", name=op.f("ck_creators_handle_fits")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_creators")),
        sa.UniqueConstraint("api_key_hash", name=op.f("uq_creators_api_key_hash")),
        sa.UniqueConstraint("handle", name=op.f("uq_creators_handle")),
    )
    op.create_table(
        "payout_addresses",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("creator_id", sa.BigInteger(), nullable=False),
        sa.Column("network", sa.Text(), nullable=False, comment="CAIP-2, such as eip155:8453"),
        sa.Column(
            "address", sa.Text(), nullable=False, comment="lower case; shown with its checksum"
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "address ~ '^0x[0-9a-f]{40}$'", name=op.f("ck_payout_addresses_address_is_evm")
        ),
        sa.ForeignKeyConstraint(
            ["creator_id"], ["creators.id"], name=op.f("fk_payout_addresses_creator_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payout_addresses")),
        sa.UniqueConstraint(
            "creator_id", "network", name=op.f("uq_payout_addresses_creator_id_network")
        ),
    )
    op.create_table(
        "provider_keys",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("creator_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "provider",
            sa.Enum("openrouter", "anthropic", name="provider", native_enum=False, length=40),
            nullable=False,
        ),
        sa.Column(
            "sealed",
            sa.Text(),
            nullable=False,
            comment="bound to creator, provider and row (services.instant.keys)",
        ),
        sa.Column("last4", sa.Text(), nullable=False),
        sa.Column("is_valid", sa.Boolean(), nullable=True, comment="NULL = not known yet"),
        sa.Column("last_verified_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error_code", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("replaced_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "due_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when it is verified again",
        ),
        sa.Column(
            "claim", sa.BigInteger(), server_default="0", nullable=False, comment="fencing token"
        ),
        sa.CheckConstraint(
            "provider IN ('openrouter', 'anthropic')", name=op.f("ck_provider_keys_provider_known")
        ),
        sa.ForeignKeyConstraint(
            ["creator_id"], ["creators.id"], name=op.f("fk_provider_keys_creator_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_provider_keys")),
        sa.UniqueConstraint(
            "creator_id", "provider", name=op.f("uq_provider_keys_creator_id_provider")
        ),
    )
    op.create_index("ix_provider_keys_due", "provider_keys", ["due_at"], unique=False)
    op.create_table(
        "resources",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("creator_id", sa.BigInteger(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column(
            "type",
            sa.Enum(
                "openrouter_instant",
                "prompt_template",
                "static",
                "proxy",
                name="resourcetype",
                native_enum=False,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("newest_version", sa.Integer(), server_default="1", nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "pause_reason",
            sa.Enum("creator", "key_deleted", name="pausereason", native_enum=False, length=40),
            nullable=True,
        ),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "pause_reason IN ('creator', 'key_deleted')",
            name=op.f("ck_resources_pause_reason_known"),
        ),
        sa.CheckConstraint(
            "slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$'", name=op.f("ck_resources_slug_is_slug")
        ),
        sa.CheckConstraint(
            "type IN ('openrouter_instant', 'prompt_template', 'static', 'proxy')",
            name=op.f("ck_resources_type_known"),
        ),
        sa.CheckConstraint(
            "(paused_at IS NULL) = (pause_reason IS NULL)",
            name=op.f("ck_resources_paused_says_why"),
        ),
        sa.CheckConstraint("length(slug) <= 60", name=op.f("ck_resources_slug_fits")),
        sa.ForeignKeyConstraint(
            ["creator_id"], ["creators.id"], name=op.f("fk_resources_creator_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_resources")),
        sa.UniqueConstraint("creator_id", "slug", name=op.f("uq_resources_creator_id_slug")),
    )
    op.create_index(op.f("ix_resources_creator_id"), "resources", ["creator_id"], unique=False)
    op.create_table(
        "breakers",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("provider_key_id", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False, comment="'*' = every model of this key"),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False, comment="in a row"),
        sa.Column(
            "reason",
            sa.Enum(
                "key_invalid",
                "credits",
                "rate",
                "model_gone",
                "upstream",
                "timeout",
                name="breakerreason",
                native_enum=False,
                length=40,
            ),
            nullable=True,
        ),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "claim", sa.BigInteger(), server_default="0", nullable=False, comment="fencing token"
        ),
        sa.CheckConstraint(
            "reason IN ('key_invalid', 'credits', 'rate', 'model_gone', 'upstream', 'timeout')",
            name=op.f("ck_breakers_reason_known"),
        ),
        sa.CheckConstraint(
            "(opened_at IS NOT NULL) = (due_at IS NOT NULL)", name=op.f("ck_breakers_open_is_due")
        ),
        sa.CheckConstraint(
            "opened_at IS NULL OR reason IS NOT NULL", name=op.f("ck_breakers_open_says_why")
        ),
        sa.ForeignKeyConstraint(
            ["provider_key_id"],
            ["provider_keys.id"],
            name=op.f("fk_breakers_provider_key_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_breakers")),
        sa.UniqueConstraint(
            "provider_key_id", "model", name=op.f("uq_breakers_provider_key_id_model")
        ),
    )
    op.create_index(
        "ix_breakers_due",
        "breakers",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_table(
        "resource_versions",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("resource_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False, comment="from 1"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("price_usd_micros", sa.BigInteger(), nullable=False, comment="micro-dollars"),
        sa.Column("model", sa.Text(), nullable=True, comment="id in the catalogue"),
        sa.Column(
            "system_prompt", sa.Text(), nullable=True, comment="for its owner and the model only"
        ),
        sa.Column(
            "parameters",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="[{name, description?, required, default?}]",
        ),
        sa.Column("allows_user_message", sa.Boolean(), nullable=True),
        sa.Column("temperature", sa.Numeric(precision=6, scale=4), nullable=True),
        sa.Column("max_tokens", sa.Integer(), nullable=True),
        sa.Column("top_p", sa.Numeric(precision=6, scale=4), nullable=True),
        sa.Column("frequency_penalty", sa.Numeric(precision=6, scale=4), nullable=True),
        sa.Column("presence_penalty", sa.Numeric(precision=6, scale=4), nullable=True),
        sa.Column("content", sa.Text(), nullable=True, comment="static: what is sold"),
        sa.Column("content_type", sa.Text(), nullable=True),
        sa.Column("upstream_url", sa.Text(), nullable=True, comment="proxy: for its owner only"),
        sa.Column("upstream_method", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "price_usd_micros > 0", name=op.f("ck_resource_versions_price_positive")
        ),
        sa.ForeignKeyConstraint(
            ["resource_id"], ["resources.id"], name=op.f("fk_resource_versions_resource_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_resource_versions")),
        sa.UniqueConstraint(
            "resource_id", "number", name=op.f("uq_resource_versions_resource_id_number")
        ),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column(
            "public_id", sa.Uuid(), nullable=False, comment="122 random bits: opens the result"
        ),
        sa.Column("creator_id", sa.BigInteger(), nullable=False),
        sa.Column("resource_id", sa.BigInteger(), nullable=False),
        sa.Column("version_id", sa.BigInteger(), nullable=False),
        sa.Column("is_owner_test", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "received",
                "running",
                "settling",
                "doubtful",
                "succeeded",
                "failed",
                "refused",
                name="runstate",
                native_enum=False,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "claim", sa.BigInteger(), server_default="0", nullable=False, comment="fencing token"
        ),
        sa.Column(
            "run_by",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="the call must have ended; time to settle is left",
        ),
        sa.Column(
            "inputs",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="the caller's {parameters, userMessage}; NULL once pruned",
        ),
        sa.Column(
            "result",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="{response, contentType?, truncated?}, sealed until settled; NULL once pruned",
        ),
        sa.Column("error_code", sa.Text(), nullable=True, comment="for the creator"),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("pruned_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("x402_version", sa.Integer(), nullable=True),
        sa.Column("network", sa.Text(), nullable=True, comment="CAIP-2"),
        sa.Column("asset", sa.Text(), nullable=True, comment="lower case"),
        sa.Column("payer", sa.Text(), nullable=True, comment="lower case"),
        sa.Column("nonce", sa.Text(), nullable=True, comment="0x and 64 lower-case hex digits"),
        sa.Column(
            "valid_before",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="after it the token refuses the authorization",
        ),
        sa.Column(
            "payment",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="what the facilitator is sent, as received",
        ),
        sa.Column(
            "requirement",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="what we asked for, rebuilt by us",
        ),
        sa.Column(
            "offer_hash",
            sa.Text(),
            nullable=True,
            comment="SHA-256 of the offer it was paid with; NULL for v1",
        ),
        sa.Column(
            "caller_key",
            sa.Text(),
            nullable=True,
            comment="hash of payment-identifier or Idempotency-Key",
        ),
        sa.Column("request_hash", sa.Text(), nullable=True, comment="of body and resource"),
        sa.Column("price_usd_micros", sa.BigInteger(), nullable=False, comment="micro-dollars"),
        sa.Column(
            "settle_posts",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="committed before each request to settle",
        ),
        sa.Column(
            "settlement",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="the facilitator's last answer",
        ),
        sa.Column("transaction", sa.Text(), nullable=True),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paid_usd_micros", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column(
            "fee_usd_micros",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="owed to the platform by the creator",
        ),
        sa.Column("input_tokens", sa.Integer(), nullable=True),
        sa.Column("output_tokens", sa.Integer(), nullable=True),
        sa.Column(
            "model_cost_usd",
            sa.Numeric(precision=20, scale=10),
            nullable=True,
            comment="US dollars",
        ),
        sa.Column(
            "worst_cost_usd",
            sa.Numeric(precision=20, scale=10),
            nullable=True,
            comment="on the creator's key; counts while the true cost is not known",
        ),
        sa.CheckConstraint(
            "(settled_at IS NOT NULL) = (state = 'succeeded' AND NOT is_owner_test)",
            name=op.f("ck_runs_settled_when_succeeded"),
        ),
        sa.CheckConstraint(
            "(state IN ('received', 'running', 'settling')) = (due_at IS NOT NULL)",
            name=op.f("ck_runs_working_is_due"),
        ),
        sa.CheckConstraint(
            "state IN ('received', 'running', 'settling', 'doubtful', 'succeeded', 'failed', 'refused')",
            name=op.f("ck_runs_state_known"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('failed', 'refused') OR error_code IS NOT NULL",
            name=op.f("ck_runs_failed_says_why"),
        ),
        sa.CheckConstraint(
            "(nonce IS NULL) = (network IS NULL) AND (nonce IS NULL) = (asset IS NULL) AND (nonce IS NULL) = (payer IS NULL) AND (nonce IS NULL) = (payment IS NULL) AND (nonce IS NULL) = (requirement IS NULL)",
            name=op.f("ck_runs_payment_whole"),
        ),
        sa.CheckConstraint(
            "fee_usd_micros BETWEEN 0 AND paid_usd_micros", name=op.f("ck_runs_fee_within_payment")
        ),
        sa.CheckConstraint(
            "is_owner_test = (nonce IS NULL)", name=op.f("ck_runs_paid_or_owner_test")
        ),
        sa.CheckConstraint(
            "paid_usd_micros = 0 OR settled_at IS NOT NULL", name=op.f("ck_runs_paid_when_settled")
        ),
        sa.ForeignKeyConstraint(["creator_id"], ["creators.id"], name=op.f("fk_runs_creator_id")),
        sa.ForeignKeyConstraint(
            ["resource_id"], ["resources.id"], name=op.f("fk_runs_resource_id")
        ),
        sa.ForeignKeyConstraint(
            ["version_id"], ["resource_versions.id"], name=op.f("fk_runs_version_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
        sa.UniqueConstraint("public_id", name=op.f("uq_runs_public_id")),
    )
    op.create_index("ix_runs_creator", "runs", ["creator_id", "id"], unique=False)
    op.create_index("ix_runs_creator_day", "runs", ["creator_id", "created_at"], unique=False)
    op.create_index(
        "ix_runs_due",
        "runs",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(
        "ix_runs_kept",
        "runs",
        ["ended_at"],
        unique=False,
        postgresql_where=sa.text("pruned_at IS NULL"),
    )
    op.create_index(
        "ix_runs_payer",
        "runs",
        ["payer", "created_at"],
        unique=False,
        postgresql_where=sa.text("payer IS NOT NULL"),
    )
    op.create_index(
        "ix_runs_unpaid",
        "runs",
        ["creator_id", "created_at"],
        unique=False,
        postgresql_where=sa.text("state = 'failed' AND model_cost_usd > 0"),
    )
    op.create_index("ix_runs_resource", "runs", ["resource_id", "id"], unique=False)
    op.create_index(
        "ix_runs_unsettled",
        "runs",
        ["resource_id"],
        unique=False,
        postgresql_where=sa.text("state IN ('doubtful', 'received', 'running', 'settling')"),
    )
    op.create_index(
        "uq_runs_caller_key",
        "runs",
        ["resource_id", "payer", "caller_key"],
        unique=True,
        postgresql_where=sa.text(
            "caller_key IS NOT NULL AND state <> 'refused' AND state <> 'failed'"
        ),
    )
    op.create_index(
        "uq_runs_payment",
        "runs",
        ["network", "asset", "payer", "nonce"],
        unique=True,
        postgresql_where=sa.text("nonce IS NOT NULL AND state <> 'refused'"),
    )
    op.create_table(
        "run_calls",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "verify", "model", "proxy", "settle", name="callkind", native_enum=False, length=40
            ),
            nullable=False,
        ),
        sa.Column("claim", sa.BigInteger(), nullable=False),
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
                "unavailable",
                "doubtful",
                "refused",
                "superseded",
                name="calloutcome",
                native_enum=False,
                length=40,
            ),
            nullable=True,
        ),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("usage", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.CheckConstraint(
            "kind IN ('verify', 'model', 'proxy', 'settle')", name=op.f("ck_run_calls_kind_known")
        ),
        sa.CheckConstraint(
            "outcome IN ('answered', 'unavailable', 'doubtful', 'refused', 'superseded')",
            name=op.f("ck_run_calls_outcome_known"),
        ),
        sa.CheckConstraint(
            "(outcome IS NULL) = (ended_at IS NULL)", name=op.f("ck_run_calls_ended_has_outcome")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_run_calls_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run_calls")),
    )
    op.create_index("ix_run_calls_run", "run_calls", ["run_id", "kind"], unique=False)
    op.add_column("violations", sa.Column("run_id", sa.BigInteger(), nullable=True))
    op.alter_column("violations", "job_id", existing_type=sa.BigInteger(), nullable=True)
    op.create_foreign_key(op.f("fk_violations_run_id"), "violations", "runs", ["run_id"], ["id"])
    op.create_check_constraint(
        op.f("ck_violations_of_job_or_run"), "violations", "num_nonnulls(job_id, run_id) = 1"
    )
    op.create_index(
        "uq_violations_open_run",
        "violations",
        ["rule", "run_id"],
        unique=True,
        postgresql_where=sa.text("mended_at IS NULL"),
    )
    op.execute(
        "CREATE TRIGGER resource_versions_append_only"
        " BEFORE UPDATE OR DELETE OR TRUNCATE ON resource_versions"
        " FOR EACH STATEMENT EXECUTE FUNCTION forbid_change()"
    )
