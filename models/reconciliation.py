"""One comparison of the books with the wallets. The newest row is the memory of the next one."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, CheckConstraint, DateTime, Text
from sqlalchemy.orm import Mapped, mapped_column

from models.database import Base, CreatedAt, Id, MsatsColumn, one_of, stored_by_value


class Verdict(StrEnum):
    CLEAN = "clean"
    SHORTFALL = "shortfall"
    """Less than the books say is there, or money left that they do not know of."""
    SURPLUS = "surplus"


class Reconciliation(Base):
    """``confirmed``: the run before said the same. A confirmed shortfall stops payouts."""

    __tablename__ = "reconciliations"
    __table_args__ = (CheckConstraint(one_of("verdict", Verdict), name="verdict_known"),)

    id: Mapped[Id]
    at: Mapped[CreatedAt]
    verdict: Mapped[Verdict] = mapped_column(stored_by_value(Verdict))
    confirmed: Mapped[bool]
    wallet_msats: Mapped[MsatsColumn]
    least_msats: Mapped[MsatsColumn]
    """What must be there at least, whatever was under way."""
    most_msats: Mapped[MsatsColumn]
    waiting_moves: Mapped[int]

    paying_wallet_id: Mapped[str] = mapped_column(Text, comment="as LNbits calls it")
    outgoing_read_to: Mapped[datetime | None] = mapped_column(
        DateTime(timezone=True), comment="paying wallet; by the clock of LNbits"
    )
    topped_up_read_to: Mapped[datetime | None] = mapped_column(
        DateTime(timezone=True), comment="paying wallet; by the clock of LNbits"
    )
    withdrawn_read_to: Mapped[datetime | None] = mapped_column(
        DateTime(timezone=True), comment="income wallet; by the clock of LNbits"
    )
    folded_to: Mapped[int] = mapped_column(
        BigInteger, comment="ledger entries up to here are in the two sums"
    )
    folded_in_msats: Mapped[MsatsColumn]
    folded_out_msats: Mapped[MsatsColumn]
