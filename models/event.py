"""The history of a job: append-only, written in the transaction of the move it tells."""

from sqlalchemy import BigInteger, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from models.database import Base, CreatedAt, Id, stored_by_value
from models.lifecycle import JobEvent, JobState


class JobEventRow(Base):
    """``version`` counts from 1 per job without a gap: it is the job's ETag after this event."""

    __tablename__ = "job_events"
    __table_args__ = (UniqueConstraint("job_id", "version"),)

    id: Mapped[Id]
    job_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("jobs.id"))
    version: Mapped[int] = mapped_column(BigInteger)
    event: Mapped[JobEvent] = mapped_column(stored_by_value(JobEvent))
    source: Mapped[JobState | None] = mapped_column(stored_by_value(JobState))
    target: Mapped[JobState] = mapped_column(stored_by_value(JobState))
    at: Mapped[CreatedAt]
