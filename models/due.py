"""One way to be due: claim a row, keep it, put it off. PostgreSQL decides, by its own clock.

``due_at`` says when a row wants a worker (NULL = never), ``claim`` is the fencing token: whoever
claims adds one, and whoever records must still hold the same number.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    SQLColumnExpression,
    and_,
    func,
    select,
    tuple_,
    update,
)
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.database import AS_RETURNED, UNLOADED, Id


class Due:
    """Mixed into every table whose rows want a worker now and then."""

    id: Mapped[Id]
    due_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    claim: Mapped[int] = mapped_column(BigInteger, server_default="0", comment="fencing token")


class Kept(Protocol):
    """A row with a lease, whatever it is due for; ``id`` is its key."""

    id: Any
    due_at: Any
    claim: Any


DueRow = type[Due]
Row = TypeVar("Row", bound=Due)
Key = int | str
"""A row's number; a periodic duty has its name instead."""


@dataclass(frozen=True, kw_only=True)
class Claimed(Generic[Row]):
    """A row that is ours, as it stands now."""

    row: Row
    at: datetime
    """Now, by PostgreSQL's clock: what spans and deadlines of the row are measured by."""

    @property
    def number(self) -> int:
        """The fencing token."""
        return self.row.claim


def claim(
    session: Session,
    model: type[Row],
    row_id: int,
    *,
    lease: timedelta,
    where: ColumnElement[bool],
) -> Claimed[Row] | None:
    """Take a due row for the length of a lease. None = it is not due, or somebody was first."""
    found = session.execute(
        update(model)
        .where(model.id == row_id, where, model.due_at <= func.now())
        .values(claim=model.claim + 1, due_at=func.now() + lease)
        .returning(model, func.now())
        .execution_options(**AS_RETURNED)
    ).one_or_none()
    return None if found is None else Claimed(row=found[0], at=found[1])


def keep(
    session: Session,
    model: type[Kept],
    held: Iterable[tuple[Key, int]],
    *,
    lease: timedelta,
) -> set[tuple[Key, int]]:
    """Renew the lease of all rows held as (id, claim). What is missing in the answer is lost."""
    kept = session.execute(
        update(model)
        .where(tuple_(model.id, model.claim).in_(list(held)), model.due_at.is_not(None))
        .values(due_at=func.now() + lease)
        .returning(model.id, model.claim)
        .execution_options(**UNLOADED)
    )
    return {(row.id, row.claim) for row in kept}


def put_off(
    session: Session,
    model: DueRow,
    row_id: int,
    claim_held: int,
    *,
    delay: timedelta,
    at_latest: SQLColumnExpression[datetime | None] | SQLColumnExpression[datetime] | None = None,
) -> bool:
    """Let go of a claimed row and make it due again after ``delay``. False = it was ours no longer.

    The claim goes up, so that a heartbeat which still counts the row as held does not move it.
    ``at_latest`` is an instant of the row that is not slept through; NULL = none.
    """
    due_at = func.now() + delay
    row = session.scalar(
        update(model)
        .where(model.id == row_id, model.claim == claim_held, model.due_at.is_not(None))
        .values(
            claim=model.claim + 1,
            due_at=due_at if at_latest is None else func.least(due_at, at_latest),
        )
        .returning(model.id)
        .execution_options(**UNLOADED)
    )
    return row is not None


@dataclass(frozen=True, kw_only=True)
class Share:
    """How many due rows are taken at most of those that have the same in a column."""

    of: SQLColumnExpression[int]
    each: int


def due_ids(
    session: Session,
    model: DueRow,
    *,
    where: ColumnElement[bool],
    limit: int,
    share: Share | None = None,
) -> list[int]:
    """Read which rows are due, the longest waiting first. Takes nothing.

    With ``share`` the longest waiting of each come first, then the second ones: whoever has
    thousands that wait hides nobody else's.
    """
    is_due = and_(where, model.due_at <= func.now())
    if share is None:
        query = select(model.id).where(is_due).order_by(model.due_at).limit(limit)
    else:
        place = func.row_number().over(partition_by=share.of, order_by=model.due_at)
        placed = select(model.id, model.due_at, place.label("place")).where(is_due).subquery()
        query = (
            select(placed.c.id)
            .where(placed.c.place <= share.each)
            .order_by(placed.c.place, placed.c.due_at)
            .limit(limit)
        )
    return list(session.scalars(query))
