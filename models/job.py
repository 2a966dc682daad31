"""A job: the request, where it stands, the locked price and what it really cost."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, DateTime, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from models.database import (
    Base,
    CreatedAt,
    Json,
    SatsColumn,
    UsdColumn,
    one_of,
    stored_by_value,
)
from models.due import Due
from models.lifecycle import AWAITING, WORKING, JobState


class ExpiredReason(StrEnum):
    UNPAID = "unpaid"
    CANCELLED = "cancelled"


class IncompleteReason(StrEnum):
    MAX_OUTPUT_TOKENS = "max_output_tokens"


def _within(states: frozenset[JobState]) -> str:
    return f"state IN ({', '.join(repr(state.value) for state in sorted(states))})"


class Job(Due, Base):
    """One request. ``id`` is the internal number that logs, messages and memos may name.

    ``public_id`` is the caller's key to result and refund: it stands in no log or message, and of
    it only the first 8 digits in memos and in the marks of refunds.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(one_of("state", JobState), name="state_known"),
        CheckConstraint(f"({_within(WORKING)}) = (due_at IS NOT NULL)", name="working_is_due"),
        CheckConstraint(
            f"({_within(AWAITING)}) = (payable_until IS NOT NULL)",
            name="awaiting_has_deadline",
        ),
        CheckConstraint(
            "(state = 'expired') = (expired_reason IS NOT NULL)",
            name="expired_has_reason",
        ),
        CheckConstraint("(state = 'complete') = (result IS NOT NULL)", name="complete_has_result"),
        CheckConstraint(
            "actual_amount_sats BETWEEN 0 AND work_amount_sats",
            name="charge_within_payment",
        ),
        Index("ix_jobs_due", "due_at", postgresql_where=text("due_at IS NOT NULL")),
        Index(
            "ix_jobs_payable_until",
            "payable_until",
            postgresql_where=text("payable_until IS NOT NULL"),
        ),
        Index(
            "ix_jobs_open_by_client",
            "client_key",
            postgresql_where=text("payable_until IS NOT NULL"),
        ),
    )

    public_id: Mapped[UUID] = mapped_column(unique=True)
    state: Mapped[JobState] = mapped_column(stored_by_value(JobState))
    version: Mapped[int] = mapped_column(
        BigInteger, server_default="1", comment="number of events so far; the ETag"
    )
    created_at: Mapped[CreatedAt]
    moved_at: Mapped[CreatedAt]
    completed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))

    request: Mapped[str] = mapped_column(Text)
    caller_metadata: Mapped[Json | None]
    client_key: Mapped[str] = mapped_column(
        Text, comment="client address as limits count it (IPv6 by /64)"
    )

    payable_until: Mapped[datetime | None] = mapped_column(
        DateTime(timezone=True),
        comment="deadline of the open invoice; the BOLT11 lives 600 s longer",
    )
    give_up_at: Mapped[datetime | None] = mapped_column(
        DateTime(timezone=True), comment="JOB_DEADLINE_SECONDS after the latest payment"
    )

    reason: Mapped[str | None] = mapped_column(Text)
    result: Mapped[str | None] = mapped_column(Text)
    incomplete_reason: Mapped[IncompleteReason | None] = mapped_column(
        stored_by_value(IncompleteReason)
    )
    error_message: Mapped[str | None] = mapped_column(Text, comment="safe for the caller")
    error_code: Mapped[str | None] = mapped_column(Text, comment="for the operator")
    expired_reason: Mapped[ExpiredReason | None] = mapped_column(stored_by_value(ExpiredReason))

    # The quote, locked when the work invoice is issued.
    work_model: Mapped[str | None] = mapped_column(Text)
    input_tokens_bound: Mapped[int | None]
    output_tokens_bound: Mapped[int | None]
    input_usd_per_million: Mapped[UsdColumn | None]
    output_usd_per_million: Mapped[UsdColumn | None]
    infra_usd: Mapped[UsdColumn | None]
    margin_pct: Mapped[Decimal | None]
    estimated_cost_usd: Mapped[UsdColumn | None]
    btc_price_usd: Mapped[UsdColumn | None]
    btc_price_source: Mapped[str | None] = mapped_column(Text)
    btc_price_feeds: Mapped[Json | None]

    # What it really cost.
    actual_input_tokens: Mapped[int | None]
    actual_output_tokens: Mapped[int | None]
    actual_cost_usd: Mapped[UsdColumn | None]
    actual_charge_usd: Mapped[UsdColumn | None]
    actual_amount_sats: Mapped[SatsColumn | None]
    work_amount_sats: Mapped[SatsColumn | None]
