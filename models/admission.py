"""Leave to ask Lightning for a caller's invoice, taken before it is asked."""

from datetime import datetime

from sqlalchemy import DateTime, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from models.database import Base, CreatedAt, Id


class Admission(Base):
    """One creation of a job. Until it has ended it counts as an open invoice.

    Rows older than a minute count for nothing and are deleted by the next admission.
    """

    __tablename__ = "admissions"
    __table_args__ = (
        Index("ix_admissions_created_at", "created_at"),
        Index(
            "ix_admissions_open_by_client",
            "client_key",
            postgresql_where=text("ended_at IS NULL"),
        ),
    )

    id: Mapped[Id]
    client_key: Mapped[str] = mapped_column(Text, comment="client address; IPv6 by /64")
    created_at: Mapped[CreatedAt]
    ended_at: Mapped[datetime | None] = mapped_column(
        DateTime(timezone=True), comment="its job is there, or there will be none"
    )
