"""Money going out: one BOLT11 of the caller, sent until its outcome is known."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    Text,
    false,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from models.database import (
    Base,
    CreatedAt,
    Instant,
    MsatsColumn,
    SatsColumn,
    one_of,
    stored_by_value,
)
from models.due import Due


class PayoutState(StrEnum):
    SENDING = "sending"
    """Committed before the first POST, and until read back as paid or proved failed."""
    PAID = "paid"
    FAILED = "failed"
    """Proved: nothing was paid and this BOLT11 never will be, or nothing was ever sent."""


class Payout(Due, Base):
    """At most one is live per job. The payment hash is committed before the first POST.

    The counters below are the evidence on which alone FAILED may be concluded
    (services.money.payout_evidence).
    """

    __tablename__ = "payouts"
    __table_args__ = (
        CheckConstraint(one_of("state", PayoutState), name="state_known"),
        CheckConstraint("amount_sats > 0", name="amount_positive"),
        CheckConstraint("(state = 'sending') = (due_at IS NOT NULL)", name="sending_is_due"),
        CheckConstraint("refusals <= posts", name="refusals_within_posts"),
        CheckConstraint("candid_posts <= posts", name="candid_within_posts"),
        CheckConstraint("believed_post <= posts", name="believed_within_posts"),
        CheckConstraint(
            "(first_failed_at IS NULL) = (posts_at_first_failed IS NULL)",
            name="failed_reading_whole",
        ),
        CheckConstraint(
            "posts_at_first_failed BETWEEN 1 AND posts", name="failed_reading_after_a_post"
        ),
        CheckConstraint("vouched_posts <= posts", name="vouched_within_posts"),
        # The guard against paying twice: a second live payout of a job cannot be written.
        Index(
            "uq_payouts_live_job",
            "job_id",
            unique=True,
            postgresql_where=text("state = 'sending'"),
        ),
        Index("ix_payouts_due", "due_at", postgresql_where=text("due_at IS NOT NULL")),
        Index("ix_payouts_settled", "settled_at", postgresql_where=text("settled_at IS NOT NULL")),
    )

    job_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("jobs.id"), index=True)
    payment_hash: Mapped[str] = mapped_column(Text, unique=True)
    payment_request: Mapped[str] = mapped_column(Text)
    amount_sats: Mapped[SatsColumn]
    invoice_expires_at: Mapped[Instant] = mapped_column(
        DateTime(timezone=True), comment="expiry written in the BOLT11"
    )
    state: Mapped[PayoutState] = mapped_column(
        stored_by_value(PayoutState), server_default=PayoutState.SENDING
    )
    created_at: Mapped[CreatedAt]
    settled_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))

    sends: Mapped[int] = mapped_column(
        server_default="1",
        comment="how often it was (re)opened; part of the ledger's event keys",
    )
    posts: Mapped[int] = mapped_column(server_default="0", comment="committed before each POST")
    refusals: Mapped[int] = mapped_column(
        server_default="0",
        comment="POSTs answered by a refusal known to precede sending",
    )
    candid_posts: Mapped[int] = mapped_column(
        server_default="0",
        comment='POSTs to an LNbits that says "failed" only if its node does',
    )
    believed_post: Mapped[int] = mapped_column(
        server_default="0",
        comment='number of the last POST after which "failed" is the word of LNbits\' node',
    )
    posts_at_first_failed: Mapped[int | None] = mapped_column(
        comment="POSTs before the first reading that said failed, of a row still there"
    )
    row_was_read: Mapped[bool] = mapped_column(
        server_default=false(),
        comment="LNbits has shown a row of it: that there is none any more proves nothing",
    )
    vouched_posts: Mapped[int] = mapped_column(
        server_default="0",
        comment="POSTs there had been when a person said that it failed; 0 = nobody does",
    )
    last_post_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    first_failed_at: Mapped[datetime | None] = mapped_column(
        DateTime(timezone=True), comment="first reading that said failed, of a row still there"
    )
    first_missing_at: Mapped[datetime | None] = mapped_column(
        DateTime(timezone=True), comment="first 404 an hour after the BOLT11 expired"
    )
    last_code: Mapped[str | None] = mapped_column(Text)
    fee_msats: Mapped[MsatsColumn | None]
    preimage: Mapped[str | None] = mapped_column(Text)
