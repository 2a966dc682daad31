"""A rule that rows of ours break, from when it was seen until it was seen mended."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, DateTime, ForeignKey, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from models.database import Base, CreatedAt, Id, Instant


class Violation(Base):
    """Found by ``services.operate.invariants``; open while ``mended_at`` is NULL."""

    __tablename__ = "violations"
    __table_args__ = (
        CheckConstraint("num_nonnulls(job_id, run_id, account) = 1", name="of_job_run_or_account"),
        Index(
            "uq_violations_open",
            "rule",
            "job_id",
            unique=True,
            postgresql_where=text("mended_at IS NULL"),
        ),
        Index(
            "uq_violations_open_run",
            "rule",
            "run_id",
            unique=True,
            postgresql_where=text("mended_at IS NULL"),
        ),
        Index(
            "uq_violations_open_account",
            "rule",
            "account",
            unique=True,
            postgresql_where=text("mended_at IS NULL"),
        ),
        # for the foreign key: runs whose payment was no good are deleted
        Index("ix_violations_run", "run_id", postgresql_where=text("run_id IS NOT NULL")),
    )

    id: Mapped[Id]
    rule: Mapped[str] = mapped_column(Text)
    job_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("jobs.id"))
    run_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("runs.id"))
    account: Mapped[str | None] = mapped_column(Text, comment="of the ledger")
    first_seen_at: Mapped[CreatedAt]
    last_seen_at: Mapped[Instant]
    mended_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
