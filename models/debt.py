"""What we owe a caller, one row per cause and receipt."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from models.database import Base, CreatedAt, Id, SatsColumn, one_of, stored_by_value


class DebtCause(StrEnum):
    UNUSED_WORK = "unused_work"
    FAILED_WORK = "failed_work"
    FAILED_EVALUATION = "failed_evaluation"
    DUPLICATE = "duplicate"
    LATE = "late"


class DebtState(StrEnum):
    OWED = "owed"
    PAYING = "paying"
    """A payout that covers it is under way; it may have been paid already."""
    PAID = "paid"


class Debt(Base):
    """Owed until paid; never swept into income. ``payout_id`` names the payout that covers it."""

    __tablename__ = "debts"
    __table_args__ = (
        CheckConstraint(one_of("cause", DebtCause), name="cause_known"),
        CheckConstraint(one_of("state", DebtState), name="state_known"),
        CheckConstraint("amount_sats > 0", name="amount_positive"),
        CheckConstraint("(state = 'owed') = (payout_id IS NULL)", name="covered_unless_owed"),
        UniqueConstraint("receipt_id", "cause"),
        Index("ix_debts_owed", "id", postgresql_where=text("state = 'owed'")),
    )

    id: Mapped[Id]
    job_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("jobs.id"), index=True)
    receipt_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("receipts.id"))
    cause: Mapped[DebtCause] = mapped_column(stored_by_value(DebtCause))
    amount_sats: Mapped[SatsColumn]
    state: Mapped[DebtState] = mapped_column(
        stored_by_value(DebtState), server_default=DebtState.OWED
    )
    payout_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("payouts.id"), index=True)
    created_at: Mapped[CreatedAt]
    paid_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
