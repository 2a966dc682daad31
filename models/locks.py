"""What only one does at a time: PostgreSQL's advisory locks, held until the transaction ends."""

from enum import IntEnum

from sqlalchemy import func, select
from sqlalchemy.orm import Session


class Lock(IntEnum):
    """Of what. The numbers are kept: two versions may run beside each other."""

    MIGRATION = 721_120
    """The one that outlasts transactions: ``models/migrations/env.py`` takes it."""
    DEMO_ADMISSION = 721_121
    OWNERS_STATEMENT = 721_122
    CATALOGUE = 0x0CA7A106
    RUNS_OF_A_CREATOR = 0x1257A1
    RUNS_OF_A_PAYER = 0x1257A2


def take(session: Session, lock: Lock, whose: str | None = None) -> None:
    """Wait until nobody else holds it; with ``whose``, nobody else for the same.

    Two of whom may share a lock by chance, which costs them a wait. Safe to repeat.
    """
    key = (lock.value,) if whose is None else (lock.value, func.hashtext(whose))
    session.execute(select(func.pg_advisory_xact_lock(*key)))
