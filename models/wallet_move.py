"""Money that moved in our wallets and that no receipt and no payout explains."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, CheckConstraint, DateTime, Index, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from models.database import (
    Base,
    CreatedAt,
    Id,
    MsatsColumn,
    one_of,
    stored_by_value,
)


class MoveKind(StrEnum):
    SENT = "sent"
    """An outgoing row of a wallet, with its fee."""
    TOPPED_UP = "topped_up"
    """An incoming row of a paying wallet that is not the income wallet."""
    RECEIVED = "received"
    """A receipt without an invoice. Only booked ones are here: the others are receipts."""
    STATED = "stated"
    """What a person stated and no row of a wallet shows."""


class MoveState(StrEnum):
    PENDING = "pending"
    """Going out, and LNbits does not know yet."""
    WAITING = "waiting"
    """For a person, or until it explains itself."""
    BOOKED = "booked"
    """As the owner's, by a person."""
    ADOPTED = "adopted"
    """It was a payout of ours that the database had forgotten."""
    TRANSFER = "transfer"
    """From one of our wallets to the other."""
    VOID = "void"
    """It failed after all."""


class WalletMove(Base):
    """Seen by reconcile. ``amount_msats`` is below zero for what left the wallets, fee included.

    Of what came in, ``fee_msats`` was taken off.
    """

    __tablename__ = "wallet_moves"
    __table_args__ = (
        CheckConstraint(one_of("kind", MoveKind), name="kind_known"),
        CheckConstraint(one_of("state", MoveState), name="state_known"),
        CheckConstraint("amount_msats <> 0", name="moves_something"),
        CheckConstraint("fee_msats >= 0", name="fee_not_negative"),
        CheckConstraint("(state = 'booked') = (note IS NOT NULL)", name="booked_has_note"),
        UniqueConstraint("payment_hash", "kind", "wallet_id"),
        Index(
            "ix_wallet_moves_open", "id", postgresql_where=text("state IN ('pending', 'waiting')")
        ),
    )

    id: Mapped[Id]
    kind: Mapped[MoveKind] = mapped_column(stored_by_value(MoveKind))
    state: Mapped[MoveState] = mapped_column(
        stored_by_value(MoveState), server_default=MoveState.WAITING
    )
    wallet_id: Mapped[str] = mapped_column(Text, comment="as LNbits calls it")
    payment_hash: Mapped[str | None] = mapped_column(Text)
    payment_request: Mapped[str | None] = mapped_column(Text)
    amount_msats: Mapped[MsatsColumn]
    fee_msats: Mapped[MsatsColumn] = mapped_column(
        server_default="0", comment="what LNbits took off what came in: our cost"
    )
    changed_at: Mapped[datetime | None] = mapped_column(
        DateTime(timezone=True), comment="by the clock of LNbits; decides nothing"
    )
    marked_job_id: Mapped[int | None] = mapped_column(
        BigInteger, comment="the job that its mark names; not proved"
    )
    marked_job_digits: Mapped[str | None] = mapped_column(Text)
    seen_at: Mapped[CreatedAt]
    ended_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    note: Mapped[str | None] = mapped_column(Text, comment="the words of whoever booked it")
