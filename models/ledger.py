"""Double entry, one row per pair: an unbalanced entry cannot be written."""

from enum import StrEnum

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Text
from sqlalchemy.orm import Mapped, mapped_column

from models.database import Base, CreatedAt, Id, MsatsColumn, one_of, stored_by_value


class Account(StrEnum):
    """Where sats can be. ``WALLET`` is what LNbits holds for us; the next four say whose it is."""

    WALLET = "wallet"
    HELD = "held"
    """Paid to us, not yet delivered for."""
    EARNED = "earned"
    OWED = "owed"
    IN_FLIGHT = "in_flight"
    """Owed and handed to LNbits; it may have been paid."""
    UNMATCHED = "unmatched"
    """Arrived for no invoice that we know."""
    ROUTING_FEES = "routing_fees"
    """What payments out have cost us, and what LNbits took off those that came in."""
    ROUNDING = "rounding"
    """Fractions of a sat that we round up in the caller's favour."""
    OWNER = "owner"
    """Top-ups and withdrawals of the operator."""


class LedgerEntry(Base):
    """Never updated or deleted (a trigger refuses). ``event_key``: nothing is written twice."""

    __tablename__ = "ledger_entries"
    __table_args__ = (
        CheckConstraint("amount_msats > 0", name="amount_positive"),
        CheckConstraint("debit <> credit", name="two_accounts"),
        CheckConstraint(one_of("debit", Account), name="debit_known"),
        CheckConstraint(one_of("credit", Account), name="credit_known"),
    )

    id: Mapped[Id]
    event_key: Mapped[str] = mapped_column(Text, unique=True)
    debit: Mapped[Account] = mapped_column(stored_by_value(Account))
    credit: Mapped[Account] = mapped_column(stored_by_value(Account))
    amount_msats: Mapped[MsatsColumn]
    job_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("jobs.id"), index=True)
    at: Mapped[CreatedAt]
