"""One free try of the work model. The row is the try that the limits count."""

from enum import StrEnum

from sqlalchemy import CheckConstraint, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from models.database import Base, CreatedAt, UsdColumn, one_of, stored_by_value
from models.due import Due


class DemoState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    ABANDONED = "abandoned"
    """No worker had begun in time: the try was given back."""


class DemoRun(Due, Base):
    __tablename__ = "demo_runs"
    __table_args__ = (
        CheckConstraint(one_of("state", DemoState), name="state_known"),
        CheckConstraint(
            "(state IN ('waiting', 'running')) = (due_at IS NOT NULL)",
            name="working_is_due",
        ),
        Index("ix_demo_runs_client", "client_key", "created_at"),
        Index("ix_demo_runs_created_at", "created_at"),
        Index("ix_demo_runs_due", "due_at", postgresql_where=text("due_at IS NOT NULL")),
    )

    state: Mapped[DemoState] = mapped_column(
        stored_by_value(DemoState), server_default=DemoState.WAITING
    )
    request: Mapped[str] = mapped_column(Text)
    client_key: Mapped[str] = mapped_column(Text, comment="client address; IPv6 by /64")
    client_network: Mapped[str] = mapped_column(Text, comment="the wider network; IPv6 by /48")
    created_at: Mapped[CreatedAt]
    result: Mapped[str | None] = mapped_column(Text)
    reserved_usd: Mapped[UsdColumn]
    """The most it can cost: counted against the day's budget until the real cost is known."""
    cost_usd: Mapped[UsdColumn | None]
