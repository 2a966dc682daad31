"""A rule that rows of ours break, from when it was seen until it was seen mended."""

from datetime import datetime

from sqlalchemy import BigInteger, DateTime, ForeignKey, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from models.database import Base, CreatedAt, Id, Instant


class Violation(Base):
    """Found by ``services.operate.invariants``; open while ``mended_at`` is NULL."""

    __tablename__ = "violations"
    __table_args__ = (
        Index(
            "uq_violations_open",
            "rule",
            "job_id",
            unique=True,
            postgresql_where=text("mended_at IS NULL"),
        ),
    )

    id: Mapped[Id]
    rule: Mapped[str] = mapped_column(Text)
    job_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("jobs.id"))
    first_seen_at: Mapped[CreatedAt]
    last_seen_at: Mapped[Instant]
    mended_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
