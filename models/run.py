"""One run of an instant resource: what pays for it, how far it is, what came of it.

The row is also the usage log: one row a run, whatever becomes of it, so that statistics derived
from it cannot disagree with it. Only one whose payment was no good goes again, after some days.
"""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    Numeric,
    Text,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from models.database import (
    Base,
    CreatedAt,
    Id,
    Json,
    UsdColumn,
    UsdMicrosColumn,
    one_of,
    stored_by_value,
)
from models.due import Due
from models.money import Usd, UsdMicros


class RunState(StrEnum):
    RECEIVED = "received"
    """The payment is on record and nobody else's; the facilitator has not been asked yet."""
    RUNNING = "running"
    """Verified (or the owner's test): the call may be made."""
    SETTLING = "settling"
    """The result is stored and sealed; the money is being moved, or it is looked for."""
    DOUBTFUL = "doubtful"
    """Nobody can say whether money moved for it: waits for the operator. Still sealed."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """Nothing was charged."""
    REFUSED = "refused"
    """The payment was no good, and is free to be shown again."""


WORKING_RUNS = frozenset({RunState.RECEIVED, RunState.RUNNING, RunState.SETTLING})
FINAL_RUNS = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.REFUSED})
UNSETTLED_RUNS = WORKING_RUNS | {RunState.DOUBTFUL}
EXECUTED_RUNS = frozenset({RunState.RECEIVED, RunState.RUNNING})
"""Those on which the models worker is at work: verifying, then making what was bought."""

BOOKED_BY_HAND = "bookedByHand"
"""Member of ``Run.settlement`` where a person, and nobody else, says that the money came."""

_WORKING = f"state IN ({', '.join(repr(state.value) for state in sorted(WORKING_RUNS))})"


class Run(Due, Base):
    """``id`` is the number that logs and messages may name; ``public_id`` opens the result."""

    __tablename__ = "runs"
    __table_args__ = (
        CheckConstraint(one_of("state", RunState), name="state_known"),
        CheckConstraint(f"({_WORKING}) = (due_at IS NOT NULL)", name="working_is_due"),
        CheckConstraint("is_owner_test = (nonce IS NULL)", name="paid_or_owner_test"),
        CheckConstraint(
            "(nonce IS NULL) = (network IS NULL) AND (nonce IS NULL) = (asset IS NULL)"
            " AND (nonce IS NULL) = (payer IS NULL) AND (nonce IS NULL) = (payment IS NULL)"
            " AND (nonce IS NULL) = (requirement IS NULL)",
            name="payment_whole",
        ),
        CheckConstraint(
            "(settled_at IS NOT NULL) = (state = 'succeeded' AND NOT is_owner_test)",
            name="settled_when_succeeded",
        ),
        CheckConstraint(
            "state NOT IN ('failed', 'refused') OR error_code IS NOT NULL", name="failed_says_why"
        ),
        CheckConstraint("paid_usd_micros = 0 OR settled_at IS NOT NULL", name="paid_when_settled"),
        CheckConstraint("fee_usd_micros BETWEEN 0 AND paid_usd_micros", name="fee_within_payment"),
        # The guard against selling one payment twice.
        Index(
            "uq_runs_payment",
            "network",
            "asset",
            "payer",
            "nonce",
            unique=True,
            postgresql_where=text("nonce IS NOT NULL AND state <> 'refused'"),
        ),
        # x402's payment-identifier and Idempotency-Key: one run each, among a payer's; what came to
        # nothing leaves the name to the next payment.
        Index(
            "uq_runs_caller_key",
            "resource_id",
            "payer",
            "caller_key",
            unique=True,
            postgresql_where=text(
                "caller_key IS NOT NULL AND state <> 'refused' AND state <> 'failed'"
            ),
        ),
        Index("ix_runs_due", "due_at", postgresql_where=text("due_at IS NOT NULL")),
        Index("ix_runs_creator", "creator_id", "id"),
        # A day's cap is looked at for every price that is asked.
        Index("ix_runs_creator_day", "creator_id", "created_at"),
        Index(
            "ix_runs_unpaid",
            "creator_id",
            "created_at",
            postgresql_where=text("state = 'failed' AND model_cost_usd > 0"),
        ),
        Index("ix_runs_resource", "resource_id", "id"),
        Index("ix_runs_payer", "payer", "created_at", postgresql_where=text("payer IS NOT NULL")),
        Index(
            "ix_runs_unsettled",
            "resource_id",
            postgresql_where=text("state IN ('doubtful', 'received', 'running', 'settling')"),
        ),
        Index("ix_runs_kept", "ended_at", postgresql_where=text("pruned_at IS NULL")),
        Index("ix_runs_ended", "ended_at", postgresql_where=text("ended_at IS NOT NULL")),
    )

    public_id: Mapped[UUID] = mapped_column(
        unique=True, comment="122 random bits: opens the result"
    )
    creator_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("creators.id"))
    resource_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("resources.id"))
    version_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("resource_versions.id"))
    is_owner_test: Mapped[bool] = mapped_column(server_default=text("false"))
    state: Mapped[RunState] = mapped_column(stored_by_value(RunState))
    created_at: Mapped[CreatedAt]
    run_by: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), comment="the call must have ended; time to settle is left"
    )

    inputs: Mapped[Json | None] = mapped_column(
        comment="the caller's {parameters, userMessage}; NULL once pruned"
    )
    result: Mapped[Json | None] = mapped_column(
        comment="{response, contentType?, truncated?}, sealed until settled; NULL once pruned"
    )
    error_code: Mapped[str | None] = mapped_column(Text, comment="for the creator")
    ended_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    pruned_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))

    x402_version: Mapped[int | None]
    network: Mapped[str | None] = mapped_column(Text, comment="CAIP-2")
    asset: Mapped[str | None] = mapped_column(Text, comment="lower case")
    payer: Mapped[str | None] = mapped_column(Text, comment="lower case")
    nonce: Mapped[str | None] = mapped_column(Text, comment="0x and 64 lower-case hex digits")
    valid_before: Mapped[datetime | None] = mapped_column(
        DateTime(timezone=True), comment="after it the token refuses the authorization"
    )
    payment: Mapped[Json | None] = mapped_column(
        comment="what the facilitator is sent, as received"
    )
    requirement: Mapped[Json | None] = mapped_column(comment="what we asked for, rebuilt by us")
    offer_hash: Mapped[str | None] = mapped_column(
        Text, comment="SHA-256 of the offer it was paid with; NULL for v1"
    )
    caller_key: Mapped[str | None] = mapped_column(
        Text, comment="hash of payment-identifier or Idempotency-Key"
    )
    request_hash: Mapped[str | None] = mapped_column(Text, comment="of body and resource")
    price_usd_micros: Mapped[UsdMicrosColumn]
    settle_posts: Mapped[int] = mapped_column(
        server_default="0", comment="committed before each request to settle"
    )
    settlement: Mapped[Json | None] = mapped_column(comment="the facilitator's last answer")
    transaction: Mapped[str | None] = mapped_column(Text)
    settled_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    paid_usd_micros: Mapped[UsdMicros] = mapped_column(BigInteger, server_default="0")
    fee_usd_micros: Mapped[UsdMicros] = mapped_column(
        BigInteger, server_default="0", comment="owed to the platform by the creator"
    )

    input_tokens: Mapped[int | None]
    output_tokens: Mapped[int | None]
    model_cost_usd: Mapped[UsdColumn | None]
    worst_cost_usd: Mapped[Usd | None] = mapped_column(
        Numeric(20, 10), comment="on the creator's key; counts while the true cost is not known"
    )


class CallKind(StrEnum):
    VERIFY = "verify"
    MODEL = "model"
    PROXY = "proxy"
    SETTLE = "settle"


class CallOutcome(StrEnum):
    """How an outside call ended. A row without one is under way, or its process died."""

    ANSWERED = "answered"
    UNAVAILABLE = "unavailable"
    DOUBTFUL = "doubtful"
    """Timed out or broke off: may have been billed, or may have moved money."""
    REFUSED = "refused"
    SUPERSEDED = "superseded"
    """Answered after another worker had taken the run over."""


class RunCall(Base):
    """The journal: a row committed before each outside call of a run."""

    __tablename__ = "run_calls"
    __table_args__ = (
        CheckConstraint(one_of("kind", CallKind), name="kind_known"),
        CheckConstraint(one_of("outcome", CallOutcome), name="outcome_known"),
        CheckConstraint("(outcome IS NULL) = (ended_at IS NULL)", name="ended_has_outcome"),
        Index("ix_run_calls_run", "run_id", "kind"),
    )

    id: Mapped[Id]
    run_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("runs.id"))
    kind: Mapped[CallKind] = mapped_column(stored_by_value(CallKind))
    claim: Mapped[int] = mapped_column(BigInteger)
    started_at: Mapped[CreatedAt]
    ended_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    outcome: Mapped[CallOutcome | None] = mapped_column(stored_by_value(CallOutcome))
    code: Mapped[str | None] = mapped_column(Text)
    usage: Mapped[Json | None]
