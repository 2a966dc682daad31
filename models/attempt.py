"""The journal of model calls: a row before each call, and its answer before anyone reads it."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    Text,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from models.database import (
    Base,
    CreatedAt,
    Id,
    Json,
    UsdColumn,
    one_of,
    stored_by_value,
)


class Step(StrEnum):
    EVALUATE = "evaluate"
    EXECUTE = "execute"
    DEMO = "demo"


class AttemptOutcome(StrEnum):
    """How a call ended. A row without one is under way, or its process died."""

    ANSWERED = "answered"
    """Answer and usage are stored; a worker that takes over uses them instead of calling again."""
    UNREADABLE = "unreadable"
    """Answered and billed, but not what was asked for."""
    UNAVAILABLE = "unavailable"
    """Known not to be billed: connection, 429, overload."""
    DOUBTFUL = "doubtful"
    """Timed out or broke off: may have been billed."""
    REFUSED = "refused"
    """The provider will not take this request at all."""
    SUPERSEDED = "superseded"
    """Answered after another worker had taken the job over: billed, and not used."""


class Attempt(Base):
    """One call of a model for one step of a job, or for a demo run."""

    __tablename__ = "attempts"
    __table_args__ = (
        CheckConstraint(one_of("step", Step), name="step_known"),
        CheckConstraint(one_of("outcome", AttemptOutcome), name="outcome_known"),
        CheckConstraint("(outcome IS NULL) = (ended_at IS NULL)", name="ended_has_outcome"),
        CheckConstraint("(job_id IS NULL) <> (demo_run_id IS NULL)", name="one_owner"),
        # A finished step is finished: a second answer for it cannot be written.
        Index(
            "uq_attempts_answered",
            "job_id",
            "step",
            unique=True,
            postgresql_where=text("outcome = 'answered'"),
        ),
        Index("ix_attempts_job_step", "job_id", "step"),
    )

    id: Mapped[Id]
    job_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("jobs.id"))
    demo_run_id: Mapped[int | None] = mapped_column(
        BigInteger, ForeignKey("demo_runs.id", ondelete="CASCADE"), index=True
    )
    step: Mapped[Step] = mapped_column(stored_by_value(Step))
    claim: Mapped[int] = mapped_column(
        BigInteger, comment="fencing token of the worker that called"
    )
    model: Mapped[str] = mapped_column(Text)
    prompt_version: Mapped[str] = mapped_column(Text, comment="name and digest of the prompt file")
    started_at: Mapped[CreatedAt]
    ended_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    outcome: Mapped[AttemptOutcome | None] = mapped_column(stored_by_value(AttemptOutcome))
    code: Mapped[str | None] = mapped_column(Text)
    stop: Mapped[str | None] = mapped_column(Text)
    answer: Mapped[str | None] = mapped_column(Text)
    refusal: Mapped[str | None] = mapped_column(Text)
    request_id: Mapped[str | None] = mapped_column(Text, comment="the provider's")
    input_tokens: Mapped[int | None]
    output_tokens: Mapped[int | None]
    usage: Mapped[Json | None]
    cost_usd: Mapped[UsdColumn | None]
