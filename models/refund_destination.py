"""Where owed money goes by itself: what the caller named as ``refundTo``, and how that fares."""

from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import BigInteger, CheckConstraint, DateTime, ForeignKey, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from models.database import Base, CreatedAt, one_of, stored_by_value
from models.due import Due

WINDOW = timedelta(days=3)
"""Tried so long; then the caller may claim."""
LONGEST_DELAY = timedelta(hours=6)
"""Between two tries."""


class DestinationState(StrEnum):
    WAITING = "waiting"
    """The job is open, or nothing is owed on it."""
    TRYING = "trying"
    """Money is owed and the receiver is asked for an invoice, again and again for three days."""
    PAYING = "paying"
    """A payout to an invoice of the receiver is under way; it may have been paid already."""
    PAID = "paid"
    """All that was owed was paid there. A new debt starts it again."""
    GIVEN_UP = "given_up"
    """It cannot be paid there: the caller may claim it. A new debt starts it again."""


class RefundDestination(Due, Base):
    """At most one per job. ``address`` is the caller's own: it stands in no log or message."""

    __tablename__ = "refund_destinations"
    __table_args__ = (
        CheckConstraint(one_of("state", DestinationState), name="state_known"),
        CheckConstraint("(state = 'trying') = (due_at IS NOT NULL)", name="trying_is_due"),
        CheckConstraint(
            "state NOT IN ('trying', 'paying') OR trying_since IS NOT NULL",
            name="tried_since",
        ),
        CheckConstraint("state <> 'paying' OR payout_id IS NOT NULL", name="paying_has_payout"),
        CheckConstraint("state <> 'given_up' OR last_error IS NOT NULL", name="given_up_says_why"),
        Index("ix_refund_destinations_due", "due_at", postgresql_where=text("due_at IS NOT NULL")),
    )

    job_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("jobs.id"), unique=True)
    address: Mapped[str] = mapped_column(
        Text, comment="Lightning address or LNURL-pay, as the caller gave it"
    )
    state: Mapped[DestinationState] = mapped_column(
        stored_by_value(DestinationState), server_default=DestinationState.WAITING
    )
    created_at: Mapped[CreatedAt]
    trying_since: Mapped[datetime | None] = mapped_column(
        DateTime(timezone=True), comment="start of the three days"
    )
    failures: Mapped[int] = mapped_column(server_default="0", comment="in a row, for the back-off")
    last_error: Mapped[str | None] = mapped_column(Text, comment="a code; the caller's sentence")
    last_tried_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    payout_id: Mapped[int | None] = mapped_column(
        BigInteger, ForeignKey("payouts.id"), comment="the latest that was opened by itself"
    )
