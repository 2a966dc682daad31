"""A periodic duty as a row: no, one or two beats are all safe, and its age tells its health."""

from datetime import datetime

from sqlalchemy import BigInteger, DateTime, Text
from sqlalchemy.orm import Mapped, mapped_column, synonym

from models.database import Base, Instant


class Tick(Base):
    """Due when ``due_at`` has come; claimed by whoever is first. ``ran_at``: last finished run."""

    __tablename__ = "ticks"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    id: Mapped[str] = synonym("name")
    due_at: Mapped[Instant]
    claim: Mapped[int] = mapped_column(BigInteger, server_default="0", comment="fencing token")
    cursor: Mapped[str | None] = mapped_column(
        Text, comment="where the duty goes on; its own format"
    )
    ran_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    last_error: Mapped[str | None] = mapped_column(
        Text, comment="a short code; NULL after a good run"
    )
