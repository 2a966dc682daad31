"""An invoice that a caller was shown, and the payments that arrived."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from models.database import (
    Base,
    CreatedAt,
    Id,
    Instant,
    MsatsColumn,
    SatsColumn,
    one_of,
    stored_by_value,
)


class InvoiceKind(StrEnum):
    EVAL = "eval"
    WORK = "work"


class Invoice(Base):
    """One of at most two invoices of a job. Whether it was paid is told by its receipt."""

    __tablename__ = "invoices"
    __table_args__ = (
        CheckConstraint(one_of("kind", InvoiceKind), name="kind_known"),
        CheckConstraint("amount_sats > 0", name="amount_positive"),
        UniqueConstraint("job_id", "kind"),
        Index(
            "ix_invoices_check",
            "check_at",
            postgresql_where=text("check_at IS NOT NULL"),
        ),
    )

    id: Mapped[Id]
    job_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("jobs.id"))
    kind: Mapped[InvoiceKind] = mapped_column(stored_by_value(InvoiceKind))
    payment_hash: Mapped[str] = mapped_column(Text, unique=True)
    payment_request: Mapped[str] = mapped_column(Text)
    amount_sats: Mapped[SatsColumn]
    expires_at: Mapped[Instant] = mapped_column(
        DateTime(timezone=True), comment="our deadline; the BOLT11 lives 600 s longer"
    )
    created_at: Mapped[CreatedAt]
    check_at: Mapped[datetime | None] = mapped_column(
        DateTime(timezone=True), comment="when the safety net asks LNbits about it next"
    )
    checks: Mapped[int] = mapped_column(server_default="0")


class Receipt(Base):
    """Money that arrived, once per payment hash. Without an invoice it is an alarm."""

    __tablename__ = "receipts"
    __table_args__ = (
        CheckConstraint("amount_msats > 0", name="amount_positive"),
        CheckConstraint("fee_msats >= 0", name="fee_not_negative"),
        Index("ix_receipts_unmatched", "id", postgresql_where=text("invoice_id IS NULL")),
    )

    id: Mapped[Id]
    payment_hash: Mapped[str] = mapped_column(Text, unique=True)
    amount_msats: Mapped[MsatsColumn]
    fee_msats: Mapped[MsatsColumn] = mapped_column(
        server_default="0", comment="what LNbits took off it: our cost, never the caller's"
    )
    invoice_id: Mapped[int | None] = mapped_column(
        BigInteger, ForeignKey("invoices.id"), index=True
    )
    job_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("jobs.id"), index=True)
    settled_at: Mapped[Instant] = mapped_column(
        DateTime(timezone=True), comment="by the clock of LNbits; decides nothing"
    )
    received_at: Mapped[CreatedAt]
