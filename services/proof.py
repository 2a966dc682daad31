"""What this process has proved of the database that it works on, so that nothing is paid twice.

A database can be put back to an earlier moment: from a backup, or by failing over to a replica
that lagged. It has then forgotten payouts, and their debts look open. So before a process hands a
BOLT11 over for the first time it must have seen, in this very incarnation of the database, that
the paying wallet knows of no payout that the database does not (services.money.reconcile).
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

BETWEEN_TRIES_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Incarnation:
    """What changes when a database is restored, replaced or failed over. Only to be compared."""

    started: str
    database: int
    table_file: int

    def __str__(self) -> str:
        return f"{self.database}/{self.table_file}/{self.started}"


def incarnation_of(session: Session) -> Incarnation:
    """Restoring, replacing or failing over changes one of these at least."""
    started, database, table_file = session.execute(
        text(
            "SELECT pg_postmaster_start_time()::text,"
            " (SELECT oid::bigint FROM pg_database WHERE datname = current_database()),"
            " pg_relation_filenode('payouts')::bigint"
        )
    ).one()
    return Incarnation(started=started, database=database, table_file=table_file)


class Proof:
    """One per process. Thread-safe."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._proved: Incarnation | None = None
        self._trying = threading.Lock()
        self._next_try = 0.0

    def covers(self, incarnation: Incarnation) -> bool:
        return self._proved == incarnation

    def remember(self, incarnation: Incarnation) -> None:
        self._proved = incarnation

    def try_once(self, prove: Callable[[], None]) -> None:
        """Run ``prove`` unless another thread is at it or it was tried a few seconds ago."""
        if not self._trying.acquire(blocking=False):
            return
        try:
            if self._clock() >= self._next_try:
                self._next_try = self._clock() + BETWEEN_TRIES_SECONDS
                prove()
        finally:
            self._trying.release()
